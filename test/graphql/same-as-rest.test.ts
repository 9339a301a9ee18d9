import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { OPERATION_FIELDS } from "../../src/api/graphql/operation-fields.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import { clientOf } from "../node/node-fixture.ts";
import { type Input, OperationsNode, type Output } from "../operations/operations-fixture.ts";
import { fieldOf, graphqlOf, messageFor, outputOf } from "./graphql-fixture.ts";

type Who = "writer" | "reader" | "admin" | "adminInAcme" | "mcp" | "beta" | "nobody" | "revoked";

/** One call, made over REST and over GraphQL: what comes of it has to be the same. */
interface Row {
	readonly operation: string;
	readonly as?: Who;
	/** A call that changes something is about something new each time: `unique` differs. */
	readonly input?: (unique: string) => Promise<Input> | Input;
	/** Absent: it succeeds. */
	readonly code?: string;
}

const inDocs = { collection: "docs" };
const QUERY = { vector: [1, 0.5, 0], limit: 3 };

const ROWS: readonly Row[] = [
	{ operation: "collections.list" },
	{ operation: "collections.get", input: () => inDocs },
	{ operation: "collections.get", input: () => ({ collection: "none" }), code: "COLLECTION_NOT_FOUND" },
	{ operation: "collections.get", input: () => ({ collection: "acme:docs" }), code: "COLLECTION_NOT_FOUND" },
	{ operation: "collections.get", input: () => ({ collection: "/etc" }), code: "VALIDATION_FAILED" },
	{ operation: "collections.get", as: "beta", input: () => inDocs, code: "COLLECTION_NOT_FOUND" },
	{ operation: "collections.create", input: (name) => ({ name, dimension: 3 }) },
	{
		operation: "collections.create",
		input: (name) => ({
			name,
			dimension: 8,
			metric: "euclidean",
			quantization: "f32",
			index: "exact",
			shards: 2,
			replicas: 1,
			hnsw: { m: 8, ef_search: 99 },
		}),
	},
	{ operation: "collections.create", as: "reader", input: (name) => ({ name, dimension: 3 }), code: "FORBIDDEN" },
	{ operation: "collections.create", input: () => ({ name: "docs", dimension: 3 }), code: "COLLECTION_EXISTS" },
	{ operation: "collections.create", input: (name) => ({ name, dimension: 0 }), code: "VALIDATION_FAILED" },
	{ operation: "collections.update", input: () => ({ ...inDocs, hnsw: { ef_search: 77 } }) },
	{ operation: "collections.update", input: () => inDocs, code: "VALIDATION_FAILED" },
	{
		operation: "collections.delete",
		input: (name) => made("collections.create", { name, dimension: 3 }, { collection: name }),
	},
	{ operation: "collections.delete", as: "reader", input: () => inDocs, code: "FORBIDDEN" },
	{ operation: "collections.delete", input: () => ({ collection: "none" }), code: "COLLECTION_NOT_FOUND" },

	{
		operation: "vectors.upsert",
		input: () => ({ ...inDocs, vectors: [{ id: "up", vector: [0, 0, 1], payload: { a: [1, null] } }] }),
	},
	{
		operation: "vectors.upsert",
		input: () => ({ ...inDocs, vectors: [{ id: 9, vector: { base64: "AACAPwAAAAAAAAAA" } }] }),
	},
	{
		operation: "vectors.upsert",
		input: () => ({ ...inDocs, vectors: [{ id: 9, vector: [1, 2] }] }),
		code: "DIMENSION_MISMATCH",
	},
	{
		operation: "vectors.upsert",
		input: () => ({ ...inDocs, vectors: [{ id: 9, vector: [0, 0, 0] }] }),
		code: "INVALID_VECTOR",
	},
	{
		operation: "vectors.upsert",
		as: "reader",
		input: () => ({ ...inDocs, vectors: [{ vector: [1, 2, 3] }] }),
		code: "FORBIDDEN",
	},
	{
		operation: "vectors.upsert",
		as: "beta",
		input: () => ({ ...inDocs, vectors: [{ vector: [1, 2, 3] }] }),
		code: "COLLECTION_NOT_FOUND",
	},
	{ operation: "vectors.get", input: () => ({ ...inDocs, id: "east", with_vector: true }) },
	{ operation: "vectors.get", input: () => ({ ...inDocs, id: 7, with_vector: true }) },
	{ operation: "vectors.get", input: () => ({ ...inDocs, id: "none", with_vector: true }), code: "VECTOR_NOT_FOUND" },
	{ operation: "vectors.update", input: () => ({ ...inDocs, id: "east", payload: { seen: true } }) },
	{ operation: "vectors.update", input: () => ({ ...inDocs, id: "east", vector: [1, 0, 0] }) },
	{ operation: "vectors.update", input: () => ({ ...inDocs, id: "none", payload: {} }), code: "VECTOR_NOT_FOUND" },
	{ operation: "vectors.update", input: () => ({ ...inDocs, id: "east" }), code: "VALIDATION_FAILED" },
	{
		operation: "vectors.delete_many",
		input: () =>
			made("vectors.upsert", { ...inDocs, vectors: [{ id: "gone", vector: [1, 1, 1] }] }, { ...inDocs, ids: ["gone"] }),
	},
	{
		operation: "vectors.delete_many",
		input: () => ({ ...inDocs, filter: { must: [{ key: "kind", match: { value: "none" } }] } }),
	},
	{ operation: "vectors.delete_many", input: () => inDocs, code: "VALIDATION_FAILED" },
	{
		operation: "vectors.delete_many",
		input: () => ({ ...inDocs, filter: { must: [{ key: "a", match: {} }] } }),
		code: "INVALID_FILTER",
	},
	{ operation: "vectors.scroll", input: () => ({ ...inDocs, limit: 2, with_vector: true }) },
	{
		operation: "vectors.scroll",
		input: () => ({ ...inDocs, with_vector: true, filter: { must_not: [{ has_id: [7] }] } }),
	},
	{ operation: "vectors.scroll", input: () => ({ ...inDocs, cursor: "nonsense!" }), code: "VALIDATION_FAILED" },
	{ operation: "vectors.scroll", input: () => ({ ...inDocs, limit: 0 }), code: "VALIDATION_FAILED" },
	{ operation: "search.query", input: () => ({ ...inDocs, ...QUERY, with_vector: true }) },
	{
		operation: "search.query",
		input: () => ({ ...inDocs, id: "east", with_vector: true, explain: true, exact: true, score_threshold: 0.1 }),
	},
	{
		operation: "search.query",
		as: "reader",
		input: () => ({
			...inDocs,
			...QUERY,
			with_vector: true,
			filter: { must: [{ key: "kind", match: { value: "axis" } }] },
		}),
	},
	{ operation: "search.query", input: () => ({ ...inDocs, limit: 3 }), code: "VALIDATION_FAILED" },
	{ operation: "search.query", input: () => ({ ...inDocs, vector: [1, 2], limit: 3 }), code: "DIMENSION_MISMATCH" },
	{ operation: "search.query", as: "mcp", input: () => ({ ...inDocs, ...QUERY }), code: "FORBIDDEN" },
	{ operation: "search.query", as: "beta", input: () => ({ ...inDocs, ...QUERY }), code: "COLLECTION_NOT_FOUND" },
	{ operation: "search.query", as: "adminInAcme", input: () => ({ ...inDocs, ...QUERY, with_vector: true }) },

	{ operation: "usage.own" },
	{ operation: "cluster.usage", as: "admin", input: () => ({ tenant_id: "acme" }) },
	{ operation: "cluster.usage", input: () => ({ tenant_id: "beta" }), code: "TENANT_NOT_FOUND" },
	{ operation: "me.get" },
	{ operation: "me.get", as: "adminInAcme" },
	{ operation: "me.get", as: "nobody", code: "AUTH_MISSING" },
	{ operation: "me.get", as: "revoked", code: "AUTH_INVALID" },

	{ operation: "cluster.health", as: "admin" },
	{ operation: "cluster.health", code: "FORBIDDEN" },
	{ operation: "tenants.list", as: "admin", input: () => ({ limit: 2 }) },
	{ operation: "tenants.list", code: "FORBIDDEN" },
	{ operation: "tenants.get", as: "admin", input: () => ({ tenant_id: "acme" }) },
	{ operation: "tenants.get", as: "admin", input: () => ({ tenant_id: "nobody" }), code: "TENANT_NOT_FOUND" },
	{ operation: "tenants.get", input: () => ({ tenant_id: "beta" }), code: "FORBIDDEN" },
	{
		operation: "tenants.create",
		as: "admin",
		input: (id) => ({
			id,
			name: "New",
			quota: { max_vectors: 10 },
			rate_limits: { requests_per_minute: 5 },
			metadata: { plan: "a_b" },
		}),
	},
	{ operation: "tenants.create", as: "admin", input: () => ({ id: "acme" }), code: "TENANT_EXISTS" },
	{ operation: "tenants.create", as: "admin", input: () => ({ id: "system" }), code: "VALIDATION_FAILED" },
	{ operation: "tenants.create", input: (id) => ({ id }), code: "FORBIDDEN" },
	{
		operation: "tenants.update",
		as: "admin",
		input: () => ({ tenant_id: "beta", quota: { max_vectors: null }, rate_limits: null }),
	},
	{ operation: "tenants.update", as: "admin", input: () => ({ tenant_id: "system", active: false }), code: "CONFLICT" },
	{ operation: "tenants.update", input: () => ({ tenant_id: "acme", name: "Mine" }), code: "FORBIDDEN" },
	{ operation: "tenants.delete", as: "admin", input: (id) => made("tenants.create", { id }, { tenant_id: id }) },
	{ operation: "tenants.delete", input: () => ({ tenant_id: "acme" }), code: "FORBIDDEN" },
	{ operation: "keys.list", as: "admin", input: () => ({ tenant_id: "beta" }) },
	{ operation: "keys.list", input: () => ({ tenant_id: "acme" }), code: "FORBIDDEN" },
	{
		operation: "keys.create",
		as: "admin",
		input: () => ({
			tenant_id: "acme",
			name: "new",
			permissions: ["READ_ONLY"],
			environment: "test",
			rate_limit_override: { requests_per_minute: 7 },
			allowed_ips: ["10.0.0.0/8"],
		}),
	},
	{
		operation: "keys.create",
		as: "admin",
		input: () => ({ tenant_id: "acme", permissions: ["ADMIN"] }),
		code: "VALIDATION_FAILED",
	},
	{ operation: "keys.create", input: () => ({ tenant_id: "acme", permissions: ["READ_ONLY"] }), code: "FORBIDDEN" },
	{
		operation: "keys.rotate",
		as: "admin",
		input: async () => ({ tenant_id: "acme", key_id: await newKeyId(), grace_seconds: 60 }),
	},
	{ operation: "keys.rotate", input: async () => ({ tenant_id: "acme", key_id: await newKeyId() }), code: "FORBIDDEN" },
	{ operation: "keys.revoke", as: "admin", input: async () => ({ tenant_id: "acme", key_id: await newKeyId() }) },
	{
		operation: "keys.revoke",
		as: "admin",
		input: async () => ({ tenant_id: "beta", key_id: await newKeyId() }),
		code: "KEY_NOT_FOUND",
	},
	{ operation: "keys.revoke", input: async () => ({ tenant_id: "acme", key_id: await newKeyId() }), code: "FORBIDDEN" },
];

