import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { GRAPHQL_LIMITS } from "../../src/api/graphql/graphql-limits.ts";
import type { RunningNode } from "../../src/node/node.ts";
import { clientOf, Workshop } from "../node/node-fixture.ts";
import type { Output } from "../operations/operations-fixture.ts";
import { type AskGraphql, graphqlOf } from "./graphql-fixture.ts";

const workshop = new Workshop();
let node: RunningNode;
let closed: RunningNode;
let ask: AskGraphql;
let askClosed: AskGraphql;

beforeAll(async () => {
	node = await workshop.node(workshop.newDataDir());
	closed = await workshop.node(workshop.newDataDir(), {
		HIVE_VECTOR_GRAPHQL_INTROSPECTION: "false",
		HIVE_VECTOR_GRAPHQL_MAX_DEPTH: "3",
		HIVE_VECTOR_GRAPHQL_MAX_COST: "30",
	});
	[ask, askClosed] = [graphqlOf(node.url), graphqlOf(closed.url)];
	await clientOf(node.url)("POST", "/api/v1/collections", { name: "docs", dimension: 3 });
});
afterAll(() => workshop.clear());

const times = (count: number, text: (index: number) => string): string =>
	Array.from({ length: count }, (_, index) => text(index)).join(" ");

const codeOf = async (response: Response): Promise<string> =>
	((await response.json()) as Output).errors[0].extensions.code;

async function refusal(client: AskGraphql, query: string, variables = {}) {
	const { data, errors, status } = await client(query, variables);
	expect([status, data]).toEqual([200, undefined]);
	expect(errors[0]!.extensions.code).toBe("VALIDATION_FAILED");
	return { message: errors[0]!.message, details: errors[0]!.extensions.details };
}

