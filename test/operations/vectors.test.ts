import { afterAll, beforeAll, beforeEach, describe, expect, test } from "bun:test";
import { type Input, OperationsNode, type Output, type TenantCalls } from "./operations-fixture.ts";

let node: OperationsNode;
let acme: TenantCalls;
let name: string;
let collectionCount = 0;

beforeAll(async () => {
	node = await OperationsNode.start();
	acme = await node.newTenant("acme");
});
afterAll(() => node.stop());
beforeEach(async () => {
	name = `c${collectionCount++}`;
	await acme.ask("collections.create", { name, dimension: 3, shards: 2 });
});

const inIt = (input: Input): Input => ({ collection: name, ...input });
const upsert = (vectors: readonly unknown[]): Promise<Output> => acme.ask("vectors.upsert", inIt({ vectors }));
const count = async (): Promise<number> => (await acme.ask("vectors.count", inIt({}))).count;
const get = (id: unknown, more: Input = {}): Promise<Output> => acme.ask("vectors.get", inIt({ id, ...more }));
const base64 = (numbers: readonly number[]): string =>
	Buffer.from(Float32Array.from(numbers).buffer).toString("base64");

describe("upserting", () => {
	test("answers how many vectors are written and under which ids, in order", async () => {
		const { upserted, ids } = await upsert([
			{ id: "b", vector: [1, 2, 3] },
			{ id: 7, vector: [4, 5, 6] },
			{ id: "7", vector: [7, 8, 9] },
		]);
		expect([upserted, ids]).toEqual([3, ["b", 7, "7"]]);
		expect((await get("7", { with_vector: true })).vector).toEqual([4, 5, 6]);
		expect((await get("7", { with_vector: true, id_type: "string" })).vector).toEqual([7, 8, 9]);
	});

	test("makes up ids where there are none, each its own", async () => {
		const { upserted, ids } = await upsert(Array.from({ length: 50 }, () => ({ vector: [1, 0, 0] })));
		expect(upserted).toBe(50);
		expect(new Set(ids).size).toBe(50);
		for (const id of ids) expect(id).toMatch(/^[a-z0-9]{20}$/);
		expect(await get(ids[7])).toEqual({ id: ids[7] });
	});

	test("of vectors with the same id the last counts", async () => {
		const { upserted, ids } = await upsert([
			{ id: 1, vector: [1, 0, 0], payload: { turn: 1 } },
			{ id: 2, vector: [1, 1, 0] },
			{ id: 1, vector: [0, 0, 1] },
		]);
		expect([upserted, ids]).toEqual([2, [1, 2, 1]]);
		expect(await get(1, { with_vector: true })).toEqual({ id: 1, vector: [0, 0, 1] });
	});

	test("replaces what was there, payload and all", async () => {
		await upsert([{ id: 1, vector: [1, 0, 0], payload: { old: true } }]);
		await upsert([{ id: 1, vector: [0, 1, 0], payload: { new: true } }]);
		expect(await get(1, { with_vector: true })).toEqual({ id: 1, vector: [0, 1, 0], payload: { new: true } });
		expect(await count()).toBe(1);
	});

	test("takes base64 of float32, raw bytes and arrays alike", async () => {
		const numbers = [0.1, -2.5, 3e-5].map(Math.fround);
		await upsert([
			{ id: 1, vector: { base64: base64(numbers) } },
			{ id: 2, vector: numbers },
			{ id: 3, vector: new Uint8Array(Float32Array.from(numbers).buffer) },
		]);
		for (const id of [1, 2, 3]) {
			const { vector } = await get(id, { with_vector: true });
			expect(vector.map(Math.fround)).toEqual(numbers);
		}
	});

	test("keeps payloads as they are, null meaning none", async () => {
		const payload = { text: "Ω\u0000\n", deep: { list: [1, null, { a: [] }] }, n: 1e300, empty: {} };
		await upsert([
			{ id: 1, vector: [1, 0, 0], payload },
			{ id: 2, vector: [1, 0, 0], payload: null },
			{ id: 3, vector: [1, 0, 0], payload: {} },
		]);
		expect((await get(1)).payload).toEqual(payload);
		expect(await get(2)).toEqual({ id: 2 });
		expect(await get(3)).toEqual({ id: 3, payload: {} });
		expect(await get(1, { with_payload: false })).toEqual({ id: 1 });
	});
});