let node: OperationsNode;
let keys: Record<Who, string | undefined>;

beforeAll(async () => {
	node = await OperationsNode.start();
	for (const id of ["acme", "beta"]) await node.asAdmin("tenants.create", { id });
	const mint = async (tenant: string, ...permissions: string[]) => (await node.newKey(tenant, permissions)).api_key;
	const revoked = await node.newKey("acme");
	await node.asAdmin("keys.revoke", { tenant_id: "acme", key_id: revoked.api_key_id });
	keys = {
		writer: await mint("acme", "READ_WRITE"),
		reader: await mint("acme", "READ_ONLY"),
		mcp: await mint("acme", "MCP"),
		beta: await mint("beta", "READ_WRITE"),
		admin: node.adminKey,
		adminInAcme: node.adminKey,
		nobody: undefined,
		revoked: revoked.api_key,
	};
	await inAcme("collections.create", { name: "docs", dimension: 3 });
	await inAcme("vectors.upsert", {
		...inDocs,
		vectors: [
			{ id: "east", vector: [1, 0, 0], payload: { kind: "axis", snake_case: { __proto: 1 } } },
			{ id: "north", vector: [0, 1, 0], payload: { kind: "axis" } },
			{ id: 7, vector: [0.1, 0.2, 0.3] },
			{ id: "7", vector: [0.3, 0.2, 0.1] },
		],
	});
});
afterAll(() => node.stop());

