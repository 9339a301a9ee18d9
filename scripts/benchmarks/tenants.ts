import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { LocalNode } from "../local-node.ts";
import { vectorJson } from "./flooder.ts";
import { summarise } from "./measure.ts";
import { UNLIMITED } from "./served.ts";
import { ms, percent, printTable, whole } from "./table.ts";

/**
 * Many tenants at once, each with its own key, against the binary: what each of them is served, and how exactly each is held
 * to its storage quota. Ends with exit code 1 when a call fails, a quota is overshot, or used by less than 99 %.
 */
const { values } = parseArgs({
	args: Bun.argv.slice(2),
	options: {
		tenants: { type: "string", default: "120" },
		/** Of each phase; with --full it is 30 unless given. */
		seconds: { type: "string" },
		full: { type: "boolean", default: false },
		json: { type: "string" },
	},
});
const TENANTS = Number(values.tenants);
const SECONDS = Number(values.seconds ?? (values.full ? 30 : 4));
/** Calls a second of each tenant in the steady phase: one in five inserts, the others search. */
const STEADY_RATE = 4;
/** Connections of each tenant in the phase that asks for all the node can give. */
const CONNECTIONS = 2;
const DIMENSION = 32;
const QUOTA_BYTES = values.full ? 512 * 1024 : 96 * 1024;
const QUOTA_BATCHES = [25, 1];
const QUOTA_CONNECTIONS = 4;

interface Client {
	readonly id: string;
	readonly key: string;
	latenciesMs: number[];
	statuses: Record<string, number>;
	calls: number;
}

const node = await LocalNode.start();
let hasFailed = false;
try {
	const admin = node.adminKey();
	const clients: Client[] = [];
	for (let tenant = 0; tenant < TENANTS; tenant++) {
		const id = `load-${tenant}`;
		await node.call(admin, "POST", "/tenants", { id, rate_limits: UNLIMITED });
		const minted = await node.call(admin, "POST", `/tenants/${id}/keys`, { permissions: ["READ_WRITE"] });
		const key = (minted as { api_key: string }).api_key;
		clients.push({ id, key, latenciesMs: [], statuses: {}, calls: 0 });
	}
	await Promise.all(
		clients.map(async ({ key }) => {
			await node.call(key, "POST", "/collections", { name: "docs", dimension: DIMENSION });
			const rows = Array.from({ length: 200 }, (_, id) => `{"id":${id},"vector":${vectorJson(DIMENSION)}}`);
			await node.call(key, "POST", "/collections/docs/vectors", JSON.parse(`{"vectors":[${rows.join(",")}]}`));
		}),
	);

	const steady = await phase(clients, steadyLoad);
	const saturated = await phase(clients, fullLoad);
	const quotas = await fillQuotas(clients, admin);
	console.log(
		`\n${TENANTS} tenants at once, each with its own key; phases of ${SECONDS} s; of each tenant's own figure`,
	);
	printTable(
		["", "calls/s in all", "min", "median", "max", "errors", "Jain's index"],
		[...phaseRows(`${STEADY_RATE} calls/s each`, steady), ...phaseRows(`${CONNECTIONS} connections each`, saturated)],
	);
	console.log(
		`\nEach tenant inserts until QUOTA_EXCEEDED, ${QUOTA_CONNECTIONS} connections, quota ${whole(QUOTA_BYTES)} bytes`,
	);
	printTable(
		["used / quota", ""],
		[
			["least", percent(Math.min(...quotas))],
			["most", percent(Math.max(...quotas))],
			["overshot", String(quotas.filter((share) => share > 1).length)],
		],
	);
	hasFailed =
		[steady, saturated].some((result) => result.errors > 0) || quotas.some((share) => share > 1 || share < 0.99);
	if (values.json !== undefined) {
		const machine = { cpu: cpus()[0]?.model, cores: cpus().length };
		const figures = { machine, bun: Bun.version, tenants: TENANTS, seconds: SECONDS, steady, saturated, quotas };
		writeFileSync(values.json, `${JSON.stringify(figures, undefined, "\t")}\n`);
	}
} finally {
	await node.stop();
	node.removeData();
}
process.exit(hasFailed ? 1 : 0);

interface Spread {
	readonly min: number;
	readonly median: number;
	readonly max: number;
}

interface PhaseResult {
	readonly perSecond: number;
	readonly served: Spread;
	readonly p50Ms: Spread;
	readonly p99Ms: Spread;
	readonly errors: number;
	readonly statuses: Readonly<Record<string, number>>;
	/** Of the served calls: 1 when all got the same, 1/tenants when one got all. Jain, Chiu and Hawe, 1984. */
	readonly jain: number;
}

