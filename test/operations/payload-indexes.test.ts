import { afterAll, beforeAll, expect, test } from "bun:test";
import { OperationsNode, type TenantCalls } from "./operations-fixture.ts";

let node: OperationsNode;
let acme: TenantCalls;
beforeAll(async () => {
	node = await OperationsNode.start();
	acme = await node.newTenant("acme");
	await acme.ask("collections.create", { name: "docs", dimension: 2 });
	await acme.ask("vectors.upsert", {
		collection: "docs",
		vectors: [
			{ id: 1, vector: [1, 0], payload: { lang: "en", deep: { year: 2001 } } },
			{ id: 2, vector: [1, 0], payload: { lang: "de", deep: { year: 1999 } } },
		],
	});
});
afterAll(() => node.stop());

const create = (field: string, type: string) => ({ collection: "docs", field, type });

test("an index is made, listed, used and dropped; what is found stays the same", async () => {
	const filter = {
		must: [
			{ key: "lang", match: { value: "de" } },
			{ key: "deep.year", range: { lt: 2000 } },
		],
	};
	const count = async () => (await acme.ask("vectors.count", { collection: "docs", filter })).count;
	expect(await count()).toBe(1);
	await acme.ask("payload_indexes.create", create("lang", "keyword"));
	const { payload_indexes } = await acme.ask("payload_indexes.create", create("deep.year", "integer"));
	expect(payload_indexes).toEqual({ lang: "keyword", "deep.year": "integer" });
	expect(await count()).toBe(1);
	expect((await acme.ask("collections.get", { collection: "docs" })).payload_indexes).toEqual(payload_indexes);
	// Asking for what is there changes nothing.
	expect(await acme.ask("payload_indexes.create", create("lang", "keyword"))).toEqual({ payload_indexes });
	expect(await acme.ask("payload_indexes.delete", { collection: "docs", field: "lang" })).toEqual({
		payload_indexes: { "deep.year": "integer" },
	});
	expect(await count()).toBe(1);
});

test("what can't be indexed is named", async () => {
	for (const [input, field] of [
		[create("", "keyword"), "field"],
		[create("x".repeat(257), "keyword"), "field"],
		[create("lang", "json"), "type"],
		[{ collection: "docs", field: "lang" }, "type"],
		[{ ...create("lang", "keyword"), more: 1 }, "more"],
	] as const) {
		const error = await acme.refusal("payload_indexes.create", input);
		expect([error.code, error.details?.field]).toEqual(["VALIDATION_FAILED", field]);
	}
	expect((await acme.refusal("payload_indexes.create", { ...create("a", "bool"), collection: "none" })).code).toBe(
		"COLLECTION_NOT_FOUND",
	);
});

test("an index that is not there can't be dropped", async () => {
	for (const field of ["nothing", "constructor", "toString"]) {
		const error = await acme.refusal("payload_indexes.delete", { collection: "docs", field });
		expect([error.code, error.details?.field]).toEqual(["NOT_FOUND", "field"]);
	}
});

test("a collection has 64 indexes at most", async () => {
	await acme.ask("collections.create", { name: "full", dimension: 2 });
	for (let index = 0; index < 64; index++) {
		await acme.ask("payload_indexes.create", { collection: "full", field: `field${index}`, type: "bool" });
	}
	const error = await acme.refusal("payload_indexes.create", { collection: "full", field: "one-more", type: "bool" });
	expect([error.code, error.details?.field]).toEqual(["VALIDATION_FAILED", "field"]);
	await acme.ask("payload_indexes.delete", { collection: "full", field: "field0" });
	await acme.ask("payload_indexes.create", { collection: "full", field: "one-more", type: "bool" });
});
