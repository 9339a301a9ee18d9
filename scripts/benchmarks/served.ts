import { LocalNode } from "../local-node.ts";
import { type Dataset, nearestRows } from "./dataset.ts";
import { mean, recallOf, type Timing, timeConcurrentCalls } from "./measure.ts";

export interface ServedResult {
	/** Vectors acknowledged a second while loading, in requests of 1,000. */
	readonly acknowledgedPerSecond: number;
	/** The same, counted until the graph holds every vector. */
	readonly indexedPerSecond: number;
	readonly searches: readonly (Timing & {
		readonly efSearch: number;
		readonly recall: number;
		/** Of the node's process, all threads. */
		readonly processorMsPerSearch: number;
	})[];
	/** One connection, one call after another. */
	readonly single: Timing;
	/** `POST …/search/batch` over one connection; the rate counts searches, the times whole batches. */
	readonly batched: Timing & { readonly recall: number };
	readonly whileInserting: Timing & { readonly insertedPerSecond: number };
	readonly filtered: readonly (Timing & {
		readonly selectivity: number;
		readonly indexed: boolean;
		readonly recall: number;
	})[];
	readonly residentBytes: number;
	/** From the process's start to ready, with this data on disk. */
	readonly restartMs: number;
	/** The first search after the restart, which opens the shard. */
	readonly firstSearchMs: number;
}

export const UNLIMITED = { requests_per_minute: 1e9, requests_per_hour: 1e9, mcp_requests_per_minute: 1e9 };
const INSERT_BATCH = 1_000;
const CONNECTIONS = 16;
export const SEARCH_BATCH = 50;
/** Of the payload field `bucket`, 0..9999, that a filter admits. */
const SELECTIVITIES = [0.0001, 0.001, 0.01, 0.1, 0.5, 1];

/** The compiled binary over REST on loopback: one shard, one worker thread, the client in this process. */
export async function benchServed(
	data: Dataset,
	efSearches: readonly number[],
	efSearch: number,
): Promise<ServedResult> {
	const env = { HIVE_VECTOR_SERVER_WORKERS: "1" };
	let node = await LocalNode.start({ env });
	try {
		const key = await mintTenantKey(node, "bench");
		const path = "/collections/words";
		await node.call(key, "POST", "/collections", {
			name: "words",
			dimension: data.dimension,
			index: "hnsw",
			hnsw: { ef_search: efSearch },
		});
		await node.call(key, "PUT", `${path}/payload-indexes/bucket`, { type: "integer" });

		const bodies = insertBodies(data);
		const insertAt = performance.now();
		for (const body of bodies) await post(node, key, `${path}/vectors`, body);
		const acknowledgedMs = performance.now() - insertAt;
		await untilIndexed(node, key, path, data.count);
		const indexedMs = performance.now() - insertAt;

		const search = async (body: string): Promise<number[]> => {
			const answer = (await post(node, key, `${path}/search`, body)) as { results: { id: number }[] };
			return answer.results.map((hit) => hit.id);
		};
		const measure = async (
			connections: number,
			bodyOf: (query: number) => string,
			nearest: readonly ReadonlySet<number>[],
			until?: () => boolean,
		): Promise<Timing & { recall: number }> => {
			const found: (number[] | undefined)[] = [];
			const callCount = until === undefined ? data.queries.length * 4 : Number.MAX_SAFE_INTEGER;
			const timing = await timeConcurrentCalls(
				callCount,
				connections,
				async (call) => {
					const query = call % data.queries.length;
					const ids = await search(bodyOf(query));
					found[query] ??= ids;
				},
				until,
			);
			const recalls = found.map((ids, query) => recallOf(ids ?? [], nearest[query] as ReadonlySet<number>));
			return { ...timing, recall: mean(recalls) };
		};
		const vectorJson = data.queries.map((query) => `[${query.join(",")}]`);
		const plain = (ef: number) => (query: number) =>
			`{"vector":${vectorJson[query]},"limit":10,"ef_search":${ef},"with_payload":false}`;

		await measure(CONNECTIONS, plain(efSearch), data.nearest);
		const searches = [];
		for (const ef of efSearches) {
			const before = node.processorMs();
			const timing = await measure(CONNECTIONS, plain(ef), data.nearest);
			const processorMsPerSearch = (node.processorMs() - before) / timing.callCount;
			searches.push({ ...timing, efSearch: ef, processorMsPerSearch });
		}
		const single = await measure(1, plain(efSearch), data.nearest);

		const batches = Array.from({ length: data.queries.length / SEARCH_BATCH }, (_, batch) =>
			Array.from({ length: SEARCH_BATCH }, (_unused, at) => plain(efSearch)(batch * SEARCH_BATCH + at)),
		);
		const batchRecalls: number[] = [];
		const batchTiming = await timeConcurrentCalls(batches.length * 8, 2, async (call) => {
			const batch = call % batches.length;
			const body = `{"searches":[${(batches[batch] as string[]).join(",")}]}`;
			const answer = (await post(node, key, `${path}/search/batch`, body)) as { results: { id: number }[][] };
			answer.results.forEach((hits, at) => {
				const nearest = data.nearest[batch * SEARCH_BATCH + at] as ReadonlySet<number>;
				batchRecalls.push(
					recallOf(
						hits.map((hit) => hit.id),
						nearest,
					),
				);
			});
		});
		const batched = { ...batchTiming, perSecond: batchTiming.perSecond * SEARCH_BATCH, recall: mean(batchRecalls) };

		const filtered = [];
		for (const selectivity of SELECTIVITIES) {
			const bound = Math.round(selectivity * 10_000);
			const nearest = data.queries.map(
				(query) => new Set(nearestRows(data.vectors, data.dimension, query, 10, (row) => bucketOf(row) < bound)),
			);
			for (const field of ["bucket", "shadow"]) {
				const filter = JSON.stringify({ must: [{ key: field, range: { lt: bound } }] });
				const bodyOf = (query: number) =>
					`{"vector":${vectorJson[query]},"limit":10,"ef_search":${efSearch},"with_payload":false,"filter":${filter}}`;
				filtered.push({ ...(await measure(1, bodyOf, nearest)), selectivity, indexed: field === "bucket" });
			}
		}

		let inserting = true;
		let insertedCount = 0;
		const secondInsertAt = performance.now();
		await node.call(key, "POST", "/collections", { name: "other", dimension: data.dimension, index: "hnsw" });
		const inserter = (async () => {
			for (const body of bodies) {
				await post(node, key, "/collections/other/vectors", body);
				insertedCount += INSERT_BATCH;
				if (performance.now() - secondInsertAt > 8_000) break;
			}
			inserting = false;
		})();
		const busy = await measure(1, plain(efSearch), data.nearest, () => !inserting);
		const insertedPerSecond = (1000 * insertedCount) / (performance.now() - secondInsertAt);
		await inserter;

		const residentBytes = node.residentBytes();
		const { dataDir } = node;
		await node.stop();
		node = await LocalNode.start({ env, dataDir });
		const firstAt = performance.now();
		await search(plain(efSearch)(0));
		const firstSearchMs = performance.now() - firstAt;
		return {
			acknowledgedPerSecond: (1000 * data.count) / acknowledgedMs,
			indexedPerSecond: (1000 * data.count) / indexedMs,
			searches,
			single,
			batched,
			whileInserting: { ...busy, insertedPerSecond },
			filtered,
			residentBytes,
			restartMs: node.startMs,
			firstSearchMs,
		};
	} finally {
		await node.stop();
		node.removeData();
	}
}

