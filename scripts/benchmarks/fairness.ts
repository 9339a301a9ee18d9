import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { LocalNode } from "../local-node.ts";
import { FLOOD_KINDS, type FloodKind, type FloodOrder, type FloodResult, vectorJson } from "./flooder.ts";
import { summarise, type Timing } from "./measure.ts";
import { mintTenantKey } from "./served.ts";
import { ms, percent, printTable, whole } from "./table.ts";

/**
 * What quiet tenants notice of one that floods the node: searches at a steady low rate, timed from the moment each was due,
 * alternately without and with another tenant asking for a hundred times as much as one of them. Node, quiet clients and
 * flooder are three processes that share the machine's cores.
 */
const { values } = parseArgs({
	args: Bun.argv.slice(2),
	options: {
		/** Of each phase. */
		seconds: { type: "string", default: "8" },
		rounds: { type: "string", default: "3" },
		quiet: { type: "string", default: "8" },
		/** Searches a second of each quiet tenant. */
		rate: { type: "string", default: "10" },
		kind: { type: "string", multiple: true, default: [...FLOOD_KINDS] },
		workers: { type: "string" },
		json: { type: "string" },
	},
});
const SECONDS = Number(values.seconds);
const ROUNDS = Number(values.rounds);
const QUIET_TENANTS = Number(values.quiet);
const RATE = Number(values.rate);
const DIMENSION = 128;
const QUIET_VECTORS = 2_000;
const FLOOD_TIMES = 100;
const FLOOD_CONNECTIONS = 64;

interface Tally {
	readonly latenciesMs: number[];
	readonly failures: Record<string, number>;
}

const newTally = (): Tally => ({ latenciesMs: [], failures: {} });

/** Searches of all quiet tenants in turn, evenly spread, each begun when it is due whether or not others are answered. */
async function quietSearches(node: LocalNode, keys: readonly string[], bodies: readonly string[], tally: Tally) {
	const startedAt = performance.now();
	const endAt = startedAt + SECONDS * 1000;
	const underWay: Promise<void>[] = [];
	for (let call = 0; ; call++) {
		const dueAt = startedAt + (1000 * call) / (RATE * keys.length);
		if (dueAt > endAt) break;
		const early = dueAt - performance.now();
		if (early > 0) await Bun.sleep(early);
		// The client's own timer is late by up to a millisecond: that is not the node's delay.
		const begunAt = Math.max(dueAt, Math.min(performance.now(), dueAt + 1.5));
		underWay.push(
			(async () => {
				const answer = await fetch(`${node.url}/api/v1/collections/docs/search`, {
					method: "POST",
					headers: { "x-api-key": keys[call % keys.length] as string, "content-type": "application/json" },
					body: bodies[call % bodies.length] as string,
				});
				await answer.arrayBuffer();
				tally.latenciesMs.push(performance.now() - begunAt);
				if (!answer.ok) tally.failures[answer.status] = (tally.failures[answer.status] ?? 0) + 1;
			})(),
		);
	}
	await Promise.all(underWay);
}

async function flood(order: FloodOrder): Promise<FloodResult> {
	const child = Bun.spawn([process.execPath, join(import.meta.dir, "flooder.ts"), JSON.stringify(order)], {
		stdin: "ignore",
		stdout: "pipe",
		stderr: "inherit",
	});
	const text = await new Response(child.stdout).text();
	if ((await child.exited) !== 0) throw new Error("the flooder failed");
	return JSON.parse(text) as FloodResult;
}

async function fill(node: LocalNode, key: string): Promise<void> {
	await node.call(key, "POST", "/collections", { name: "docs", dimension: DIMENSION });
	for (let from = 0; from < QUIET_VECTORS; from += 500) {
		const vectors = Array.from({ length: 500 }, (_, at) => `{"id":${from + at},"vector":${vectorJson(DIMENSION)}}`);
		const body = `{"vectors":[${vectors.join(",")}]}`;
		await fetch(`${node.url}/api/v1/collections/docs/vectors`, { method: "POST", headers: { "x-api-key": key }, body });
	}
}

