import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { Collection, Tenant } from "../../src/cluster/tenant-types.ts";
import type { NodeServices } from "../../src/operations/node-services.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import type { SearchRequest } from "../../src/storage/shard-types.ts";
import { clientOf } from "../node/node-fixture.ts";
import { type Input, linesOf, OperationsNode, type Output } from "./operations-fixture.ts";

const IN_DOCS = { collection: "docs" };
const PAGE = { vectors: [], cursor: null };
const WRITTEN = { vectorCountDelta: 1, bytesDelta: 1, affectedCount: 1 };

/** A collection that writes down with which consistency it was asked, the searches by their limit. */
function recorded(): { readonly collection: Collection; readonly asked: unknown[] } {
	const asked: unknown[] = [];
	const note = <T>(method: string, consistency: unknown, answer: T): Promise<T> => {
		asked.push([method, consistency]);
		return Promise.resolve(answer);
	};
	const collection: Partial<Collection> = {
		record: { dimension: 2, metric: "dot" } as Collection["record"],
		upsert: (_, consistency) => note("upsert", consistency, WRITTEN),
		update: (_, consistency) => note("update", consistency, WRITTEN),
		delete: (_, consistency) => note("delete", consistency, WRITTEN),
		get: (ids, _, consistency) =>
			note(
				"get",
				consistency,
				ids.map((id) => ({ id })),
			),
		count: (_, consistency) => note("count", consistency, 1),
		scroll: (_, consistency) => note("scroll", consistency, PAGE),
		search: (requests: readonly SearchRequest[], consistency) =>
			note(
				`search ${requests.map(({ k }) => k).join()}`,
				consistency,
				requests.map(({ k }) => ({ hits: [{ id: k, score: 1 }], plan: { kind: "exact" as const, candidateCount: 1 } })),
			),
	};
	return { collection: collection as Collection, asked };
}

async function run(name: string, input: Input, collection: Collection): Promise<Output> {
	const operation = OPERATIONS.find((each) => each.name === name)!;
	const meter = { countSearches: () => {}, countVectorsWritten: () => {} };
	const services = { meter, countSearch: () => {}, clock: { monotonicMs: () => 0 }, random: () => new Uint8Array(20) };
	const context = {
		tenant: { id: "acme", collection: async () => collection } as unknown as Tenant,
		services: services as unknown as NodeServices,
	} as Parameters<typeof operation.run>[0];
	return await operation.run(context, operation.input.parse({ ...IN_DOCS, ...input }));
}

const VECTORS = [{ id: 1, vector: [1, 2] }];
const FILTER = { must: [{ key: "a", match: { value: 1 } }] };
const oneLine = () => linesOf(['{"id":1,"vector":[1,2]}']);

describe("the consistency that a request asks for", () => {
	test.each([
		["vectors.upsert", { vectors: VECTORS }, "upsert"],
		["vectors.update", { id: "a", payload: {} }, "update"],
		["vectors.delete_one", { id: "a" }, "delete"],
		["vectors.delete_many", { ids: ["a"] }, "delete"],
		["vectors.get", { id: "a" }, "get"],
		["vectors.get_many", { ids: ["a"] }, "get"],
		["vectors.get_many", { filter: FILTER }, "scroll"],
		["vectors.count", {}, "count"],
		["vectors.count", { ids: ["a"] }, "get"],
		["vectors.scroll", {}, "scroll"],
		["search.query", { vector: [1, 2] }, "search 10"],
	] as const)("reaches the copies from %s %j", async (name, input, method) => {
		for (const consistency of ["one", "quorum", "all", undefined]) {
			const { collection, asked } = recorded();
			await run(name, { ...input, ...(consistency !== undefined && { consistency }) }, collection);
			expect(asked).toEqual([[method, consistency]]);
		}
		const wrong = OPERATIONS.find((each) => each.name === name)!.input.safeParse({
			...IN_DOCS,
			...input,
			consistency: "most",
		});
		expect(wrong.error?.issues.map(({ path }) => path)).toEqual([["consistency"]]);
	});

	test("reaches the copies from every batch of an import", async () => {
		const { collection, asked } = recorded();
		const progress: unknown[] = [];
		for await (const line of await run("vectors.import", { lines: oneLine(), consistency: "all" }, collection)) {
			progress.push(line);
		}
		expect(progress.at(-1)).toEqual({ done: true, imported: 1, failed: 0 });
		expect(asked).toEqual([["upsert", "all"]]);
	});

	test("may differ among the searches of a batch, whose answers come in their order", async () => {
		const { collection, asked } = recorded();
		const search = (limit: number, consistency?: string) => ({
			vector: [1, 2],
			limit,
			...(consistency && { consistency }),
		});
		const { results } = await run(
			"search.batch",
			{ searches: [search(1), search(2, "all"), search(3), search(4, "one")], consistency: "quorum" },
			collection,
		);
		expect(results.map(([hit]: [{ id: number }]) => hit.id)).toEqual([1, 2, 3, 4]);
		expect(asked).toEqual([
			["search 1,3", "quorum"],
			["search 2", "all"],
			["search 4", "one"],
		]);
	});
});

describe("over HTTP", () => {
	let node: OperationsNode;
	beforeAll(async () => {
		node = await OperationsNode.start();
	});
	afterAll(() => node.stop());

	test("it stands in the query where there is no body, and in the body where there is one", async () => {
		const { key } = await node.newTenant("acme");
		const call = clientOf(`${node.node.url}/api/v1/collections`, key);
		const made = await call("POST", "", { name: "docs", dimension: 2, replicas: 3 });
		expect([made.status, made.body.replicas]).toEqual([201, 3]);
		expect((await call("PATCH", "/docs", { replicas: 2 })).body.replicas).toBe(2);
		const upsert = await call("POST", "/docs/vectors", { vectors: VECTORS, consistency: "all" });
		expect(upsert.status).toBe(200);
		expect((await call("GET", "/docs/vectors/1?consistency=quorum")).status).toBe(200);
		expect((await call("GET", "/docs/vectors/1?consistency=most")).body.details.field).toBe("consistency");
		expect((await call("PATCH", "/docs/vectors/1", { payload: { a: 1 }, consistency: "one" })).status).toBe(200);
		expect((await call("DELETE", "/docs/vectors/1?consistency=all")).status).toBe(200);
		const imported = await fetch(`${node.node.url}/api/v1/collections/docs/import?consistency=quorum`, {
			method: "POST",
			headers: { authorization: `Bearer ${key}`, "content-type": "application/x-ndjson" },
			body: '{"id":1,"vector":[1,2]}\n',
		});
		expect(await imported.text()).toContain('"done":true');
	});
});
