import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { OPERATION_FIELDS } from "../../src/api/graphql/operation-fields.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import { type Input, OperationsNode } from "../operations/operations-fixture.ts";
import { type AskGraphql, graphqlOf, messageFor } from "./graphql-fixture.ts";

type Permission = "ADMIN" | "READ_WRITE" | "READ_ONLY" | "MCP";

/** CONTRACT section 2, written down once more: it is not asked of the code. */
const ROWS: Readonly<Record<string, { readonly may: readonly Permission[]; readonly input?: Input }>> = {
	collections: { may: ["ADMIN", "READ_WRITE", "READ_ONLY"] },
	collection: { may: ["ADMIN", "READ_WRITE", "READ_ONLY"], input: { collection: "docs" } },
	vector: { may: ["ADMIN", "READ_WRITE", "READ_ONLY"], input: { collection: "docs", id: "none" } },
	vectors: { may: ["ADMIN", "READ_WRITE", "READ_ONLY"], input: { collection: "docs" } },
	search: { may: ["ADMIN", "READ_WRITE", "READ_ONLY"], input: { collection: "docs", vector: [1, 0, 0] } },
	usage: { may: ["ADMIN", "READ_WRITE", "READ_ONLY"] },
	tenantUsage: { may: ["ADMIN", "READ_WRITE", "READ_ONLY"] },
	me: { may: ["ADMIN", "READ_WRITE", "READ_ONLY"] },
	upsertVectors: {
		may: ["ADMIN", "READ_WRITE"],
		input: { collection: "docs", vectors: [{ id: "x", vector: [1, 1, 1] }] },
	},
	updateVector: { may: ["ADMIN", "READ_WRITE"], input: { collection: "docs", id: "none", payload: {} } },
	deleteVectors: { may: ["ADMIN", "READ_WRITE"], input: { collection: "docs", ids: ["none"] } },
	createCollection: { may: ["ADMIN", "READ_WRITE"], input: { name: "docs", dimension: 3 } },
	updateCollection: { may: ["ADMIN", "READ_WRITE"], input: { collection: "docs", hnsw: { ef_search: 50 } } },
	deleteCollection: { may: ["ADMIN", "READ_WRITE"], input: { collection: "none" } },
	tenants: { may: ["ADMIN"] },
	tenant: { may: ["ADMIN"], input: { tenant_id: "beta" } },
	keys: { may: ["ADMIN"], input: { tenant_id: "beta" } },
	clusterHealth: { may: ["ADMIN"] },
	createTenant: { may: ["ADMIN"], input: { id: "acme" } },
	updateTenant: { may: ["ADMIN"], input: { tenant_id: "nobody", name: "x" } },
	deleteTenant: { may: ["ADMIN"], input: { tenant_id: "nobody" } },
	createKey: { may: ["ADMIN"], input: { tenant_id: "nobody", permissions: ["READ_ONLY"] } },
	revokeKey: { may: ["ADMIN"], input: { tenant_id: "acme", key_id: "key_aaaaaaaaaaaaaaaa" } },
	rotateKey: { may: ["ADMIN"], input: { tenant_id: "acme", key_id: "key_aaaaaaaaaaaaaaaa" } },
};

let node: OperationsNode;
const clients = {} as Record<Permission | "beta" | "none", AskGraphql>;

beforeAll(async () => {
	node = await OperationsNode.start();
	const { url } = node.node;
	for (const id of ["acme", "beta"]) {
		await node.asAdmin("tenants.create", { id });
		await node.asAdmin("collections.create", { name: id === "acme" ? "docs" : "theirs", dimension: 3 }, id);
	}
	const ids = Array.from({ length: 60 }, (_, index) => ({ id: index, vector: [index, 1, 0], payload: { index } }));
	await node.asAdmin("vectors.upsert", { collection: "docs", vectors: ids }, "acme");
	await node.asAdmin(
		"vectors.upsert",
		{ collection: "theirs", vectors: [{ id: 1, vector: [1, 1, 1], payload: { secret: "beta's" } }] },
		"beta",
	);
	for (const permission of ["READ_WRITE", "READ_ONLY", "MCP"] as const) {
		clients[permission] = graphqlOf(url, (await node.newKey("acme", [permission])).api_key);
	}
	clients.ADMIN = graphqlOf(url, node.adminKey, { "x-tenant-id": "acme" });
	clients.beta = graphqlOf(url, (await node.newKey("beta")).api_key);
	clients.none = graphqlOf(url);
});
afterAll(() => node.stop());