const inAcme = (operation: string, input: Input): Promise<Output> => node.asAdmin(operation, input, "acme");

/** Makes what a call is about, as an admin would. */
async function made(operation: string, input: Input, next: Input): Promise<Input> {
	await (operation.startsWith("tenants.") ? node.asAdmin(operation, input) : inAcme(operation, input));
	return next;
}

const newKeyId = async (): Promise<string> => (await node.newKey("acme")).api_key_id;

interface Outcome {
	/** `ok` or the code. */
	readonly code: string;
	readonly output?: Output;
	readonly tenantHeader: string | null;
}

const headersOf = (who: Who): Record<string, string> => (who === "adminInAcme" ? { "x-tenant-id": "acme" } : {});

async function overRest({ operation }: Row, who: Who, input: Input): Promise<Outcome> {
	const { rest } = OPERATIONS.find(({ name }) => name === operation)!;
	const left: Record<string, unknown> = { ...input };
	const path = rest.path.replaceAll(/\{(\w+)\}/g, (_, field: string) => {
		const value = left[field];
		delete left[field];
		return encodeURIComponent(String(value));
	});
	const query = new URLSearchParams();
	for (const field of rest.query ?? []) {
		if (left[field] !== undefined) query.set(field, String(left[field]));
		delete left[field];
	}
	const ask = clientOf(node.node.url, keys[who], headersOf(who));
	const answer = await ask(rest.method, `/api/v1${path}?${query}`, rest.body === "json" ? left : undefined);
	const tenantHeader = answer.headers.get("x-tenant-id");
	if (answer.status >= 400) return { code: answer.body.code, tenantHeader };
	return { code: "ok", output: answer.body, tenantHeader };
}

