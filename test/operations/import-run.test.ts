import { describe, expect, test } from "bun:test";
import { HiveError } from "../../src/base/errors.ts";
import { systemRandom } from "../../src/base/ids.ts";
import type { Collection } from "../../src/cluster/tenant-types.ts";
import { type ImportLine, type ImportProgress, importLines } from "../../src/operations/import-run.ts";
import type { UpsertBatch, WriteResult } from "../../src/storage/shard-types.ts";
import { linesOf, thrownBy } from "./operations-fixture.ts";

interface PendingWrite {
	readonly batch: UpsertBatch;
	settle(error?: unknown): void;
}

/** A collection whose writes a test settles, or that settle at once. */
class ManualCollection {
	readonly writes: PendingWrite[] = [];
	isPrompt = true;
	failure: { atWrite: number; error: unknown } | undefined;

	get asCollection(): Collection {
		return {
			record: { name: "docs", dimension: 2, metric: "cosine" },
			upsert: (batch: UpsertBatch) => this.#upsert(batch),
		} as Partial<Collection> as Collection;
	}

	#upsert(batch: UpsertBatch): Promise<WriteResult> {
		const { promise, resolve, reject } = Promise.withResolvers<WriteResult>();
		const affectedCount = batch.ids.length;
		const settle = (error?: unknown): void =>
			error === undefined ? resolve({ affectedCount, vectorCountDelta: affectedCount, bytesDelta: 0 }) : reject(error);
		this.writes.push({ batch, settle });
		if (this.isPrompt) settle(this.failure?.atWrite === this.writes.length ? this.failure.error : undefined);
		return promise;
	}
}

const good = (id: number): string => JSON.stringify({ id, vector: [1, id] });
const goodLines = (count: number): string[] => Array.from({ length: count }, (_, id) => good(id));

function run(lines: AsyncIterable<ImportLine>, collection: ManualCollection) {
	const written: number[] = [];
	const progress = importLines(
		lines,
		collection.asCollection,
		systemRandom,
		(count) => void written.push(count),
		async () => [],
	);
	return { written, progress };
}

async function all(lines: AsyncIterable<ImportLine>, collection = new ManualCollection()) {
	const { written, progress } = run(lines, collection);
	const told: ImportProgress[] = [];
	let error: unknown;
	try {
		for await (const line of progress) told.push(line);
	} catch (thrown) {
		error = thrown;
	}
	return { told, error, written, collection };
}