describe("a query beyond a limit is refused before anything of it runs", () => {
	test("depth", async () => {
		expect((await refusal(askClosed, "{ clusterHealth { nodes { hub { serves } } } }")).details).toEqual({
			field: "query",
			limit: 3,
			found: 4,
		});
		const inFragments =
			"{ clusterHealth { ...A } } fragment A on ClusterHealth { nodes { ...B } } fragment B on ClusterHealthNode { hub { serves } }";
		expect((await refusal(askClosed, inFragments)).details.found).toBe(4);
		expect((await askClosed("{ me { tenantId } }")).codes).toEqual([]);
	});

	test("cost, with lists as long as they may get, whatever says how long", async () => {
		const search =
			'query($limit: Int = 300) { search(collection: "docs", vector: [1, 1, 1], limit: $limit) { results { id } } }';
		expect((await refusal(askClosed, search)).details).toEqual({ field: "query", limit: 30, found: 41 });
		expect((await refusal(askClosed, search, { limit: 1000 })).details.found).toBe(111);
		expect((await askClosed(search, { limit: 10 })).codes).toEqual(["COLLECTION_NOT_FOUND"]);
		expect(
			(
				await refusal(
					askClosed,
					times(1, () => `{ ${times(4, (index) => `a${index}: usage { vectors }`)} }`),
				)
			).details.found,
		).toBe(41);
		const doubling = `{ ...F0 } ${times(28, (index) => `fragment F${index} on Query { ...F${index + 1} ...F${index + 1} }`)} fragment F28 on Query { usage { vectors } }`;
		expect((await refusal(ask, doubling)).message).toContain("a cost of");
	});

	test("aliases, directives, fields, tokens, fragments and second names of large values", async () => {
		const { aliasCountMax, directiveCountMax, fieldCountMax, tokenCountMax, fragmentCountMax, heavyAliasCountMax } =
			GRAPHQL_LIMITS;
		expect(
			(await refusal(ask, `{ ${times(aliasCountMax + 1, (index) => `a${index}: __typename`)} }`)).details.limit,
		).toBe(aliasCountMax);
		expect(
			(await refusal(ask, `{ __typename ${times(directiveCountMax + 1, () => "@skip(if: false)")} }`)).details.limit,
		).toBe(directiveCountMax);
		expect((await refusal(ask, `{ ${times(fieldCountMax + 1, () => "__typename")} }`)).details.limit).toBe(
			fieldCountMax,
		);
		expect((await refusal(ask, `{ ${times(tokenCountMax, () => "__typename")} }`)).message).toContain(
			`more than ${tokenCountMax} tokens`,
		);
		expect(
			(
				await refusal(
					ask,
					`{ __typename } ${times(fragmentCountMax + 1, (index) => `fragment F${index} on Query { __typename }`)}`,
				)
			).details.limit,
		).toBe(fragmentCountMax);
		expect((await refusal(ask, `{ ${times(30, () => "me { tenantId }")} }`)).details.limit).toBe(
			GRAPHQL_LIMITS.repeatCountMax,
		);
		expect((await refusal(ask, `{ me { ${times(30, () => "... on Me { tenantId }")} } }`)).details.found).toBe(29);
		const payloads = times(heavyAliasCountMax + 1, (index) => `p${index}: payload`);
		expect((await refusal(ask, `{ vector(collection: "docs", id: 1) { ${payloads} } }`)).details.limit).toBe(
			heavyAliasCountMax,
		);
	});

	test("what is nested without end, in fields, lists, objects or fragments", async () => {
		for (const query of [
			`{ ${times(4000, () => "a {")} b ${times(4000, () => "}")} }`,
			`{ vector(collection: "docs", id: ${"[".repeat(4000)}${"]".repeat(4000)}) { id } }`,
			`{ vectors(collection: "docs", filter: ${"{a:".repeat(2500)}1${"}".repeat(2500)}) { totalCount } }`,
			"{ ...F } fragment F on Query { ...F }",
			"{ ...F } fragment F on Query { ...G } fragment G on Query { me { tenantId } ...F }",
		]) {
			await refusal(ask, query);
		}
		expect((await ask("{ me { tenantId } }")).codes).toEqual([]);
	});

	test("several requests in one", async () => {
		const response = await fetch(`${node.url}/graphql`, {
			method: "POST",
			headers: { "content-type": "application/json" },
			body: JSON.stringify([{ query: "{ __typename }" }, { query: "{ __typename }" }]),
		});
		expect(response.status).toBe(400);
		expect(await codeOf(response)).toBe("VALIDATION_FAILED");
	});

	test("a body that is too large, is no JSON, or comes as something else", async () => {
		const post = async (body: string, type = "application/json") => {
			const response = await fetch(`${node.url}/graphql`, { method: "POST", headers: { "content-type": type }, body });
			return [response.status, await codeOf(response)];
		};
		const small = await workshop.node(workshop.newDataDir(), { HIVE_VECTOR_SERVER_MAX_BODY_BYTES: "2048" });
		const response = await fetch(`${small.url}/graphql`, {
			method: "POST",
			headers: { "content-type": "application/json" },
			body: JSON.stringify({ query: `{ __typename } #${"x".repeat(4000)}` }),
		});
		expect([response.status, await codeOf(response)]).toEqual([413, "PAYLOAD_TOO_LARGE"]);
		expect(await post("{")).toEqual([400, "VALIDATION_FAILED"]);
		expect(await post("{}")).toEqual([400, "VALIDATION_FAILED"]);
		expect(await post("query={__typename}", "application/x-www-form-urlencoded")).toEqual([
			415,
			"UNSUPPORTED_MEDIA_TYPE",
		]);
		expect(await post("{ __typename }", "application/graphql")).toEqual([415, "UNSUPPORTED_MEDIA_TYPE"]);
		expect(await post(`{"query":"{ __typename }"}`, "text/plain")).toEqual([415, "UNSUPPORTED_MEDIA_TYPE"]);
	});
});

describe("the schema", () => {
	test("is not told where introspection is off, nor hinted at", async () => {
		for (const query of [
			"{ __schema { types { name } } }",
			'{ __type(name: "Query") { name } }',
			"{ x: __schema { queryType { name } } me { tenantId } }",
		]) {
			expect((await refusal(askClosed, query)).message).toContain("introspection has been disabled");
		}
		expect((await askClosed("{ __typename }")).data).toEqual({ __typename: "Query" });
		for (const query of [
			"{ mee { tenantId } }",
			"{ me { tenantIdd } }",
			'{ vector(collecton: "a") { id } }',
			'mutation { createCollection(name: "x", dimension: 3, metric: COSIN) { name } }',
		]) {
			const { errors } = await askClosed(query);
			expect(errors.map(({ message }) => message).join()).not.toContain("Did you mean");
		}
		const { errors } = await askClosed("query($m: Metric) { me { tenantId } collections { name } }", { m: "COSIN" });
		expect(errors.map(({ message }) => message).join()).not.toContain("Did you mean");
	});

	test("is told whole where it is on, each field with what it does and needs", async () => {
		const { getIntrospectionQuery } = await import("graphql");
		const { data, codes } = await ask(getIntrospectionQuery());
		expect(codes).toEqual([]);
		const types = data.__schema.types as { name: string; fields: { name: string; description: string }[] | null }[];
		for (const root of ["Query", "Mutation", "Subscription"]) {
			const fields = types.find(({ name }) => name === root)!.fields!;
			for (const { name, description } of fields) expect([name, description.length > 20]).toEqual([name, true]);
		}
	});

	test("is asked for no deeper than it goes", async () => {
		const deep = `{ __schema { types { fields { type { fields { type { fields { type { fields { name } } } } } } } } } }`;
		expect((await refusal(ask, deep)).message).toContain("introspection depth");
	});
});