async function phase(clients: Client[], load: (client: Client, endAt: number, index: number) => Promise<void>) {
	for (const client of clients) Object.assign(client, { latenciesMs: [], statuses: {}, calls: 0 });
	const startedAt = performance.now();
	await Promise.all(clients.map((client, index) => load(client, startedAt + SECONDS * 1000, index)));
	const seconds = (performance.now() - startedAt) / 1000;
	const timings = clients.map(({ latenciesMs }) => summarise(latenciesMs, 1000));
	const counts = clients.map(({ statuses }) => statuses["200"] ?? 0);
	const sum = counts.reduce((all, count) => all + count, 0);
	const squares = counts.reduce((all, count) => all + count * count, 0);
	const statuses: Record<string, number> = {};
	for (const client of clients)
		for (const [status, count] of Object.entries(client.statuses)) statuses[status] = (statuses[status] ?? 0) + count;
	const result: PhaseResult = {
		perSecond: sum / seconds,
		served: spread(counts),
		p50Ms: spread(timings.map((timing) => timing.p50Ms)),
		p99Ms: spread(timings.map((timing) => timing.p99Ms)),
		errors: clients.reduce((all, { calls }) => all + calls, 0) - sum,
		statuses,
		jain: (sum * sum) / (counts.length * squares),
	};
	return result;
}

function phaseRows(name: string, result: PhaseResult): string[][] {
	const row = (label: string, { min, median, max }: Spread, show: (number: number) => string): string[] => [
		label,
		"",
		show(min),
		show(median),
		show(max),
		"",
		"",
	];
	return [
		[name, whole(result.perSecond), "", "", "", whole(result.errors), result.jain.toFixed(4)],
		row("   calls served", result.served, whole),
		row("   p50 ms", result.p50Ms, ms),
		row("   p99 ms", result.p99Ms, ms),
	];
}

function spread(numbers: readonly number[]): Spread {
	const sorted = [...numbers].sort((a, b) => a - b);
	return { min: sorted[0] ?? 0, median: sorted[sorted.length >> 1] ?? 0, max: sorted.at(-1) ?? 0 };
}

/** Calls as they fall due, whether or not those before are answered. */
async function steadyLoad(client: Client, endAt: number, index: number): Promise<void> {
	const underWay: Promise<void>[] = [];
	const startedAt = performance.now() + (1000 / STEADY_RATE) * (index / TENANTS);
	for (let call = 0; ; call++) {
		const dueAt = startedAt + (1000 * call) / STEADY_RATE;
		if (dueAt > endAt) break;
		await Bun.sleep(Math.max(0, dueAt - performance.now()));
		underWay.push(oneCall(client));
	}
	await Promise.all(underWay);
}

async function fullLoad(client: Client, endAt: number): Promise<void> {
	await Promise.all(
		Array.from({ length: CONNECTIONS }, async () => {
			while (performance.now() < endAt) await oneCall(client);
		}),
	);
}

async function oneCall(client: Client): Promise<void> {
	const call = client.calls++;
	const isInsert = call % 5 === 4;
	const body = isInsert
		? `{"vectors":[{"id":${call % 400},"vector":${vectorJson(DIMENSION)}}]}`
		: `{"vector":${vectorJson(DIMENSION)},"limit":10}`;
	const callAt = performance.now();
	const status = await post(client.key, `/collections/docs/${isInsert ? "vectors" : "search"}`, body);
	client.latenciesMs.push(performance.now() - callAt);
	client.statuses[status] = (client.statuses[status] ?? 0) + 1;
}

/** The status, or the error's code where it says more. */
async function post(key: string, path: string, body: string): Promise<string> {
	const answer = await fetch(`${node.url}/api/v1${path}`, {
		method: "POST",
		headers: { "x-api-key": key, "content-type": "application/json" },
		body,
	}).catch(() => undefined);
	if (answer === undefined) return "broken";
	const result = (await answer.json()) as { code?: string };
	return result.code ?? String(answer.status);
}

/** @returns of each tenant used bytes / quota, once it was refused for lack of room. */
async function fillQuotas(clients: readonly Client[], admin: string): Promise<number[]> {
	await Promise.all(
		clients.map((client) =>
			node.call(admin, "PATCH", `/tenants/${client.id}`, { quota: { max_storage_bytes: QUOTA_BYTES } }),
		),
	);
	return Promise.all(
		clients.map(async ({ key }) => {
			let id = 10_000;
			// Large steps first, then the smallest there are.
			for (const count of QUOTA_BATCHES) {
				let isFull = false;
				await Promise.all(
					Array.from({ length: QUOTA_CONNECTIONS }, async () => {
						while (!isFull) {
							const rows = Array.from({ length: count }, () => `{"id":${id++},"vector":${vectorJson(DIMENSION)}}`);
							const status = await post(key, "/collections/docs/vectors", `{"vectors":[${rows.join(",")}]}`);
							isFull ||= status === "QUOTA_EXCEEDED";
							if (status !== "200" && status !== "QUOTA_EXCEEDED") throw new Error(`an insert was answered ${status}`);
						}
					}),
				);
			}
			const usage = (await node.call(key, "GET", "/usage")) as { storage: { used_bytes: number; quota_bytes: number } };
			return usage.storage.used_bytes / usage.storage.quota_bytes;
		}),
	);
}