async function overGraphql({ operation }: Row, who: Who, input: Input): Promise<Outcome> {
	const spec = fieldOf(operation);
	const { query, variables } = messageFor(spec, input);
	const { headers, data, codes } = await graphqlOf(node.node.url, keys[who], headersOf(who))(query, variables);
	const tenantHeader = headers.get("x-tenant-id");
	if (codes.length > 0) return { code: codes[0]!, tenantHeader };
	return { code: "ok", output: outputOf(spec, data), tenantHeader };
}

const VOLATILE = new Set([
	"took_ms",
	"created_at",
	"disk_bytes",
	"rate_limits",
	"activity",
	"last_request_at",
	"last_used_at",
	"uptime_seconds",
	"api_key",
	"api_key_id",
	"expires_at",
	"next_cursor",
	"name",
	"full_name",
	"api_keys_count",
	"tenant_count",
	"revision",
]);

/** What is the same each time. Null is as good as nothing. */
function settled(value: unknown, unique: string): unknown {
	if (Array.isArray(value)) return value.map((entry) => settled(entry, unique));
	if (value === unique) return "unique";
	if (typeof value !== "object" || value === null) return value;
	return Object.fromEntries(
		Object.entries(value).flatMap(([name, inner]) =>
			inner === null || VOLATILE.has(name) ? [] : [[name, settled(inner, unique)]],
		),
	);
}