describe("what is wrong with a vector is named, and nothing is written", () => {
	const good = { id: "good", vector: [1, 0, 0] };
	const cyclic: Record<string, unknown> = {};
	cyclic.self = cyclic;

	test.each<[string, unknown, string, string]>([
		["no vector", { id: 1 }, "VALIDATION_FAILED", "vectors[1].vector"],
		["null for a vector", { vector: null }, "INVALID_VECTOR", "vectors[1].vector"],
		["an empty vector", { vector: [] }, "INVALID_VECTOR", "vectors[1].vector"],
		["too few dimensions", { vector: [1, 2] }, "DIMENSION_MISMATCH", "vectors[1].vector"],
		["far too many dimensions", { vector: Array(16_385).fill(1) }, "INVALID_VECTOR", "vectors[1].vector"],
		["NaN", { vector: [1, Number.NaN, 3] }, "INVALID_VECTOR", "vectors[1].vector[1]"],
		["infinity", { vector: [1, 2, Number.POSITIVE_INFINITY] }, "INVALID_VECTOR", "vectors[1].vector[2]"],
		["what float32 can't hold", { vector: [1e39, 2, 3] }, "INVALID_VECTOR", "vectors[1].vector[0]"],
		["text for a number", { vector: ["1", 2, 3] }, "INVALID_VECTOR", "vectors[1].vector[0]"],
		["null for a number", { vector: [1, null, 3] }, "INVALID_VECTOR", "vectors[1].vector[1]"],
		["zero with cosine", { vector: [0, -0, 0] }, "INVALID_VECTOR", "vectors[1].vector"],
		["what rounds to zero", { vector: [1e-60, 0, 0] }, "INVALID_VECTOR", "vectors[1].vector"],
		["an object", { vector: { a: 1 } }, "INVALID_VECTOR", "vectors[1].vector"],
		["broken base64", { vector: { base64: "AAA!" } }, "INVALID_VECTOR", "vectors[1].vector.base64"],
		["base64 of no text", { vector: { base64: 7 } }, "INVALID_VECTOR", "vectors[1].vector.base64"],
		["base64 of half a number", { vector: { base64: "AAAA" } }, "INVALID_VECTOR", "vectors[1].vector"],
		["NaN in base64", { vector: { base64: base64([1, Number.NaN, 2]) } }, "INVALID_VECTOR", "vectors[1].vector[1]"],
		["more than base64", { vector: { base64: "", more: 1 } }, "INVALID_VECTOR", "vectors[1].vector.more"],
		["text for a vector entry", "vector", "VALIDATION_FAILED", "vectors[1]"],
		["a list for a vector entry", [1, 0, 0], "VALIDATION_FAILED", "vectors[1]"],
		["null for a vector entry", null, "VALIDATION_FAILED", "vectors[1]"],
		["a date for a vector entry", new Date(0), "VALIDATION_FAILED", "vectors[1]"],
		["an unknown field", { ...good, text: "x" }, "VALIDATION_FAILED", "vectors[1].text"],
		["an empty id", { ...good, id: "" }, "VALIDATION_FAILED", "vectors[1].id"],
		["a negative id", { ...good, id: -1 }, "VALIDATION_FAILED", "vectors[1].id"],
		["half an id", { ...good, id: 1.5 }, "VALIDATION_FAILED", "vectors[1].id"],
		["an id past 2^53-1", { ...good, id: 2 ** 53 }, "VALIDATION_FAILED", "vectors[1].id"],
		["true for an id", { ...good, id: true }, "VALIDATION_FAILED", "vectors[1].id"],
		["null for an id", { ...good, id: null }, "VALIDATION_FAILED", "vectors[1].id"],
		["an id of 257 bytes", { ...good, id: "a".repeat(257) }, "VALIDATION_FAILED", "vectors[1].id"],
		["an id of 100 letters and 300 bytes", { ...good, id: "語".repeat(100) }, "VALIDATION_FAILED", "vectors[1].id"],
		["an id of 10 MB", { ...good, id: "a".repeat(10_000_000) }, "VALIDATION_FAILED", "vectors[1].id"],
		["half a character for an id", { ...good, id: "\ud800" }, "VALIDATION_FAILED", "vectors[1].id"],
		["text for a payload", { ...good, payload: "x" }, "VALIDATION_FAILED", "vectors[1].payload"],
		["a list for a payload", { ...good, payload: [1] }, "VALIDATION_FAILED", "vectors[1].payload"],
		[
			"a payload past 1 MiB",
			{ ...good, payload: { a: "x".repeat(1 << 20) } },
			"VALIDATION_FAILED",
			"vectors[1].payload",
		],
		["a payload without a JSON form", { ...good, payload: cyclic }, "VALIDATION_FAILED", "vectors[1].payload"],
		["a whole number no JSON has", { ...good, payload: { a: 1n } }, "VALIDATION_FAILED", "vectors[1].payload"],
	])("%s", async (_, entry, code, field) => {
		const error = await acme.refusal("vectors.upsert", inIt({ vectors: [good, entry] }));
		expect([error.code as string, error.details?.field]).toEqual([code, field]);
		expect(error.message.length).toBeLessThan(400);
		expect(await count()).toBe(0);
	});

	test("an unknown field of any length is named shortly", async () => {
		const error = await acme.refusal("vectors.upsert", inIt({ vectors: [{ ...good, ["x".repeat(1e6)]: 1 }] }));
		expect(String(error.details?.field).length).toBeLessThan(150);
	});

	test.each<[string, unknown]>([
		["no vectors", []],
		["one vector for a list", good],
		["too many vectors", Array(100_001).fill(good)],
		["nothing", undefined],
	])("%s", async (_, vectors) => {
		const error = await acme.refusal("vectors.upsert", inIt({ vectors }));
		expect([error.code, error.details?.field]).toEqual(["VALIDATION_FAILED", "vectors"]);
	});
});

