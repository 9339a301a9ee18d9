import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Input, OperationsNode, type TenantCalls } from "./operations-fixture.ts";

let node: OperationsNode;
let acme: TenantCalls;
beforeAll(async () => {
	node = await OperationsNode.start();
	acme = await node.newTenant("acme");
});
afterAll(() => node.stop());

describe("a collection", () => {
	test("is made with the defaults, and described in full", async () => {
		const made = await acme.ask("collections.create", { name: "Docs-1.a_b", dimension: 3 });
		expect(made).toEqual({
			name: "Docs-1.a_b",
			full_name: "acme:Docs-1.a_b",
			dimension: 3,
			metric: "cosine",
			quantization: "f16",
			index: "auto",
			shards: 1,
			replicas: 3,
			hnsw: { m: 16, ef_construction: 128, ef_search: 64 },
			payload_indexes: {},
			vectors: 0,
			bytes: 0,
			disk_bytes: expect.any(Number),
			index_state: "exact",
			indexed_vectors: 0,
			created_at: expect.any(String),
		});
		expect(await acme.ask("collections.get", { collection: "Docs-1.a_b" })).toMatchObject({
			full_name: "acme:Docs-1.a_b",
		});
	});

	test("is made as it was asked for", async () => {
		const wanted = {
			name: "chosen",
			dimension: 16_384,
			metric: "euclidean",
			quantization: "i8",
			index: "hnsw",
			shards: 3,
			replicas: 2,
			hnsw: { m: 8, ef_construction: 64, ef_search: 32 },
		};
		expect(await acme.ask("collections.create", wanted)).toMatchObject(wanted);
	});

	test("shows how it treats text, with what was left to defaults", async () => {
		const made = await acme.ask("collections.create", { name: "worded", dimension: 3, text: {} });
		expect(made.text).toEqual({ provider: "none", fields: ["text"], language: "english" });
		const text = { provider: "none", fields: ["title", "body.en", 'tags[]."a.b"'], language: "german" };
		await acme.ask("collections.create", { name: "worded-2", dimension: 3, text });
		// What else is changed leaves it alone.
		await acme.ask("collections.update", { collection: "worded-2", hnsw: { ef_search: 99 } });
		expect(await acme.ask("collections.get", { collection: "worded-2" })).toMatchObject({ text });
		const { collections } = await acme.ask("collections.list", {});
		expect(collections.find(({ name }: { name: string }) => name === "worded-2").text).toEqual(text);
	});

	test.each([
		["text.provider", { provider: "cohere" }],
		["text.provider", { provider: "openai", model: "m" }],
		["text.model", { model: "m" }],
		["text.fields", { fields: [] }],
		["text.fields", { fields: ["a", '"a"'] }],
		["text.fields", { fields: Array.from({ length: 17 }, (_, n) => `f${n}`) }],
		["text.fields[0]", { fields: ["a..b"] }],
		["text.language", { language: "klingon" }],
		["text.stem", { stem: true }],
	])("is not made when %s is wrong", async (field, text) => {
		const refusal = await acme.refusal("collections.create", { name: "wrong-text", dimension: 3, text });
		expect([refusal.code, refusal.details?.field]).toEqual(["VALIDATION_FAILED", field]);
		expect((await acme.refusal("collections.get", { collection: "wrong-text" })).code).toBe("COLLECTION_NOT_FOUND");
	});

	test("has a name of its own", async () => {
		await acme.ask("collections.create", { name: "twice", dimension: 3 });
		expect((await acme.refusal("collections.create", { name: "twice", dimension: 4 })).code).toBe("COLLECTION_EXISTS");
		// Names are exact.
		await acme.ask("collections.create", { name: "TWICE", dimension: 4 });
	});

	test("counts what it holds by its quota's bytes", async () => {
		await acme.ask("collections.create", { name: "counted", dimension: 3 });
		await acme.ask("vectors.upsert", {
			collection: "counted",
			vectors: [
				{ id: 1, vector: [1, 0, 0] },
				{ id: 2, vector: [0, 1, 0], payload: { a: "ä" } },
			],
		});
		const bytes = 2 * (3 * 4 + 64) + Buffer.byteLength('{"a":"ä"}');
		expect(await acme.ask("collections.get", { collection: "counted" })).toMatchObject({ vectors: 2, bytes });
	});

	test("can be given another ef_search and another number of replicas, and nothing else", async () => {
		await acme.ask("collections.create", { name: "tuned", dimension: 3 });
		const tuned = await acme.ask("collections.update", { collection: "tuned", hnsw: { ef_search: 200 } });
		expect(tuned.hnsw).toEqual({ m: 16, ef_construction: 128, ef_search: 200 });
		expect(await acme.ask("collections.update", { collection: "tuned", replicas: 5 })).toMatchObject({
			replicas: 5,
			hnsw: { ef_search: 200 },
		});
		const fields = async (input: Input) =>
			(await acme.refusal("collections.update", { collection: "tuned", ...input })).details?.field;
		expect(await fields({})).toBe("hnsw");
		expect(await fields({ hnsw: { m: 32 } })).toBe("hnsw.ef_search");
		expect(await fields({ hnsw: { ef_search: 64, m: 32 } })).toBe("hnsw.m");
		expect(await fields({ dimension: 4 })).toBe("dimension");
		expect(await fields({ replicas: 17 })).toBe("replicas");
	});

	test("is gone with its vectors, and a new one of its name is empty", async () => {
		await acme.ask("collections.create", { name: "brief", dimension: 3 });
		await acme.ask("vectors.upsert", { collection: "brief", vectors: [{ id: 1, vector: [1, 0, 0] }] });
		expect(await acme.ask("collections.delete", { collection: "brief" })).toEqual({ deleted: true });
		expect((await acme.refusal("collections.get", { collection: "brief" })).code).toBe("COLLECTION_NOT_FOUND");
		expect((await acme.refusal("collections.delete", { collection: "brief" })).code).toBe("COLLECTION_NOT_FOUND");
		expect(await acme.ask("collections.create", { name: "brief", dimension: 2 })).toMatchObject({ vectors: 0 });
	});
});

