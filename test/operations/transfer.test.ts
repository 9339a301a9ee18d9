import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Tenant } from "../../src/cluster/tenant-types.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import { randomVector, seededRandom } from "../system/random.ts";
import { type Input, linesOf, OperationsNode, type Output, type TenantCalls, thrownBy } from "./operations-fixture.ts";

let node: OperationsNode;
let acme: TenantCalls;
beforeAll(async () => {
	node = await OperationsNode.start();
	acme = await node.newTenant("acme");
});
afterAll(() => node.stop());

const importInto = (calls: TenantCalls, collection: string, lines: readonly string[]): Promise<Output> =>
	calls.ask("vectors.import", { collection, lines: linesOf(lines) });

test("what is exported and imported elsewhere is the same, bit by bit", async () => {
	const random = seededRandom(1);
	for (const [name, shards] of [
		["from", 3],
		["to", 2],
	] as const) {
		await acme.ask("collections.create", { name, dimension: 5, shards, metric: "dot" });
	}
	const lines = Array.from({ length: 2_300 }, (_, index) =>
		JSON.stringify({
			id: index % 2 === 0 ? index : `text ${index}`,
			vector: randomVector(random, 5),
			...(index % 3 === 0 && { payload: { index, words: ["ä", null] } }),
		}),
	);
	const progress = await importInto(acme, "from", lines);
	expect(progress.at(-1)).toEqual({ done: true, imported: 2_300, failed: 0 });
	const exported = await acme.ask("vectors.export", { collection: "from" });
	expect(exported).toHaveLength(2_300);
	await importInto(
		acme,
		"to",
		exported.map((line: unknown) => JSON.stringify(line)),
	);
	const again = await acme.ask("vectors.export", { collection: "to" });
	expect(again).toEqual(exported);
	const original = new Map(lines.map((line) => [JSON.parse(line).id, JSON.parse(line)]));
	for (const { id, vector, payload } of again) {
		expect(vector.map(Math.fround)).toEqual(original.get(id).vector);
		expect(payload).toEqual(original.get(id).payload);
	}
});

test("an export can do without vectors", async () => {
	await acme.ask("collections.create", { name: "bare", dimension: 2 });
	await importInto(acme, "bare", ['{"id":1,"vector":[1,2],"payload":{"a":1}}']);
	expect(await acme.ask("vectors.export", { collection: "bare", with_vector: false })).toEqual([
		{ id: 1, payload: { a: 1 } },
	]);
});

test("an import stopped by the quota keeps what fitted, and is counted", async () => {
	const tight = await node.newTenant("tight", { quota: { max_vectors: 2_500 } });
	await tight.ask("collections.create", { name: "docs", dimension: 2 });
	const answer = await node.call(
		"vectors.import",
		{ collection: "docs", lines: linesOf(Array.from({ length: 6_000 }, (_, id) => `{"id":${id},"vector":[1,${id}]}`)) },
		{ key: tight.key },
	);
	if (!answer.ok) throw answer.error;
	const told: Output[] = [];
	const error = await thrownBy(async () => {
		for await (const line of answer.output as AsyncIterable<Output>) told.push(line);
	});
	expect(error).toMatchObject({ code: "QUOTA_EXCEEDED", details: { quota: "max_vectors" } });
	expect(told.at(-1)).toMatchObject({ imported: 2_000, failed: 0 });
	expect((await tight.ask("vectors.count", { collection: "docs" })).count).toBe(2_000);
	const metrics = await node.asAdmin("metrics.read", {});
	expect(metrics).toContain('hive_vector_tenant_quota_exceeded_total{tenant_id="tight",quota="vectors"} 1\n');
});

test("bad lines in the middle of an import are named, and the others are there", async () => {
	await acme.ask("collections.create", { name: "mixed", dimension: 2 });
	const progress = await importInto(acme, "mixed", ['{"id":1,"vector":[1,2]}', "{oops", '{"id":2,"vector":[2,1]}']);
	expect(progress).toEqual([
		{ line: 2, code: "VALIDATION_FAILED", error: "the line is not JSON", field: "line" },
		{ done: true, imported: 2, failed: 1 },
	]);
	expect((await acme.ask("vectors.count", { collection: "mixed" })).count).toBe(2);
});

test.each<[string, string, Input, string, string]>([
	["an import into nothing", "vectors.import", { collection: "none", lines: linesOf([]) }, "COLLECTION_NOT_FOUND", ""],
	["an import without lines", "vectors.import", { collection: "bare" }, "VALIDATION_FAILED", "lines"],
	["an import of text", "vectors.import", { collection: "bare", lines: "x" }, "VALIDATION_FAILED", "lines"],
	["an export of nothing", "vectors.export", { collection: "none" }, "COLLECTION_NOT_FOUND", ""],
	[
		"an export of what is not",
		"vectors.export",
		{ collection: "bare", with_vector: 1 },
		"VALIDATION_FAILED",
		"with_vector",
	],
])("%s is refused before anything is streamed", async (_, operation, input, code, field) => {
	const error = await acme.refusal(operation, input);
	expect([error.code as string, error.details?.field ?? ""]).toEqual([code, field]);
});

describe("an export of large vectors", () => {
	/** A collection of any length, whose pages are counted. */
	function exportOf(vectorCount: number, payloadLength: number) {
		const limits: number[] = [];
		const payload = JSON.stringify({ text: "x".repeat(payloadLength) });
		const scroll = async ({ limit, cursor }: { limit: number; cursor?: string }) => {
			limits.push(limit);
			const from = Number(cursor ?? 0);
			const to = Math.min(vectorCount, from + limit);
			const vectors = Array.from({ length: to - from }, (_, index) => ({
				id: from + index,
				vector: new Float32Array(4),
				payload,
			}));
			return { vectors, cursor: to < vectorCount ? String(to) : null };
		};
		const abort = new AbortController();
		const { run } = OPERATIONS.find(({ name }) => name === "vectors.export")!;
		const context = {
			tenant: { collection: async () => ({ scroll }) } as unknown as Tenant,
			signal: abort.signal,
		};
		const lines = run(context as Parameters<typeof run>[0], { collection: "docs", with_vector: true });
		return { limits, abort, lines: lines as Promise<AsyncIterable<Output>> };
	}

	test("holds a few megabytes of them at a time", async () => {
		const { limits, lines } = exportOf(100, 1_000_000);
		let lineCount = 0;
		for await (const _ of await lines) lineCount++;
		expect(lineCount).toBe(100);
		expect(Math.max(...limits)).toBe(4);
	});

	test("holds a thousand at most when they are small", async () => {
		const { limits, lines } = exportOf(5_000, 10);
		for await (const _ of await lines);
		expect(limits.slice(0, 6)).toEqual([4, 16, 64, 256, 1_000, 1_000]);
	});

	test("holds one at a time when each fills a page", async () => {
		const { limits, lines } = exportOf(8, 9_000_000);
		for await (const _ of await lines);
		expect(limits).toEqual([4, 1, 1, 1, 1]);
	});

	test("ends when the client has gone", async () => {
		const { limits, lines, abort } = exportOf(1_000_000, 10);
		let lineCount = 0;
		for await (const _ of await lines) if (++lineCount === 10) abort.abort();
		expect(lineCount).toBe(20);
		expect(limits).toHaveLength(2);
	});
});