/** Many tenants, each inserting one vector at a time and waiting for its acknowledgement. */
export async function benchManyTenants(tenantCount: number, seconds: number): Promise<Timing> {
	const node = await LocalNode.start();
	try {
		const keys: string[] = [];
		for (let tenant = 0; tenant < tenantCount; tenant++) {
			const key = await mintTenantKey(node, `bench-${tenant}`);
			await node.call(key, "POST", "/collections", { name: "one", dimension: 16 });
			keys.push(key);
		}
		const endAt = performance.now() + seconds * 1000;
		const vector = Array.from({ length: 16 }, (_, axis) => axis + 1);
		return await timeConcurrentCalls(
			Number.MAX_SAFE_INTEGER,
			tenantCount,
			async (call) => {
				const key = keys[call % tenantCount] as string;
				await post(node, key, "/collections/one/vectors", JSON.stringify({ vectors: [{ id: call, vector }] }));
			},
			() => performance.now() > endAt,
		);
	} finally {
		await node.stop();
		node.removeData();
	}
}

export async function mintTenantKey(node: LocalNode, tenant: string): Promise<string> {
	const admin = node.adminKey();
	await node.call(admin, "POST", "/tenants", { id: tenant, name: tenant, rate_limits: UNLIMITED });
	const minted = (await node.call(admin, "POST", `/tenants/${tenant}/keys`, { permissions: ["READ_WRITE"] })) as {
		api_key: string;
	};
	return minted.api_key;
}

const bucketOf = (row: number): number => (row * 7_919) % 10_000;

/** Each row with `bucket`, which is indexed, and `shadow`, its unindexed twin. */
export function insertBodies(data: Dataset): string[] {
	const bodies: string[] = [];
	for (let from = 0; from < data.count; from += INSERT_BATCH) {
		const rows: string[] = [];
		for (let row = from; row < Math.min(data.count, from + INSERT_BATCH); row++) {
			const vector = data.vectors.subarray(row * data.dimension, (row + 1) * data.dimension).join(",");
			const bucket = bucketOf(row);
			rows.push(`{"id":${row},"vector":[${vector}],"payload":{"bucket":${bucket},"shadow":${bucket}}}`);
		}
		bodies.push(`{"vectors":[${rows.join(",")}]}`);
	}
	return bodies;
}

export async function post(node: LocalNode, key: string, path: string, body: string): Promise<unknown> {
	const answer = await fetch(`${node.url}/api/v1${path}`, {
		method: "POST",
		headers: { "x-api-key": key, "content-type": "application/json" },
		body,
	});
	const result = await answer.json();
	if (!answer.ok) throw new Error(`POST ${path}: ${JSON.stringify(result)}`);
	return result;
}

export async function untilIndexed(node: LocalNode, key: string, path: string, count: number): Promise<void> {
	for (;;) {
		const info = (await node.call(key, "GET", path)) as { index_state: string; indexed_vectors: number };
		if (info.indexed_vectors >= count) return;
		await Bun.sleep(50);
	}
}