test("the longest and the strangest ids come out as they went in", async () => {
	const ids = ["語".repeat(85), "a".repeat(256), " ", "../..", "\u0000", "007", "1e3", 0, 2 ** 53 - 1, "😀".repeat(64)];
	await upsert(ids.map((id) => ({ id, vector: [1, 0, 0] })));
	const { vectors } = await acme.ask("vectors.get_many", inIt({ ids }));
	expect(vectors.map(({ id }: Output) => id)).toEqual(ids);
	for (const id of ids) expect((await get(id)).id).toBe(id);
	// -0 is 0.
	expect((await upsert([{ id: -0, vector: [1, 1, 1] }])).ids).toEqual([0]);
	expect(await count()).toBe(ids.length);
});

describe("an id in a path", () => {
	test.each<[string, string, unknown]>([
		["7", "auto", 7],
		["0", "auto", 0],
		["9007199254740991", "auto", 2 ** 53 - 1],
		["9007199254740992", "auto", "9007199254740992"],
		["07", "auto", "07"],
		["-1", "auto", "-1"],
		["7.0", "auto", "7.0"],
		["7", "string", "7"],
	])("%s (%s) means %p", async (id, id_type, meant) => {
		await upsert([{ id: meant, vector: [1, 0, 0] }]);
		expect((await get(id, { id_type })).id).toBe(meant);
		expect((await acme.ask("vectors.update", inIt({ id, id_type, payload: { a: 1 } }))).id).toBe(meant);
		expect(await acme.ask("vectors.delete_one", inIt({ id, id_type }))).toEqual({ deleted: 1 });
	});

	test("that names nothing is not found, whatever is asked of it", async () => {
		for (const [operation, more] of [
			["vectors.get", {}],
			["vectors.update", { payload: { a: 1 } }],
			["vectors.delete_one", {}],
		] as const) {
			expect((await acme.refusal(operation, inIt({ id: "none", ...more }))).code).toBe("VECTOR_NOT_FOUND");
		}
	});
});

describe("updating", () => {
	test("merges the payload's top fields, null removing one", async () => {
		await upsert([{ id: 1, vector: [1, 0, 0], payload: { a: { deep: 1 }, b: 2, c: 3 } }]);
		expect(await acme.ask("vectors.update", inIt({ id: "1", payload: { a: { other: 1 }, b: null, d: 4 } }))).toEqual({
			id: 1,
			updated: true,
		});
		expect(await get(1, { with_vector: true })).toEqual({
			id: 1,
			vector: [1, 0, 0],
			payload: { a: { other: 1 }, c: 3, d: 4 },
		});
	});

	test("replaces the vector and leaves the payload", async () => {
		await upsert([{ id: 1, vector: [1, 0, 0], payload: { a: 1 } }]);
		await acme.ask("vectors.update", inIt({ id: 1, vector: [0, 0, 2] }));
		expect(await get(1, { with_vector: true })).toEqual({ id: 1, vector: [0, 0, 2], payload: { a: 1 } });
	});

	test.each<[string, Input, string, string]>([
		["nothing", {}, "VALIDATION_FAILED", "payload"],
		["no payload", { payload: null }, "VALIDATION_FAILED", "payload"],
		["a list", { payload: [] }, "VALIDATION_FAILED", "payload"],
		["null for a vector", { vector: null }, "INVALID_VECTOR", "vector"],
		["a wrong dimension", { vector: [1] }, "DIMENSION_MISMATCH", "vector"],
		["a zero vector", { vector: [0, 0, 0] }, "INVALID_VECTOR", "vector"],
		["an unknown field", { payload: {}, score: 1 }, "VALIDATION_FAILED", "score"],
		["an unknown kind of id", { payload: {}, id_type: "number" }, "VALIDATION_FAILED", "id_type"],
	])("with %s is refused", async (_, change, code, field) => {
		await upsert([{ id: 1, vector: [1, 0, 0], payload: { a: 1 } }]);
		const error = await acme.refusal("vectors.update", inIt({ id: 1, ...change }));
		expect([error.code as string, error.details?.field]).toEqual([code, field]);
		expect(await get(1, { with_vector: true })).toEqual({ id: 1, vector: [1, 0, 0], payload: { a: 1 } });
	});
});