/** What a client with one call after a message has left, of 60 an hour: one comes back each minute. */
async function chargeOf(query: string, more: { variables?: Input; times?: number } = {}): Promise<number> {
	const id = `charged-${++serial}`;
	await node.asAdmin("tenants.create", { id, rate_limits: { requests_per_hour: 60, requests_per_minute: 1_000_000 } });
	await node.asAdmin("collections.create", { name: "docs", dimension: 3 }, id);
	await node.asAdmin(
		"vectors.upsert",
		{
			collection: "docs",
			vectors: [
				{ id: 1, vector: [1, 1, 0] },
				{ id: 2, vector: [1, 0, 0] },
			],
		},
		id,
	);
	const ask = graphqlOf(node.node.url, (await node.newKey(id)).api_key);
	await ask(query, more.variables);
	const { headers } = await ask("{ me { tenantId } }");
	return 60 - Number(headers.get("x-ratelimit-remaining")) - 1;
}
let serial = 0;

describe("a field", () => {
	test("of every operation is among those whose permissions are tried", () => {
		expect(OPERATION_FIELDS.map(({ field }) => field).sort()).toEqual(Object.keys(ROWS).sort());
	});

	for (const [field, { may, input = {} }] of Object.entries(ROWS)) {
		test(`is refused to whoever lacks the permission, and to no one else: ${field}`, async () => {
			const spec = OPERATION_FIELDS.find((each) => each.field === field)!;
			const { query, variables } = messageFor(spec, input);
			for (const permission of ["ADMIN", "READ_WRITE", "READ_ONLY"] as const) {
				const { status, codes, errors } = await clients[permission](query, variables);
				expect(status).toBe(200);
				expect([permission, codes.includes("FORBIDDEN")]).toEqual([permission, !may.includes(permission)]);
				if (codes[0] !== "FORBIDDEN") continue;
				expect(errors[0]!.extensions.details).toEqual({
					required: [...OPERATIONS.find(({ name }) => name === spec.operation)!.permissions],
					granted: [permission],
				});
			}
			const overMcpAlone = await clients.MCP(query, variables);
			expect([overMcpAlone.status, overMcpAlone.codes, overMcpAlone.data]).toEqual([403, ["FORBIDDEN"], undefined]);
			const withoutKey = await clients.none(query, variables);
			expect([withoutKey.status, withoutKey.codes]).toEqual([401, ["AUTH_MISSING"]]);
			expect(withoutKey.headers.get("www-authenticate")).toBe("Bearer");
		});
	}

	test("that is refused in one message hides none of the others, and changes nothing", async () => {
		const { data, codes, errors } = await clients.READ_ONLY(
			`{ me { tenantId } tenants { id } collections { name } tenant(id: "beta") { id } }`,
		);
		expect(data).toEqual({ me: { tenantId: "acme" }, tenants: null, collections: [{ name: "docs" }], tenant: null });
		expect(codes).toEqual(["FORBIDDEN", "FORBIDDEN"]);
		expect(errors.map(({ path }) => path)).toEqual([["tenants"], ["tenant"]]);
		const mutations = await clients.READ_ONLY(
			`mutation { createCollection(name: "mine", dimension: 3) { name } deleteCollection(name: "docs") { deleted } }`,
		);
		expect(mutations.codes).toEqual(["FORBIDDEN", "FORBIDDEN"]);
		expect((await clients.READ_ONLY("{ collections { name } }")).data.collections).toEqual([{ name: "docs" }]);
	});

	test("costs what one REST call costs, batched or not, and a message without any costs one call", async () => {
		const charges = {
			one: await chargeOf("{ usage { vectors } }"),
			three: await chargeOf("{ usage { vectors } me { tenantId } collections { name } }"),
			none: await chargeOf("{ __typename }"),
			introspection: await chargeOf("{ __schema { types { name } } a: __typename }"),
			syntax: await chargeOf("{ usage"),
			schema: await chargeOf("{ nope }"),
			variable: await chargeOf('query($id: VectorId!) { vector(collection: "docs", id: $id) { id } }', {
				variables: { id: {} },
			}),
			vectors: await chargeOf(
				`{ a: vector(collection: "docs", id: 1) { id } b: vector(collection: "docs", id: 2) { id } c: vector(collection: "docs", id: 3) { id } }`,
			),
			searches: await chargeOf(
				`{ a: search(collection: "docs", id: 1) { tookMs } b: search(collection: "docs", id: 2) { tookMs } }`,
			),
			total: await chargeOf(`{ vectors(collection: "docs") { totalCount } }`),
			skipped: await chargeOf(`{ usage @skip(if: true) { vectors } }`),
			mutations: await chargeOf(
				`mutation { a: deleteVectors(collection: "docs", ids: [9]) { deleted } b: deleteVectors(collection: "none", ids: [9]) { deleted } }`,
			),
		};
		expect(charges).toEqual({
			one: 1,
			three: 3,
			none: 1,
			introspection: 1,
			syntax: 1,
			schema: 1,
			variable: 1,
			vectors: 3,
			searches: 2,
			total: 2,
			skipped: 1,
			mutations: 2,
		});
	});

	test("for which no call is left is refused alone, and the answer says when to come again", async () => {
		await node.asAdmin("tenants.create", { id: "poor", rate_limits: { requests_per_minute: 3 } });
		await node.asAdmin("collections.create", { name: "docs", dimension: 3 }, "poor");
		await node.asAdmin("vectors.upsert", { collection: "docs", vectors: [{ id: 1, vector: [1, 1, 0] }] }, "poor");
		const ask = graphqlOf(node.node.url, (await node.newKey("poor")).api_key);
		const aliases = Array.from({ length: 5 }, (_, index) => `v${index}: vector(collection: "docs", id: 1) { id }`);
		const { status, codes, data, errors, headers } = await ask(`{ ${aliases.join(" ")} }`);
		expect(status).toBe(200);
		expect(codes).toEqual(["RATE_LIMITED", "RATE_LIMITED"]);
		expect(Object.values(data).filter((vector) => vector !== null)).toHaveLength(3);
		expect(errors[0]!.extensions.details.retry_after_seconds).toBeGreaterThan(0);
		expect(headers.get("x-ratelimit-limit")).toBe("3");
		const refused = await ask("{ me { tenantId } }");
		expect([refused.status, refused.codes]).toEqual([429, ["RATE_LIMITED"]]);
		expect(Number(refused.headers.get("retry-after"))).toBeGreaterThan(0);
		expect(refused.headers.get("x-tenant-id")).toBe("poor");
	});
});