describe("a request", () => {
	test("reads by GET, and changes nothing by it", async () => {
		const get = (query: string, accept = "application/json") =>
			fetch(`${node.url}/graphql?query=${encodeURIComponent(query)}`, { headers: { accept } });
		expect(await (await get("{ me { tenantId } }")).json()).toEqual({ data: { me: { tenantId: "default" } } });
		const refused = await get(`mutation { createCollection(name: "sneaky", dimension: 3) { name } }`);
		expect([refused.status, refused.headers.get("allow")]).toEqual([405, "POST"]);
		expect(await codeOf(refused)).toBe("METHOD_NOT_ALLOWED");
		expect((await ask("{ collections { name } }")).data.collections).toEqual([{ name: "docs" }]);
	});

	test("of a foreign page is refused where nobody needs a key", async () => {
		const { status, codes } = await ask("{ me { tenantId } }", {}, { headers: { origin: "https://evil.example" } });
		expect([status, codes]).toEqual([401, ["AUTH_MISSING"]]);
	});

	test("fails with what went wrong and nothing of what is inside", async () => {
		const { codes, errors } = await ask(`{ search(collection: "docs", vector: "!", limit: 3) { results { id } } }`);
		expect(codes).toEqual(["INVALID_VECTOR"]);
		expect(Object.keys(errors[0]!).sort()).toEqual(["extensions", "locations", "message", "path"]);
		expect(Object.keys(errors[0]!.extensions).sort()).toEqual(["code", "details", "request_id"]);
	});

	test("may be answered in the media type of GraphQL, which tells by its status what was wrong", async () => {
		const accept = { headers: { accept: "application/graphql-response+json" } };
		for (const [query, variables, status] of [
			["{ me { tenantId } }", {}, 200],
			["{ me", {}, 400],
			["{ nope }", {}, 400],
			['query($id: VectorId!) { vector(collection: "docs", id: $id) { id } }', { id: -1 }, 400],
			['{ collection(name: "none") { name } }', {}, 200],
		] as const) {
			const answer = await ask(query, variables, accept);
			expect([query, answer.status, answer.headers.get("content-type")]).toEqual([
				query,
				status,
				"application/graphql-response+json; charset=utf-8",
			]);
		}
	});

	test("is answered by a page for browsers, with a policy that lets nothing in from elsewhere", async () => {
		const page = await fetch(`${node.url}/graphql`, { headers: { accept: "text/html,*/*" } });
		expect(page.headers.get("content-type")).toBe("text/html; charset=utf-8");
		const policy = page.headers.get("content-security-policy")!;
		expect(policy).toContain("default-src 'none'; script-src 'self'; style-src 'self'");
		const html = await page.text();
		const parts = [...html.matchAll(/(?:src|href)="(\/graphql\/[^"]+)"/g)].map(([, path]) => path!);
		expect(parts).toHaveLength(6);
		expect(html).not.toMatch(/https?:\/\//);
		for (const path of parts) {
			const part = await fetch(node.url + path);
			expect([path, part.status, (await part.text()).length > 20]).toEqual([path, 200, true]);
		}
	});

	test("finds nothing where GraphQL is switched off", async () => {
		const without = await workshop.node(workshop.newDataDir(), { HIVE_VECTOR_GRAPHQL_ENABLED: "false" });
		expect((await clientOf(without.url)("POST", "/graphql", { query: "{ __typename }" })).status).toBe(404);
		expect((await clientOf(without.url)("GET", "/graphql")).status).toBe(404);
	});
});
