import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Index, MetricKind, ScalarKind } from "usearch";
import type { Dataset } from "./dataset.ts";
import { mean, recallOf, type Timing, timeCalls } from "./measure.ts";

export interface RawResult {
	readonly addsPerSecond: number;
	readonly searches: readonly (Timing & { readonly efSearch: number; readonly recall: number })[];
}

/** USearch as it comes, in this process, on one thread: what the served figures are held against. */
export function benchRawUsearch(data: Dataset, efSearches: readonly number[]): RawResult {
	const build = (efSearch: number): Index =>
		new Index({
			dimensions: data.dimension,
			metric: MetricKind.IP,
			quantization: ScalarKind.F16,
			connectivity: 16,
			expansion_add: 128,
			expansion_search: efSearch,
			multi: false,
		});
	const index = build(64);
	const startedAt = performance.now();
	const slice = 1_000;
	for (let row = 0; row < data.count; row += slice) {
		const until = Math.min(data.count, row + slice);
		index.add(
			BigUint64Array.from({ length: until - row }, (_, offset) => BigInt(row + offset)),
			data.vectors.slice(row * data.dimension, until * data.dimension),
			1,
		);
	}
	const addsPerSecond = (1000 * data.count) / (performance.now() - startedAt);

	const folder = mkdtempSync(join(tmpdir(), "raw-usearch-"));
	const path = join(folder, "index.usearch");
	index.save(path);
	const searches = efSearches.map((efSearch) => {
		const searched = build(efSearch);
		searched.load(path);
		const recalls: number[] = [];
		const timing = timeCalls(data.queries.length * 4, (call) => {
			const query = call % data.queries.length;
			const hits = searched.search(data.queries[query] as Float32Array, 10, 1);
			if (call < data.queries.length) {
				recalls.push(recallOf(Array.from(hits.keys, Number), data.nearest[query] as ReadonlySet<number>));
			}
		});
		return { ...timing, efSearch, recall: mean(recalls) };
	});
	rmSync(folder, { recursive: true });
	return { addsPerSecond, searches };
}