describe("aliases", () => {
	test("of vectors of one collection are read by one operation, each as if it were alone", async () => {
		const before = await countOf("vectors.get_many");
		const aliases = Array.from(
			{ length: 50 },
			(_, id) => `v${id}: vector(collection: "docs", id: ${id}) { id payload }`,
		);
		const { data, codes } = await clients.READ_ONLY(
			`{ ${aliases.join(" ")} none: vector(collection: "docs", id: "1") { id } bad: vector(collection: "theirs", id: 1) { id } same: vector(collection: "docs", id: 1) { vector } }`,
		);
		expect([...codes].sort()).toEqual(["COLLECTION_NOT_FOUND", "VECTOR_NOT_FOUND"]);
		for (let id = 0; id < 50; id++) expect(data[`v${id}`]).toEqual({ id, payload: { index: id } });
		expect(data.same).toEqual({ vector: [1, 1, 0] });
		expect(data.none).toBeNull();
		expect((await countOf("vectors.get_many")) - before).toBe(1);
	});

	test("of searches of one collection are run by one operation, and one that is wrong spoils none of the others", async () => {
		const before = await countOf("search.batch");
		const { data, codes, errors } = await clients.READ_ONLY(`{
			a: search(collection: "docs", vector: [1, 0, 0], limit: 2) { results { id score payload } }
			b: search(collection: "docs", id: 3, limit: 1, explain: true) { results { id } plan { kind } }
			wrong: search(collection: "docs", vector: [1, 0], limit: 1) { results { id } }
			c: search(collection: "docs", vector: [0, 1, 0], limit: 1) { results { id } plan { kind } }
			worse: search(collection: "docs", vector: [1, 0, 0], filter: { must: [{ key: "a", match: {} }] }) { results { id } }
			elsewhere: search(collection: "theirs", vector: [1, 0, 0]) { results { id payload } }
		}`);
		expect([...codes].sort()).toEqual(["COLLECTION_NOT_FOUND", "DIMENSION_MISMATCH", "INVALID_FILTER"]);
		const wrong = errors.find(({ path }) => path![0] === "wrong")!;
		expect(wrong.extensions.details).toEqual({ expected: 3, actual: 2, field: "vector" });
		expect(data.a.results).toHaveLength(2);
		expect(data.a.results[0].payload).toEqual({ index: 59 });
		expect(data.b.plan.kind).toBe("EXACT");
		expect(data.c).toEqual({ results: [{ id: 0 }], plan: null });
		expect((await countOf("search.batch")) - before).toBe(3);
	});

	async function countOf(operation: string): Promise<number> {
		const text = await (
			await fetch(`${node.node.url}/metrics`, { headers: { authorization: `Bearer ${node.adminKey}` } })
		).text();
		return text
			.split("\n")
			.filter(
				(line) => line.startsWith("hive_vector_tenant_requests_total{") && line.includes(`operation="${operation}"`),
			)
			.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
	}
});