const env: Record<string, string> = values.workers === undefined ? {} : { HIVE_VECTOR_SERVER_WORKERS: values.workers };
const node = await LocalNode.start({ env });
const results: Record<string, unknown> = { machine: { cpu: cpus()[0]?.model, cores: cpus().length }, bun: Bun.version };
try {
	const keys: string[] = [];
	for (let tenant = 0; tenant < QUIET_TENANTS; tenant++) {
		const key = await mintTenantKey(node, `quiet-${tenant}`);
		await fill(node, key);
		keys.push(key);
	}
	const flooderKey = await mintTenantKey(node, "flooder");
	await fill(node, flooderKey);
	const bodies = Array.from({ length: 97 }, () => `{"vector":${vectorJson(DIMENSION)},"limit":10}`);

	await quietSearches(node, keys, bodies, newTally());
	const rows: string[][] = [];
	for (const kind of values.kind as FloodKind[]) {
		const idle = newTally();
		const flooded = newTally();
		const floods: FloodResult[] = [];
		const ratios: number[] = [];
		const collection = kind === "searches" ? "docs" : kind.replace(" ", "-");
		if (kind !== "searches") {
			await node.call(flooderKey, "POST", "/collections", { name: collection, dimension: DIMENSION });
		}
		for (let round = 0; round < ROUNDS; round++) {
			const idleRound = newTally();
			await quietSearches(node, keys, bodies, idleRound);
			const order: FloodOrder = {
				kind,
				url: node.url,
				key: flooderKey,
				collection,
				dimension: DIMENSION,
				// It needs a moment to begin and goes on a moment longer.
				seconds: SECONDS + 2.5,
				perSecond: FLOOD_TIMES * RATE,
				connections: FLOOD_CONNECTIONS,
			};
			const flooding = flood(order);
			await Bun.sleep(1_500);
			const floodedRound = newTally();
			await quietSearches(node, keys, bodies, floodedRound);
			floods.push(await flooding);
			await Bun.sleep(500);
			ratios.push(timing(floodedRound).p99Ms / timing(idleRound).p99Ms);
			merge(idle, idleRound);
			merge(flooded, floodedRound);
		}
		const before = timing(idle);
		const during = timing(flooded);
		const statuses: Record<string, number> = {};
		for (const { statuses: counts } of floods)
			for (const [status, count] of Object.entries(counts)) statuses[status] = (statuses[status] ?? 0) + count;
		results[kind] = { before, during, ratios, failures: { ...flooded.failures }, floods };
		const per = (pick: (result: FloodResult) => number): number =>
			floods.reduce((sum, result) => sum + pick(result), 0) / floods.length;
		rows.push([
			kind,
			ms(before.p50Ms),
			ms(during.p50Ms),
			ms(before.p99Ms),
			ms(during.p99Ms),
			(during.p99Ms / before.p99Ms).toFixed(2),
			[...ratios]
				.sort((a, b) => a - b)
				.map((ratio) => ratio.toFixed(1))
				.join(" "),
			`${Object.values(flooded.failures).reduce((sum, count) => sum + count, 0)} of ${whole(during.callCount)}`,
			`${whole(per((result) => result.perSecond))}/s, ${(per((result) => result.bytesPerSecond) / 1e6).toFixed(1)} MB/s`,
			Object.entries(statuses)
				.map(([status, count]) => `${status}: ${whole(count)}`)
				.join(", "),
			statuses["503"] === undefined
				? ""
				: `${ms(per((result) => result.refusalP99Ms))}, ${percent(floods.reduce((sum, result) => sum + result.refusedWithRetryAfter, 0) / statuses["503"])}`,
		]);
	}
	console.log(
		`\n${QUIET_TENANTS} quiet tenants × ${RATE} searches/s; one flooder tries ${FLOOD_TIMES * RATE} calls/s over ${FLOOD_CONNECTIONS} connections; ${ROUNDS} rounds of ${SECONDS} s`,
	);
	printTable(
		[
			"flooder's calls",
			"idle p50 ms",
			"flooded p50",
			"idle p99 ms",
			"flooded p99",
			"ratio",
			"by round",
			"quiet errors",
			"flooder served",
			"its answers",
			"503: p99 ms, Retry-After",
		],
		rows,
	);
} finally {
	await node.stop();
	node.removeData();
}
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, undefined, "\t")}\n`);

function timing({ latenciesMs }: Tally): Timing {
	return summarise(latenciesMs, SECONDS * 1000);
}

function merge(into: Tally, from: Tally): void {
	into.latenciesMs.push(...from.latenciesMs);
	for (const [status, count] of Object.entries(from.failures)) {
		into.failures[status] = (into.failures[status] ?? 0) + count;
	}
}