describe("many vectors", () => {
	const EVEN = { must: [{ key: "even", match: { value: true } }] };
	beforeEach(() =>
		upsert(Array.from({ length: 10 }, (_, id) => ({ id, vector: [1, id, 0], payload: { even: id % 2 === 0 } }))),
	);

	test("are read by ids in their order, without those that are not there", async () => {
		const { vectors } = await acme.ask("vectors.get_many", inIt({ ids: [9, "9", 3, 3, 77], with_vector: true }));
		expect(vectors).toEqual([
			{ id: 9, vector: [1, 9, 0], payload: { even: false } },
			{ id: 3, vector: [1, 3, 0], payload: { even: false } },
			{ id: 3, vector: [1, 3, 0], payload: { even: false } },
		]);
	});

	test("are read by filter, the first in id order", async () => {
		const { vectors } = await acme.ask("vectors.get_many", inIt({ filter: EVEN, limit: 3, with_payload: false }));
		expect(vectors).toEqual([{ id: 0 }, { id: 2 }, { id: 4 }]);
	});

	test("are counted: all, by filter, by ids", async () => {
		const counted = async (input: Input) => (await acme.ask("vectors.count", inIt(input))).count;
		expect(await counted({})).toBe(10);
		expect(await counted({ filter: EVEN })).toBe(5);
		expect(await counted({ ids: [1, 1, 2, "2", 99] })).toBe(2);
	});

	test("are deleted by ids or filter, and those that were there are counted", async () => {
		expect(await acme.ask("vectors.delete_many", inIt({ ids: [1, 1, 99] }))).toEqual({ deleted: 1 });
		expect(await acme.ask("vectors.delete_many", inIt({ filter: EVEN }))).toEqual({ deleted: 5 });
		expect(await count()).toBe(4);
	});

	test("are read page by page, each once", async () => {
		const seen: number[] = [];
		let cursor: string | null = null;
		let pageCount = 0;
		do {
			const page: Output = await acme.ask("vectors.scroll", inIt({ limit: 3, cursor, with_payload: false }));
			seen.push(...page.vectors.map(({ id }: Output) => id));
			cursor = page.next_cursor;
			pageCount++;
		} while (cursor !== null);
		expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
		expect(pageCount).toBe(4);
		const even = await acme.ask("vectors.scroll", inIt({ filter: EVEN, with_vector: true }));
		expect(even.vectors[1]).toEqual({ id: 2, vector: [1, 2, 0], payload: { even: true } });
		expect(even).toMatchObject({ next_cursor: null });
	});

	test.each<[string, string, Input, string, string]>([
		["neither ids nor filter", "vectors.get_many", {}, "VALIDATION_FAILED", "ids"],
		["both ids and filter", "vectors.get_many", { ids: [1], filter: EVEN }, "VALIDATION_FAILED", "ids"],
		["neither ids nor filter", "vectors.delete_many", {}, "VALIDATION_FAILED", "ids"],
		["both ids and filter", "vectors.delete_many", { ids: [1], filter: {} }, "VALIDATION_FAILED", "ids"],
		["both ids and filter", "vectors.count", { ids: [1], filter: {} }, "VALIDATION_FAILED", "ids"],
		["no ids", "vectors.delete_many", { ids: [] }, "VALIDATION_FAILED", "ids"],
		["too many ids", "vectors.get_many", { ids: Array(10_001).fill(1) }, "VALIDATION_FAILED", "ids"],
		["a wrong id", "vectors.get_many", { ids: [1, -1] }, "VALIDATION_FAILED", "ids[1]"],
		["an object for an id", "vectors.delete_many", { ids: [{}] }, "VALIDATION_FAILED", "ids[0]"],
		["a limit of 0", "vectors.scroll", { limit: 0 }, "VALIDATION_FAILED", "limit"],
		["a limit past 1,000", "vectors.scroll", { limit: 1_001 }, "VALIDATION_FAILED", "limit"],
		["a cursor made up", "vectors.scroll", { cursor: "made-up" }, "VALIDATION_FAILED", "cursor"],
		["a wrong filter", "vectors.delete_many", { filter: { must: [{ key: "a" }] } }, "INVALID_FILTER", "filter.must[0]"],
		["an unknown clause", "vectors.count", { filter: { musty: [] } }, "INVALID_FILTER", "filter.musty"],
		["text for a flag", "vectors.scroll", { with_vector: "yes" }, "VALIDATION_FAILED", "with_vector"],
	])("with %s are refused by %s", async (_, operation, input, code, field) => {
		const error = await acme.refusal(operation, inIt(input));
		expect([error.code as string, error.details?.field]).toEqual([code, field]);
		expect(await count()).toBe(10);
	});
});