describe("an import", () => {
	test("writes in batches of a thousand and tells how far it is", async () => {
		const { told, written, collection } = await all(linesOf(goodLines(2_500)));
		expect(collection.writes.map(({ batch }) => batch.ids.length)).toEqual([1_000, 1_000, 500]);
		expect(written).toEqual([1_000, 1_000, 500]);
		expect(told).toEqual([
			{ imported: 0, failed: 0, line: 1_000 },
			{ imported: 0, failed: 0, line: 2_000 },
			{ done: true, imported: 2_500, failed: 0 },
		]);
	});

	test("starts a batch early when its lines are large", async () => {
		const large = (id: number) => JSON.stringify({ id, vector: [1, 1], payload: { text: "x".repeat(1_000_000) } });
		const { collection } = await all(linesOf([0, 1, 2, 3, 4, 5].map(large)));
		expect(collection.writes.map(({ batch }) => batch.ids.length)).toEqual([5, 1]);
	});

	test("of nothing is done", async () => {
		expect((await all(linesOf([]))).told).toEqual([{ done: true, imported: 0, failed: 0 }]);
		expect((await all(linesOf(["", "  ", "\t"]))).told).toEqual([{ done: true, imported: 0, failed: 0 }]);
	});

	test("names each bad line with its field, and imports the others", async () => {
		async function* lines(): AsyncGenerator<ImportLine> {
			yield { line: 1, text: good(1) };
			yield { line: 2, text: "{broken" };
			yield { line: 3, text: '{"vector":[1,null]}' };
			yield { line: 4, text: '{"vector":[1]}' };
			yield { line: 5, text: '{"vector":[0,0]}' };
			yield { line: 6, text: '{"id":-1,"vector":[1,1]}' };
			yield { line: 7, text: "[]" };
			yield { line: 8, text: '{"vectr":[1,1]}' };
			yield { line: 9, error: "the line is longer than 2097152 bytes" };
			yield { line: 11, text: good(2) };
		}
		const { told, collection } = await all(lines());
		expect(told.slice(0, -1)).toMatchObject([
			{ line: 2, code: "VALIDATION_FAILED", field: "line" },
			{ line: 3, code: "INVALID_VECTOR", field: "vector[1]" },
			{ line: 4, code: "DIMENSION_MISMATCH", field: "vector" },
			{ line: 5, code: "INVALID_VECTOR", field: "vector" },
			{ line: 6, code: "VALIDATION_FAILED", field: "id" },
			{ line: 7, code: "VALIDATION_FAILED", field: "line" },
			{ line: 8, code: "VALIDATION_FAILED", field: "vectr" },
			{ line: 9, code: "VALIDATION_FAILED", field: "line", error: "the line is longer than 2097152 bytes" },
		]);
		expect(told.at(-1)).toEqual({ done: true, imported: 2, failed: 8 });
		expect(collection.writes[0]!.batch.ids).toEqual([1, 2]);
	});

	test("names a thousand bad lines and counts the rest, telling how far it is all the same", async () => {
		const { told } = await all(linesOf(Array<string>(3_000).fill("bad")));
		expect(told.filter((line) => "code" in line)).toHaveLength(1_000);
		expect(told.filter((line) => !("code" in line))).toEqual([
			{ imported: 0, failed: 1_000, line: 1_000 },
			{ imported: 0, failed: 2_000, line: 2_000 },
			{ imported: 0, failed: 3_000, line: 3_000 },
			{ done: true, imported: 0, failed: 3_000 },
		]);
	});

	test("makes up ids, and of lines with the same id the last counts", async () => {
		const { told, collection } = await all(
			linesOf(['{"vector":[1,1]}', '{"id":1,"vector":[1,2]}', '{"id":1,"vector":[1,3]}']),
		);
		const { ids, vectors } = collection.writes[0]!.batch;
		expect(ids).toEqual([expect.stringMatching(/^[a-z0-9]{20}$/), 1]);
		expect([...vectors]).toEqual([1, 1, 1, 3]);
		expect(told).toEqual([{ done: true, imported: 3, failed: 0 }]);
	});

	test("reads no further while two batches are on their way", async () => {
		let readCount = 0;
		async function* endless(): AsyncGenerator<ImportLine> {
			for (;;) yield { line: ++readCount, text: good(readCount) };
		}
		const collection = new ManualCollection();
		collection.isPrompt = false;
		const { progress } = run(endless(), collection);
		await progress.next();
		await progress.next();
		expect(collection.writes).toHaveLength(2);
		const third = progress.next();
		// Everything that could go on without a write being done has gone on by then.
		await new Promise(setImmediate);
		expect([readCount, collection.writes.length]).toEqual([3_000, 2]);
		collection.writes[0]!.settle();
		expect((await third).value).toEqual({ imported: 1_000, failed: 0, line: 3_000 });
		expect(collection.writes).toHaveLength(3);
		for (const write of collection.writes) write.settle();
		await progress.return(undefined);
		expect(readCount).toBe(3_000);
	});

	test("reads no further while nobody reads its progress", async () => {
		let readCount = 0;
		async function* endless(): AsyncGenerator<ImportLine> {
			for (;;) yield { line: ++readCount, text: good(readCount) };
		}
		const { progress } = run(endless(), new ManualCollection());
		await progress.next();
		await new Promise(setImmediate);
		expect(readCount).toBe(1_000);
		await progress.return(undefined);
	});

	test("that is given up closes its lines and waits for what is on its way", async () => {
		let isClosed = false;
		async function* lines(): AsyncGenerator<ImportLine> {
			try {
				yield* linesOf(goodLines(5_000));
			} finally {
				isClosed = true;
			}
		}
		const collection = new ManualCollection();
		collection.isPrompt = false;
		const { progress } = run(lines(), collection);
		await progress.next();
		let isOver = false;
		const over = progress.return(undefined).then(() => {
			isOver = true;
		});
		await new Promise(setImmediate);
		expect([isClosed, isOver]).toEqual([true, false]);
		collection.writes[0]!.settle(new Error("failed, and nobody is left to hear it"));
		await over;
	});

	test("that must stop tells what was imported, and why it stopped", async () => {
		const collection = new ManualCollection();
		const error = new HiveError("QUOTA_EXCEEDED", "full", { quota: "max_vectors" });
		collection.failure = { atWrite: 2, error };
		const outcome = await all(linesOf([...goodLines(10_000), "bad"]), collection);
		expect(outcome.error).toBe(error);
		// The third batch was on its way when the second failed.
		expect(outcome.told.at(-1)).toEqual({ imported: 2_000, failed: 0, line: 4_000 });
		expect(outcome.written).toEqual([1_000, 1_000]);
		expect(collection.writes).toHaveLength(3);
	});

	test("that several batches stop tells the first reason", async () => {
		const collection = new ManualCollection();
		collection.isPrompt = false;
		const { progress } = run(linesOf(goodLines(2_000)), collection);
		await progress.next();
		await progress.next();
		const first = new HiveError("OVERLOADED", "first");
		collection.writes[1]!.settle(new HiveError("OVERLOADED", "second"));
		collection.writes[0]!.settle(first);
		expect((await progress.next()).value).toEqual({ imported: 0, failed: 0, line: 2_000 });
		expect(await thrownBy(() => progress.next())).toBe(first);
	});

	test("whose client stops sending keeps what was complete, and says why it ended", async () => {
		const gone = new HiveError("VALIDATION_FAILED", "the body ended early");
		async function* lines(): AsyncGenerator<ImportLine> {
			yield* linesOf(goodLines(1_500));
			throw gone;
		}
		const { told, error, written } = await all(lines());
		expect(error).toBe(gone);
		expect(told.at(-1)).toEqual({ imported: 1_000, failed: 0, line: 1_500 });
		expect(written).toEqual([1_000]);
	});
});