test("all of a tenant's collections are listed by name, however many, and no other's", async () => {
	const many = await node.newTenant("many");
	const names = Array.from({ length: 20 }, (_, index) => `c${String(index).padStart(2, "0")}`);
	for (const name of names.toReversed()) await many.ask("collections.create", { name, dimension: 2 });
	const { collections } = await many.ask("collections.list", {});
	expect(collections.map(({ name }: { name: string }) => name)).toEqual(names);
});

test("past its quota of collections a tenant makes none until it deletes one", async () => {
	const tight = await node.newTenant("tight", { quota: { max_collections: 1 } });
	await tight.ask("collections.create", { name: "one", dimension: 2 });
	const error = await tight.refusal("collections.create", { name: "two", dimension: 2 });
	expect(error.code).toBe("QUOTA_EXCEEDED");
	expect(error.details).toMatchObject({ quota: "max_collections" });
	await tight.ask("collections.delete", { collection: "one" });
	await tight.ask("collections.create", { name: "two", dimension: 2 });
});

describe("what is wrong with a new collection is named", () => {
	const valid = { name: "fine", dimension: 3 };
	test.each<[string, Input, string]>([
		["no name", { dimension: 3 }, "name"],
		["no dimension", { name: "fine" }, "dimension"],
		["a dimension of 0", { ...valid, dimension: 0 }, "dimension"],
		["a dimension past the limit", { ...valid, dimension: 16_385 }, "dimension"],
		["half a dimension", { ...valid, dimension: 2.5 }, "dimension"],
		["a dimension as text", { ...valid, dimension: "3" }, "dimension"],
		["an unknown metric", { ...valid, metric: "manhattan" }, "metric"],
		["an unknown quantization", { ...valid, quantization: "b1" }, "quantization"],
		["an unknown index", { ...valid, index: "ivf" }, "index"],
		["no shards", { ...valid, shards: 0 }, "shards"],
		["too many shards", { ...valid, shards: 65 }, "shards"],
		["no replicas", { ...valid, replicas: 0 }, "replicas"],
		["too large an m", { ...valid, hnsw: { m: 129 } }, "hnsw.m"],
		["an unknown graph setting", { ...valid, hnsw: { ef: 1 } }, "hnsw.ef"],
		["an unknown field", { ...valid, size: 3 }, "size"],
		["an empty name", { ...valid, name: "" }, "name"],
		["a path for a name", { ...valid, name: "../docs" }, "name"],
		["a slash in a name", { ...valid, name: "a/b" }, "name"],
		["dots for a name", { ...valid, name: ".." }, "name"],
		["another tenant's prefix", { ...valid, name: "beta:docs" }, "name"],
		["a look-alike letter", { ...valid, name: "dоcs" }, "name"],
		["a line break after a name", { ...valid, name: "docs\n" }, "name"],
		["a NUL in a name", { ...valid, name: "do\0cs" }, "name"],
		["a very long name", { ...valid, name: "d".repeat(129) }, "name"],
		["a list for a name", { ...valid, name: ["docs"] }, "name"],
	])("%s", async (_, input, field) => {
		const before = await acme.ask("collections.list", {});
		const error = await acme.refusal("collections.create", input);
		expect(error.code).toBe("VALIDATION_FAILED");
		expect(error.details?.field).toBe(field);
		expect((await acme.ask("collections.list", {})).collections).toHaveLength(before.collections.length);
	});
});

test.each(["../acme", "..%2fdocs", "", "a b", "docs\u0000", "dоcs", "ACME:docs", "acme:docs:x", "x".repeat(129)])(
	"%j names no collection",
	async (collection) => {
		const error = await acme.refusal("collections.get", { collection });
		expect([error.code, error.details?.field]).toEqual(["VALIDATION_FAILED", "collection"]);
	},
);
