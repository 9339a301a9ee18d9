import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { LocalNode } from "../local-node.ts";
import { loadGlove } from "./dataset.ts";
import { mean, recallOf, summarise, timeConcurrentCalls } from "./measure.ts";
import { connectProtocols, type ProtocolClient } from "./protocol-clients.ts";
import { insertBodies, mintTenantKey, post, untilIndexed } from "./served.ts";
import { ms, percent, printTable, whole } from "./table.ts";

/**
 * What a search costs over each protocol, beside REST: the same collection, key, queries and hits. One by one, the protocols take turns
 * query by query; with several under way, in short runs, in another order each round. So what else the machine does falls on all alike.
 */
const { values } = parseArgs({
	args: Bun.argv.slice(2),
	options: {
		vectors: { type: "string", default: "19500" },
		rounds: { type: "string", default: "75" },
		json: { type: "string" },
	},
});

const EF_SEARCH = 128;
/** A round: so many queries one by one over each protocol, then so many calls with several under way. */
const QUERIES_A_ROUND = 20;
const CALLS_A_ROUND = 60;
const CONCURRENCY = 8;
const WARM_UP_CALLS = 500;

/** What one protocol showed. */
class Track {
	/** One by one. */
	readonly latenciesMs: number[] = [];
	/** With several under way, a figure a round. */
	readonly perSecond: number[] = [];
	/** Of the node's process, all threads, with several under way. */
	processorMs = 0;
	recall = 0;

	constructor(readonly client: ProtocolClient) {}
}

const data = loadGlove(Number(values.vectors));
const node = await LocalNode.start({ env: { HIVE_VECTOR_SERVER_WORKERS: "1" } });
try {
	const key = await mintTenantKey(node, "bench");
	await node.call(key, "POST", "/collections", { name: "words", dimension: data.dimension, index: "hnsw" });
	for (const body of insertBodies(data)) await post(node, key, "/collections/words/vectors", body);
	await untilIndexed(node, key, "/collections/words", data.count);

	const target = { node, key, collection: "words", efSearch: EF_SEARCH, queries: data.queries };
	const clients = await connectProtocols(target);
	const tracks = clients.map((client) => new Track(client));
	for (const track of tracks) track.recall = await warmUp(track.client);
	const roundCount = Number(values.rounds);
	for (let round = 0; round < roundCount; round++) {
		for (let at = 0; at < QUERIES_A_ROUND; at++) {
			const query = (round * QUERIES_A_ROUND + at) % data.queries.length;
			for (const { client, latenciesMs } of rotated(tracks, at)) {
				const callAt = performance.now();
				await client.search(query);
				latenciesMs.push(performance.now() - callAt);
			}
		}
		for (const track of rotated(tracks, round)) {
			const processorBefore = node.processorMs();
			const { perSecond } = await timeConcurrentCalls(CALLS_A_ROUND, CONCURRENCY, async (call) => {
				await track.client.search((round * CALLS_A_ROUND + call) % data.queries.length);
			});
			track.perSecond.push(perSecond);
			track.processorMs += node.processorMs() - processorBefore;
		}
	}
	for (const client of clients) await client.close();

	const results = tracks.map(({ client, recall, latenciesMs, perSecond, processorMs }) => {
		const { p50Ms, p99Ms } = summarise(latenciesMs, 0);
		const processorMsPerSearch = processorMs / (roundCount * CALLS_A_ROUND);
		return { name: client.name, recall, p50Ms, p99Ms, perSecond: upperQuartile(perSecond), processorMsPerSearch };
	});
	const rest = results[0]!;
	console.log(
		`\n${data.name}, k 10, ef ${EF_SEARCH}, ${roundCount} rounds of ${QUERIES_A_ROUND} searches one by one and ` +
			`${CALLS_A_ROUND} with ${CONCURRENCY} under way`,
	);
	printTable(
		[
			"",
			"recall@10",
			"p50 ms",
			"p99 ms",
			"p50 / REST",
			`per second, ${CONCURRENCY}`,
			"of REST",
			"CPU ms",
			"CPU / REST",
		],
		results.map((row) => [
			row.name,
			row.recall.toFixed(3),
			ms(row.p50Ms),
			ms(row.p99Ms),
			(row.p50Ms / rest.p50Ms).toFixed(2),
			whole(row.perSecond),
			percent(row.perSecond / rest.perSecond),
			ms(row.processorMsPerSearch),
			(row.processorMsPerSearch / rest.processorMsPerSearch).toFixed(2),
		]),
	);
	if (values.json !== undefined) {
		const machine = { cpu: cpus()[0]?.model, cores: cpus().length };
		writeFileSync(values.json, `${JSON.stringify({ machine, bun: Bun.version, results }, undefined, "\t")}\n`);
	}
} finally {
	await node.stop();
	node.removeData();
}

/** @returns mean recall@10 over all queries */
async function warmUp(client: ProtocolClient): Promise<number> {
	const found: (readonly number[])[] = [];
	await timeConcurrentCalls(Math.max(WARM_UP_CALLS, data.queries.length), CONCURRENCY, async (call) => {
		const query = call % data.queries.length;
		found[query] = await client.search(query);
	});
	return mean(found.map((ids, query) => recallOf(ids, data.nearest[query]!)));
}

/** The same, beginning elsewhere. */
function rotated<T>(entries: readonly T[], by: number): readonly T[] {
	const from = by % entries.length;
	return [...entries.slice(from), ...entries.slice(0, from)];
}

/** Of short runs the faster ones were disturbed least. */
function upperQuartile(numbers: readonly number[]): number {
	const sorted = [...numbers].sort((a, b) => a - b);
	return sorted[Math.floor(0.75 * sorted.length)]!;
}