const auditOf = async (): Promise<readonly Output[]> => (await node.asAdmin("audit.list", { limit: 1000 })).entries;

async function countOf(operation: string): Promise<Readonly<Record<string, number>>> {
	const text = await (
		await fetch(`${node.node.url}/metrics`, { headers: { authorization: `Bearer ${node.adminKey}` } })
	).text();
	const counts: Record<string, number> = {};
	for (const line of text.split("\n")) {
		if (!line.startsWith("hive_vector_tenant_requests_total{")) continue;
		if (line.includes(`operation="${operation}"`))
			counts[line.slice(0, line.lastIndexOf(" "))] = Number(line.split(" ").at(-1));
	}
	return counts;
}

/** What a call left behind in the audit log and among the metrics. */
async function traced(operation: string, call: () => Promise<Outcome>) {
	const seen = new Set((await auditOf()).map(({ seq }) => seq));
	const before = await countOf(operation);
	const outcome = await call();
	const after = await countOf(operation);
	const counted = Object.entries(after).flatMap(([series, count]) =>
		count === (before[series] ?? 0) ? [] : [[series, count - (before[series] ?? 0)]],
	);
	const lines = (await auditOf()).filter(
		(entry) =>
			!seen.has(entry.seq) &&
			entry.operation !== "audit.list" &&
			entry.operation !== "metrics.read" &&
			entry.operation !== undefined,
	);
	return { outcome, counted, lines };
}

describe("an operation over GraphQL", () => {
	test("is among those that are compared with REST", () => {
		const compared = new Set(ROWS.map(({ operation }) => operation));
		expect(OPERATION_FIELDS.map(({ operation }) => operation).filter((name) => !compared.has(name))).toEqual([]);
	});

	let serial = 0;
	for (const row of ROWS) {
		const { operation, as: who = "writer", code = "ok" } = row;
		const input = async (unique: string): Promise<Input> => (await row.input?.(unique)) ?? {};
		test(`answers, counts and audits as over REST: ${operation} ${who} ${code} #${++serial}`, async () => {
			const uniques = [`rest-${serial++}`, `graphql-${serial++}`] as const;
			// As REST reads it, with digits for an integer.
			const rest = await (async () => {
				const given = await input(uniques[0]);
				return traced(operation, () => overRest(row, who, given));
			})();
			const given = await input(uniques[1]);
			const graphql = await traced(operation, () => overGraphql(row, who, given));
			expect(rest.outcome.code).toBe(code);
			expect(graphql.outcome.code).toBe(code);
			expect(graphql.outcome.tenantHeader).toBe(rest.outcome.tenantHeader);
			if (code === "ok" && operation !== "collections.list" && operation !== "tenants.list") {
				expect(settled(graphql.outcome.output, uniques[1])).toEqual(settled(rest.outcome.output, uniques[0]));
			}
			// Who is not let in asked for no operation yet.
			const isRefusedAtTheDoor = who === "nobody" || who === "revoked" || who === "mcp";
			if (isRefusedAtTheDoor) return;
			const shown = (lines: readonly Output[]) =>
				lines.map(({ event, operation: named, outcome, code: refusal, tenant_id, actor_tenant_id, details }) => ({
					event,
					named,
					outcome,
					refusal,
					actor_tenant_id,
					isAcme: tenant_id === "acme",
					details: Object.keys(details ?? {}),
				}));
			expect(shown(graphql.lines)).toEqual(shown(rest.lines));
			expect(graphql.lines.length > 0).toBe(
				(who.startsWith("admin") && operation !== "cluster.usage") ||
					code === "FORBIDDEN" ||
					code === "TENANT_NOT_FOUND",
			);
			expect(graphql.counted.length).toBe(1);
			const series = (counted: unknown[][]) =>
				counted.map(([name, count]) => [String(name).replace('status="201"', 'status="200"'), count]);
			expect(series(graphql.counted as unknown[][])).toEqual(series(rest.counted as unknown[][]));
		});
	}
});