describe("another tenant's things", () => {
	test("are not there, whatever way they are named: aliases, fragments, variables, full names", async () => {
		const answers = await Promise.all([
			clients.READ_WRITE(`{ collection(name: "theirs") { name } }`),
			clients.READ_WRITE(`{ collection(name: "beta:theirs") { name } }`),
			clients.READ_WRITE(`query($name: String!) { ...F } fragment F on Query { x: collection(name: $name) { name } }`, {
				name: "theirs",
			}),
			clients.READ_WRITE(`{ vector(collection: "theirs", id: 1) { payload } }`),
			clients.READ_WRITE(`{ vectors(collection: "beta:theirs") { edges { node { payload } } totalCount } }`),
			clients.READ_WRITE(
				`{ ... on Query { search(collection: "theirs", vector: [1, 1, 1]) { results { payload } } } }`,
			),
			clients.READ_WRITE(`mutation { deleteCollection(name: "theirs") { deleted } }`),
			clients.READ_WRITE(`mutation { upsertVectors(collection: "theirs", vectors: [{ vector: [1, 2, 3] }]) { ids } }`),
		]);
		for (const { codes, data } of answers) {
			expect(codes).toEqual(["COLLECTION_NOT_FOUND"]);
			expect(JSON.stringify(data)).not.toContain("beta");
		}
		const named = await clients.READ_WRITE(`{ collection(name: "theirs") { name } }`);
		const never = await clients.READ_WRITE(`{ collection(name: "nobodys") { name } }`);
		expect(named.errors[0]!.message.replace("theirs", "X")).toBe(never.errors[0]!.message.replace("nobodys", "X"));
		const usage = await clients.READ_WRITE(`{ tenantUsage(tenantId: "beta") { vectors } }`);
		expect(usage.codes).toEqual(["TENANT_NOT_FOUND"]);
	});

	test("are not in an answer about one's own, and a tenant named in a header is refused before anything is read", async () => {
		const mine = await clients.READ_WRITE(
			"{ collections { name fullName } usage { tenantId vectors } me { tenantId } }",
		);
		const theirs = await clients.beta("{ collections { name fullName } usage { tenantId vectors } me { tenantId } }");
		expect(mine.data.collections.map(({ fullName }: { fullName: string }) => fullName)).toEqual(["acme:docs"]);
		expect(theirs.data.collections.map(({ fullName }: { fullName: string }) => fullName)).toEqual(["beta:theirs"]);
		expect([mine.data.usage.tenantId, theirs.data.usage.tenantId]).toEqual(["acme", "beta"]);
		const acting = await clients.READ_WRITE("{ me { tenantId } }", {}, { headers: { "x-tenant-id": "beta" } });
		expect([acting.status, acting.codes]).toEqual([404, ["TENANT_NOT_FOUND"]]);
	});

	test("leave no trace in the schema, nor in what a document asked for lately came to", async () => {
		const introspection = `{ __schema { types { name fields { name args { name } } } } }`;
		const [mine, theirs] = [await clients.READ_ONLY(introspection), await clients.beta(introspection)];
		expect(mine.data).toEqual(theirs.data);
		expect(JSON.stringify(mine.data)).not.toContain("theirs");
		const query = "query($name: String!) { collection(name: $name) { fullName } }";
		expect((await clients.beta(query, { name: "theirs" })).data.collection.fullName).toBe("beta:theirs");
		expect((await clients.READ_ONLY(query, { name: "theirs" })).codes).toEqual(["COLLECTION_NOT_FOUND"]);
	});
});

describe("a page of vectors", () => {
	test("leads to the next by its end, and from any vector on by the cursor of its edge", async () => {
		const page = `query($after: String, $first: Int) { vectors(collection: "docs", first: $first, after: $after, filter: { must: [{ key: "index", range: { lt: 7 } }] }) {
			edges { cursor node { id } } pageInfo { hasNextPage hasPreviousPage startCursor endCursor } totalCount } }`;
		const ids: number[] = [];
		let after: string | null = null;
		let pageCount = 0;
		do {
			const { data } = await clients.READ_ONLY(page, { first: 3, after });
			const { edges, pageInfo, totalCount } = data.vectors;
			expect(totalCount).toBe(7);
			expect(pageInfo.hasPreviousPage).toBe(after !== null);
			ids.push(...edges.map(({ node: { id } }: { node: { id: number } }) => id));
			after = pageInfo.hasNextPage ? pageInfo.endCursor : null;
			pageCount++;
		} while (after !== null && pageCount < 10);
		expect(ids).toEqual([0, 1, 2, 3, 4, 5, 6]);
		const first = (await clients.READ_ONLY(page, { first: 3 })).data.vectors;
		const fromSecond = (await clients.READ_ONLY(page, { first: 2, after: first.edges[1].cursor })).data.vectors;
		expect(fromSecond.edges.map(({ node: { id } }: { node: { id: number } }) => id)).toEqual([2, 3]);
	});
});