describe("a tenant's quota", () => {
	test("of vectors is used to the last and never passed, and replacing is always possible", async () => {
		const tight = await node.newTenant("tight-count", { quota: { max_vectors: 3 } });
		await tight.ask("collections.create", { name: "docs", dimension: 2 });
		const write = (ids: readonly number[]): Input => ({
			collection: "docs",
			vectors: ids.map((id) => ({ id, vector: [1, id] })),
		});
		await tight.ask("vectors.upsert", write([1, 2]));
		const error = await tight.refusal("vectors.upsert", write([3, 4]));
		expect(error.code).toBe("QUOTA_EXCEEDED");
		expect(error.details).toEqual({
			quota: "max_vectors",
			usage: { current: 2, limit: 3, requested: 2, available: 1 },
		});
		await tight.ask("vectors.upsert", write([3]));
		await tight.ask("vectors.upsert", write([1, 2, 3]));
		await tight.ask("vectors.delete_one", { collection: "docs", id: 1 });
		await tight.ask("vectors.upsert", write([4]));
		expect((await tight.ask("vectors.count", { collection: "docs" })).count).toBe(3);
	});

	test("of bytes holds for payloads that grow", async () => {
		const vectorBytes = 2 * 4 + 64;
		const tight = await node.newTenant("tight-bytes", { quota: { max_storage_bytes: vectorBytes + 40 } });
		await tight.ask("collections.create", { name: "docs", dimension: 2 });
		await tight.ask("vectors.upsert", { collection: "docs", vectors: [{ id: 1, vector: [1, 0], payload: { a: 1 } }] });
		const grow = { collection: "docs", id: 1, payload: { b: "x".repeat(40) } };
		const error = await tight.refusal("vectors.update", grow);
		expect(error.code).toBe("QUOTA_EXCEEDED");
		expect(error.details).toMatchObject({
			quota: "max_storage_bytes",
			usage: { current_bytes: vectorBytes + 7, quota_bytes: vectorBytes + 40, available_bytes: 33 },
		});
		const { storage } = await tight.ask("usage.own", {});
		expect(storage.used_bytes).toBe(vectorBytes + 7);
		const { facts } = await node.call("vectors.count", { collection: "docs" }, { key: tight.key });
		expect(facts.storage).toEqual({ usedBytes: vectorBytes + 7, quotaBytes: vectorBytes + 40 });
	});

	test("holds however many write at once", async () => {
		const tight = await node.newTenant("tight-crowd", { quota: { max_vectors: 25 } });
		for (const collection of ["a", "b"])
			await tight.ask("collections.create", { name: collection, dimension: 2, shards: 2 });
		const writes = Array.from({ length: 30 }, (_, index) =>
			node.call(
				"vectors.upsert",
				{ collection: index % 2 === 0 ? "a" : "b", vectors: [{ vector: [1, index] }, { vector: [2, index] }] },
				{ key: tight.key },
			),
		);
		const answers = await Promise.all(writes);
		expect(answers.filter(({ ok }) => ok)).toHaveLength(12);
		for (const answer of answers) if (!answer.ok) expect(answer.error.code).toBe("QUOTA_EXCEEDED");
		expect((await tight.ask("usage.own", {})).vectors).toBe(24);
		await tight.ask("vectors.upsert", { collection: "a", vectors: [{ vector: [1, 1] }] });
	});
});
