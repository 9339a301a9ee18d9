import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { COMMANDS } from "../../commands/command-table.ts";
import { NodeCommand } from "../../commands/shared/node-command.ts";
import { OPERATION_FIELDS } from "../../src/api/graphql/operation-fields.ts";
import { TOOLS } from "../../src/api/mcp/mcp-tools.ts";
import { ERROR_TABLE, type ErrorCode } from "../../src/base/errors.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import { TEST_DIMENSION, vectorOfWords } from "../embedding/embedding-server.ts";
import type { Output } from "../operations/operations-fixture.ts";
import { isMcp, ProtocolsRig, risen } from "./protocols-rig.ts";
import { type Caller, type Outcome, overRest, type Way, type WayName, type Wording } from "./ways.ts";

type Who = "writer" | "reader" | "agent" | "admin";

/** Where a protocol is meant to do otherwise, and why. */
interface Difference {
	readonly because: string;
	readonly code?: "ok" | ErrorCode;
	/** Under which the call is audited and counted. */
	readonly label?: string;
}

interface Row extends Wording {
	readonly as?: Who;
	/** Absent: it succeeds. */
	readonly code?: ErrorCode;
	/** All of the key's calls are spent when it is made. */
	readonly isSpent?: true;
	/** Changes the tenant first. */
	readonly quota?: { readonly max_collections?: number | null; readonly max_vectors?: number | null };
	/** Of the output, the same everywhere. */
	readonly shows?: (output: Output) => unknown;
	readonly shown?: unknown;
	readonly but?: Partial<Record<WayName, Difference>>;
}

const inDocs = { collection: "docs" };
const inNotes = { collection: "notes" };
const QUERY = [1, 0.5, 0];
const QUERY_FLAG = ["--vector", JSON.stringify(QUERY)];
const idsOf = ({ results }: Output): unknown => results.map(({ id }: Output) => id);
const GUIDE = "# Keys\n\nRotate a key before it expires.\n\n## Grace\n\nThe old key works for a week.\n";

const MCP_ONLY: Difference = { because: "a key for MCP alone works nowhere else", code: "FORBIDDEN", label: "graphql" };
const BEFORE_THE_BODY = "it is refused before its body is read, which names the operation";

/** Each tenant goes through all of them, in this order. */
const ROWS: readonly Row[] = [
	{
		operation: "collections.create",
		tool: "create_collection",
		input: { name: "docs", dimension: 3 },
		command: ["collection", "create", "docs", "--dimension", "3"],
		shows: ({ full_name, metric }) => [full_name, metric],
		shown: ["TENANT:docs", "cosine"],
	},
	{
		operation: "collections.create",
		tool: "create_collection",
		input: { name: "notes", dimension: TEST_DIMENSION, text: { provider: "openai", fields: ["text"] } },
		command: [
			...["collection", "create", "notes", "--dimension", String(TEST_DIMENSION)],
			...["--text-provider", "openai", "--text-field", "text"],
		],
	},
	{
		operation: "collections.create",
		as: "admin",
		tool: "create_collection",
		input: { name: "gone", dimension: 3, metric: "euclidean", quantization: "f32", index: "exact" },
		command: [
			...["collection", "create", "gone", "--dimension", "3"],
			...["--metric", "euclidean", "--quantization", "f32", "--index", "exact"],
		],
	},
	{
		operation: "collections.create",
		tool: "create_collection",
		input: { name: "docs", dimension: 3 },
		command: ["collection", "create", "docs", "--dimension", "3"],
		code: "COLLECTION_EXISTS",
	},
	{
		operation: "collections.create",
		as: "reader",
		tool: "create_collection",
		input: { name: "more", dimension: 3 },
		command: ["collection", "create", "more", "--dimension", "3"],
		code: "FORBIDDEN",
	},
	{
		operation: "collections.create",
		tool: "create_collection",
		input: { name: "more", dimension: 3 },
		command: ["collection", "create", "more", "--dimension", "3"],
		quota: { max_collections: 3 },
		code: "QUOTA_EXCEEDED",
	},
	{
		operation: "vectors.upsert",
		tool: "insert_vectors",
		input: {
			...inDocs,
			vectors: [
				{ id: "east", vector: [1, 0, 0], payload: { kind: "axis", snake_case: { camelCase: [1, null] } } },
				{ id: "north", vector: [0, 1, 0], payload: { kind: "axis" } },
				{ id: 7, vector: [0.1, 0.2, 0.3] },
				{ id: "7", vector: { base64: "AACAPwAAAAAAAAAA" } },
			],
		},
		shows: ({ ids }) => ids,
		shown: ["east", "north", 7, "7"],
	},
	{
		operation: "vectors.upsert",
		as: "admin",
		tool: "insert_vectors",
		input: { ...inDocs, vectors: [{ id: "up", vector: [0, 0, 1] }] },
	},
	{
		operation: "vectors.upsert",
		as: "agent",
		tool: "insert_vectors",
		input: { ...inDocs, vectors: [{ id: "up", vector: [0, 0, 1] }] },
		but: { rest: { ...MCP_ONLY, label: "vectors.upsert" }, graphql: MCP_ONLY },
	},
	{
		operation: "vectors.upsert",
		tool: "insert_vectors",
		input: { ...inDocs, vectors: [{ id: "up", vector: [1, 2] }] },
		code: "DIMENSION_MISMATCH",
	},
	{
		operation: "vectors.upsert",
		tool: "insert_vectors",
		input: { ...inDocs, vectors: [{ id: "fine", vector: [1, 1, 1] }, { vector: [0, 0, 0] }] },
		code: "INVALID_VECTOR",
	},
	{
		operation: "vectors.upsert",
		as: "reader",
		tool: "insert_vectors",
		input: { ...inDocs, vectors: [{ vector: [1, 2, 3] }] },
		code: "FORBIDDEN",
	},
	{
		operation: "vectors.upsert",
		tool: "insert_vectors",
		input: { ...inDocs, vectors: [{ vector: [1, 2, 3] }] },
		quota: { max_vectors: 5 },
		code: "QUOTA_EXCEEDED",
	},
	{
		operation: "vectors.upsert",
		tool: "insert_vectors",
		input: { collection: "secret", vectors: [{ vector: [1, 2, 3] }] },
		quota: { max_vectors: null, max_collections: null },
		code: "COLLECTION_NOT_FOUND",
	},
	{
		operation: "vectors.upsert",
		tool: "insert_text",
		input: { ...inNotes, vectors: [{ id: "rotate", text: "how to rotate a key", payload: { lang: "en" } }] },
		given: { ...inNotes, id: "rotate", text: "how to rotate a key", payload: { lang: "en" } },
	},
	{
		operation: "vectors.upsert",
		tool: "insert_vectors",
		input: {
			...inNotes,
			vectors: [
				{ id: "boats", text: "blue boats" },
				{ id: "cars", text: "red cars" },
			],
		},
	},
	{
		operation: "vectors.upsert",
		tool: "insert_text",
		input: { ...inDocs, vectors: [{ text: "no provider here" }] },
		given: { ...inDocs, text: "no provider here" },
		code: "VALIDATION_FAILED",
	},

	{
		operation: "vectors.get",
		as: "reader",
		tool: "get_vector",
		input: { ...inNotes, id: "rotate", with_vector: true },
		shows: ({ vector, payload }) => [vector.map((value: number) => value.toFixed(5)), payload],
		shown: [
			vectorOfWords("how to rotate a key").map((value) => value.toFixed(5)),
			{ lang: "en", text: "how to rotate a key" },
		],
	},
	{ operation: "vectors.get", tool: "get_vector", input: { ...inDocs, id: 7, with_vector: true } },
	{
		operation: "vectors.get",
		tool: "get_vector",
		input: { ...inDocs, id: "none", with_vector: true },
		code: "VECTOR_NOT_FOUND",
	},
	{
		operation: "vectors.get",
		tool: "get_vector",
		input: { collection: "secret", id: "theirs", with_vector: true },
		code: "COLLECTION_NOT_FOUND",
	},
	{
		operation: "vectors.update",
		tool: "update_vector",
		input: { ...inDocs, id: "north", vector: [0, 1, 0.1], payload: { seen: true, kind: null } },
	},
	{
		operation: "vectors.update",
		as: "agent",
		tool: "update_vector",
		input: { ...inNotes, id: "boats", text: "green boats" },
		but: { rest: { ...MCP_ONLY, label: "vectors.update" }, graphql: MCP_ONLY },
	},
	{
		operation: "vectors.update",
		tool: "update_vector",
		input: { ...inNotes, id: "boats", text: "green boats" },
	},
	{
		operation: "vectors.update",
		as: "reader",
		tool: "update_vector",
		input: { ...inDocs, id: "east", payload: {} },
		code: "FORBIDDEN",
	},
	{
		operation: "vectors.update",
		tool: "update_vector",
		input: { ...inDocs, id: "none", payload: {} },
		code: "VECTOR_NOT_FOUND",
	},
	{
		operation: "vectors.delete_many",
		tool: "delete_vectors",
		input: { ...inDocs, ids: ["7", "none"] },
		shows: ({ deleted }) => deleted,
		shown: 1,
	},
	{
		operation: "vectors.delete_many",
		as: "reader",
		tool: "delete_vectors",
		input: { ...inDocs, ids: ["east"] },
		code: "FORBIDDEN",
	},
	{ operation: "vectors.delete_many", tool: "delete_vectors", input: inDocs, code: "VALIDATION_FAILED" },

	{
		operation: "search.query",
		as: "reader",
		tool: "search",
		input: { ...inDocs, vector: QUERY, limit: 3, with_vector: true },
		command: ["search", "docs", ...QUERY_FLAG, "--limit", "3", "--with-vector"],
		shows: idsOf,
		shown: ["east", 7, "north"],
	},
	{
		operation: "search.query",
		tool: "search",
		input: {
			...inDocs,
			id: "east",
			limit: 10,
			with_vector: true,
			explain: true,
			exact: true,
			score_threshold: 0.1,
			filter: { must_not: [{ key: "kind", match: { value: "axis" } }] },
		},
		command: [
			...["search", "docs", "--id", "east", "--with-vector", "--explain", "--exact", "--score-threshold", "0.1"],
			...["--filter", '{"must_not":[{"key":"kind","match":{"value":"axis"}}]}'],
		],
	},
	{
		operation: "search.query",
		as: "admin",
		tool: "search",
		input: { ...inDocs, vector: QUERY, limit: 2, with_vector: true },
		command: ["search", "docs", ...QUERY_FLAG, "--limit", "2", "--with-vector"],
	},
	{
		operation: "search.query",
		tool: "semantic_search",
		input: { ...inNotes, text: "red cars", limit: 2 },
		command: ["search", "notes", "--text", "red cars", "--limit", "2"],
		shows: ({ results }) => [results[0].id, Math.round(results[0].score * 100)],
		shown: ["cars", 100],
	},
	{
		operation: "search.query",
		tool: "hybrid_search",
		input: { ...inNotes, hybrid: { text: "boats" }, limit: 3 },
		given: { ...inNotes, text: "boats", limit: 3 },
		command: ["search", "notes", "--hybrid-text", "boats", "--limit", "3"],
		shows: ({ results }) => results[0].id,
		shown: "boats",
	},
	{
		operation: "search.query",
		tool: "hybrid_search",
		input: { ...inNotes, hybrid: { text: "key", alpha: 0.25 }, vector: vectorOfWords("rotate"), limit: 3 },
		given: { ...inNotes, text: "key", alpha: 0.25, vector: vectorOfWords("rotate"), limit: 3 },
		command: [
			...["search", "notes", "--hybrid-text", "key", "--alpha", "0.25", "--limit", "3"],
			...["--vector", JSON.stringify(vectorOfWords("rotate"))],
		],
	},
	{
		operation: "search.query",
		tool: "search",
		input: { ...inDocs, vector: [1, 2], limit: 3 },
		command: ["search", "docs", "--vector", "[1,2]", "--limit", "3"],
		code: "DIMENSION_MISMATCH",
	},
	{
		operation: "search.query",
		tool: "semantic_search",
		input: { ...inDocs, text: "no words and no provider here", limit: 3 },
		command: ["search", "docs", "--text", "no words and no provider here", "--limit", "3"],
		code: "VALIDATION_FAILED",
	},
	{
		operation: "search.query",
		tool: "search",
		input: { collection: "none", vector: QUERY, limit: 3 },
		command: ["search", "none", ...QUERY_FLAG, "--limit", "3"],
		code: "COLLECTION_NOT_FOUND",
	},
	{
		operation: "search.query",
		tool: "search",
		input: { collection: "secret", vector: QUERY, limit: 3 },
		command: ["search", "secret", ...QUERY_FLAG, "--limit", "3"],
		code: "COLLECTION_NOT_FOUND",
	},
	{
		operation: "search.query",
		tool: "search",
		isSpent: true,
		input: { ...inDocs, vector: QUERY, limit: 3 },
		command: ["search", "docs", ...QUERY_FLAG, "--limit", "3"],
		code: "RATE_LIMITED",
		but: {
			graphql: { because: BEFORE_THE_BODY, label: "graphql" },
			http: { because: BEFORE_THE_BODY, label: "mcp" },
		},
	},
	{
		operation: "search.multi",
		as: "reader",
		tool: "multi_collection_search",
		input: { collections: ["docs", "gone"], vector: QUERY, limit: 4 },
	},
	{
		operation: "search.multi",
		tool: "multi_collection_search",
		input: { collections: ["docs", "secret"], vector: QUERY },
		code: "COLLECTION_NOT_FOUND",
	},

	{
		operation: "documents.insert",
		tool: "insert_document",
		input: { ...inNotes, path: "guide/keys.md", text: GUIDE, chunk_size: 100, metadata: { lang: "en" } },
	},
	{
		operation: "documents.insert",
		as: "reader",
		tool: "insert_document",
		input: { ...inNotes, path: "guide/no.md", text: GUIDE },
		code: "FORBIDDEN",
	},
	{
		operation: "documents.insert",
		tool: "insert_document",
		input: { ...inDocs, path: "guide/no.md", text: GUIDE },
		code: "VALIDATION_FAILED",
	},
	{
		operation: "documents.list",
		as: "reader",
		tool: "list_files",
		input: { ...inNotes, prefix: "guide/" },
		shows: ({ files }) => files.map(({ path, format }: Output) => [path, format]),
		shown: [["guide/keys.md", "markdown"]],
	},
	{
		operation: "documents.content",
		as: "reader",
		tool: "get_file_content",
		input: { ...inNotes, path: "guide/keys.md" },
		shows: ({ text }) => text,
		shown: GUIDE,
	},
	{
		operation: "documents.content",
		tool: "get_file_content",
		input: { ...inNotes, path: "guide/none.md" },
		code: "NOT_FOUND",
	},
	{
		operation: "documents.chunks",
		as: "reader",
		tool: "get_file_chunks",
		input: { ...inNotes, path: "guide/keys.md" },
		shows: ({ chunks }) =>
			chunks.map(({ start, end }: Output) => Buffer.from(GUIDE).subarray(start, end).toString()).join(""),
		shown: GUIDE,
	},
	{
		operation: "search.query",
		tool: "semantic_search",
		input: { ...inNotes, text: "the old key works for a week", limit: 1 },
		command: ["search", "notes", "--text", "the old key works for a week", "--limit", "1"],
		shows: ({ results }) => results[0].payload.document.path,
		shown: "guide/keys.md",
	},

	{
		operation: "collections.list",
		as: "reader",
		tool: "list_collections",
		input: {},
		command: ["collection", "list"],
		shows: ({ collections }) => collections.map(({ name }: Output) => name).toSorted(),
		shown: ["docs", "gone", "notes"],
	},
	{
		operation: "collections.get",
		as: "reader",
		tool: "get_collection_info",
		input: inNotes,
		command: ["collection", "show", "notes"],
		shows: ({ text }) => text.provider,
		shown: "openai",
	},
	{
		operation: "collections.get",
		as: "admin",
		tool: "get_collection_info",
		input: { collection: "none" },
		command: ["collection", "show", "none"],
		code: "COLLECTION_NOT_FOUND",
	},
	{
		operation: "collections.get",
		tool: "get_collection_info",
		input: { collection: "secret" },
		command: ["collection", "show", "secret"],
		code: "COLLECTION_NOT_FOUND",
	},
	{
		operation: "collections.get",
		tool: "get_collection_info",
		input: { collection: "other:secret" },
		command: ["collection", "show", "other:secret"],
		code: "COLLECTION_NOT_FOUND",
	},
	{
		operation: "usage.own",
		tool: "get_usage",
		input: {},
		command: ["usage"],
		shows: ({ tenant_id, collections, storage }) => [tenant_id, collections, storage.quota_bytes],
		shown: ["TENANT", 3, undefined],
		but: {
			cli: {
				because: "its command asks for any tenant's, and the own one is that without a name",
				label: "cluster.usage",
			},
		},
	},
	{
		operation: "collections.delete",
		as: "reader",
		tool: "delete_collection",
		input: { collection: "gone" },
		command: ["collection", "delete", "gone", "--yes"],
		code: "FORBIDDEN",
	},
	{
		operation: "collections.delete",
		tool: "delete_collection",
		input: { collection: "secret" },
		command: ["collection", "delete", "secret", "--yes"],
		code: "COLLECTION_NOT_FOUND",
	},
	{
		operation: "collections.delete",
		as: "admin",
		tool: "delete_collection",
		input: { collection: "gone" },
		command: ["collection", "delete", "gone", "--yes"],
	},
];

/** A process a row takes its time: the bridge goes through the first row of each tool, of each error code and of each kind of key. */
const BRIDGED: ReadonlySet<Row> = new Set(
	ROWS.filter((row, index) => {
		const earlier = ROWS.slice(0, index);
		const isFirst = (same: (other: Row) => boolean): boolean => !earlier.some(same);
		return (
			isFirst(({ as, code }) => as === row.as && code === undefined) ||
			isFirst(({ tool, code }) =>
				row.code === undefined ? tool === row.tool && code === undefined : code === row.code,
			)
		);
	}),
);

/** Somebody who is not let in, whatever they ask for. */
interface Stranger {
	readonly who: string;
	readonly caller: () => Promise<Caller>;
	readonly code: ErrorCode;
	/** Of the audit log, if there is an entry. */
	readonly event?: string;
	/** Where it was found out who it is. */
	readonly tenantId?: string;
}

const UNKNOWN_KEY = `hh_live_${"x".repeat(32)}`;

const STRANGERS: readonly Stranger[] = [
	{
		who: "a key that nobody made",
		caller: async () => ({ key: UNKNOWN_KEY }),
		code: "AUTH_INVALID",
		event: "auth.failed",
	},
	{
		who: "what is no key",
		caller: async () => ({ key: "hh_live_short" }),
		code: "AUTH_INVALID_FORMAT",
		event: "auth.failed",
	},
	{
		who: "a revoked key",
		async caller() {
			const { key, id } = await rig.mint("other", ["READ_WRITE"]);
			await rig.admin("DELETE", `/tenants/other/keys/${id}`);
			return { key };
		},
		code: "AUTH_INVALID",
		event: "auth.failed",
	},
	{
		who: "a key of a suspended tenant",
		async caller() {
			await rig.admin("PATCH", "/tenants/asleep", { active: true });
			const { key } = await rig.mint("asleep", ["READ_WRITE"]);
			await rig.admin("PATCH", "/tenants/asleep", { active: false });
			return { key };
		},
		code: "TENANT_SUSPENDED",
		event: "auth.failed",
	},
	{
		who: "a tenant's key that names another tenant",
		caller: async () => ({ key: (await rig.mint("other", ["READ_WRITE"])).key, actingTenant: tenantOf("rest") }),
		code: "TENANT_NOT_FOUND",
		event: "tenant.cross_access",
		tenantId: "other",
	},
	{
		who: "an admin who names a tenant that is not there",
		caller: async () => ({ key: (await rig.mint("system", ["ADMIN"])).key, actingTenant: "nobody" }),
		code: "TENANT_NOT_FOUND",
		tenantId: "system",
	},
];

const rig = new ProtocolsRig();
const tenantOf = (way: WayName): string => `by-${way}`;
const PERMISSIONS: Readonly<Record<Who, string>> = {
	writer: "READ_WRITE",
	reader: "READ_ONLY",
	agent: "MCP",
	admin: "ADMIN",
};

beforeAll(async () => {
	await rig.start();
	for (const { name } of rig.ways) await rig.admin("POST", "/tenants", { id: tenantOf(name) });
	for (const id of ["other", "asleep"]) await rig.admin("POST", "/tenants", { id });
	const { key } = await rig.mint("other", ["READ_WRITE"]);
	const secret = { operation: "collections.create", input: { name: "secret", dimension: 3 } };
	expect((await overRest(rig.server.url, { key }, secret)).code).toBe("ok");
});
afterAll(() => rig.stop());

const VOLATILE = new Set([
	"took_ms",
	"created_at",
	"updated_at",
	"version",
	"rate_limits",
	"activity",
	"disk_bytes",
	"last_request_at",
	"api_keys_count",
]);

/** What is the same each time and in each tenant. Null is as good as nothing. */
function settled(value: unknown, tenantId: string): Output {
	if (typeof value === "string") {
		// A chunk's id has the version of its document.
		return value.replaceAll(tenantId, "TENANT").replace(/^(_chunk:.+):[^:]+(:\d+)$/, "$1$2");
	}
	if (Array.isArray(value)) return value.map((entry) => settled(entry, tenantId));
	if (typeof value !== "object" || value === null) return value;
	return Object.fromEntries(
		Object.entries(value).flatMap(([name, inner]) =>
			inner === null || VOLATILE.has(name) ? [] : [[name, settled(inner, tenantId)]],
		),
	);
}

/** What an error says, but for the time until it goes better. */
const worded = ({ message }: Outcome, tenantId: string): string | undefined =>
	settled(message, tenantId)?.replace(/retry in \d+ s/, "retry in a while");

interface Traced {
	readonly way: Way;
	readonly tenantId: string;
	readonly keyId: string;
	readonly outcome: Outcome;
	readonly cost: number | undefined;
}

/** One call with a key of its own, and what it cost. */
async function traced(way: Way, row: Row): Promise<Traced> {
	const { as: who = "writer" } = row;
	const tenantId = tenantOf(way.name);
	const isAdmin = who === "admin";
	const { key, id: keyId } = await rig.mint(isAdmin ? "system" : tenantId, [PERMISSIONS[who]]);
	const caller = { key, actingTenant: isAdmin ? tenantId : undefined };
	const line = await way.open(caller);
	try {
		const before = await rig.callsLeft(caller, way.name);
		if (row.isSpent) {
			for (let left = before; left > 0; ) left = await rig.callsLeft(caller, way.name);
			return { way, tenantId, keyId, outcome: await line.call(row), cost: undefined };
		}
		const outcome = await line.call(row);
		const after = await rig.callsLeft(caller, way.name);
		// Less the one that asked.
		return { way, tenantId, keyId, outcome, cost: before - after - 1 };
	} finally {
		await line.close();
	}
}

/** Tenants stay alike: what a protocol has no words for, an admin does there over REST. */
async function caughtUp(way: Way, row: Row): Promise<void> {
	if (row.code !== undefined) return;
	const caller = { key: rig.server.secret("admin.key"), actingTenant: tenantOf(way.name) };
	expect((await overRest(rig.server.url, caller, row)).code).toBe("ok");
}

/** What a protocol makes of an error code, besides saying it. */
function nativeOf(way: WayName, row: Row, code: string): number | "isError" {
	if (code === "ok") {
		const { rest } = OPERATIONS.find(({ name }) => name === row.operation)!;
		return way === "rest" ? (rest.status ?? 200) : way === "graphql" ? 200 : 0;
	}
	const { http, jsonRpc, exit } = ERROR_TABLE[code as ErrorCode];
	if (way === "rest") return http;
	if (way === "cli") return exit;
	// A message that ran answers 200, whatever became of its fields.
	if (way === "graphql") return row.isSpent || row.as === "agent" ? http : 200;
	// What a model may mend is told as the tool's result.
	return http === 400 || jsonRpc === -32602 || jsonRpc === -32601 ? "isError" : jsonRpc;
}

function expectedAudit(row: Row, code: string, label: string, tenantId: string): Output[] {
	const refusal = code === "ok" ? { outcome: "ok" } : { outcome: "refused", code };
	const about = { ...refusal, operation: label, tenant_id: tenantId };
	if (row.as === "admin") return [{ ...about, event: "tenant.impersonated", actor_tenant_id: "system" }];
	if (code === "FORBIDDEN") return [{ ...about, event: "access.forbidden" }];
	if (code === "RATE_LIMITED") return [{ ...about, event: "rate_limit.exceeded" }];
	if (code === "QUOTA_EXCEEDED") return [{ ...about, event: "quota.exceeded" }];
	return [];
}

describe("an operation", () => {
	test("of each tool, field and command is among those that are compared", () => {
		const tools = new Set(ROWS.map(({ tool }) => tool));
		expect(TOOLS.map(({ name }) => name).filter((name) => !tools.has(name))).toEqual([]);
		const tried = new Set(ROWS.map(({ operation }) => operation));
		const toolOperations = new Set(TOOLS.map(({ operation }) => operation));
		const fields = OPERATION_FIELDS.filter(({ operation }) => toolOperations.has(operation));
		expect(fields.map(({ operation }) => operation).filter((name) => !tried.has(name))).toEqual([]);
		const commands = new Set(
			ROWS.flatMap(({ command }) => (command === undefined ? [] : [command.slice(0, 2).join(":"), command[0]])),
		);
		const tenantCommands = [
			"collection:create",
			"collection:delete",
			"collection:list",
			"collection:show",
			"search",
			"usage",
		];
		expect(
			tenantCommands.filter((name) => !commands.has(name) || !(COMMANDS[name]!.prototype instanceof NodeCommand)),
		).toEqual([]);
	});

	for (const [index, row] of ROWS.entries()) {
		const { operation, as: who = "writer", code: rowCode = "ok", but = {} } = row;
		const does = row.tool ?? operation;
		test(`is the same everywhere: #${index} ${does} by ${who}: ${rowCode}`, async () => {
			if (row.quota !== undefined) {
				const { quota } = row;
				await Promise.all(rig.ways.map(({ name }) => rig.admin("PATCH", `/tenants/${tenantOf(name)}`, { quota })));
			}
			const isTried = (way: Way): boolean => way.has(row) && (way.name !== "stdio" || BRIDGED.has(row));
			const ways = rig.ways.filter(isTried);
			const others = rig.ways.filter((way) => !isTried(way));
			const before = await rig.counters();
			const answers = await Promise.all(ways.map((way) => traced(way, row)));
			const counted = risen(before.requests, (await rig.counters()).requests);
			const entries = await rig.audit();
			const behind = answers.filter(({ outcome }) => outcome.code !== rowCode).map(({ way }) => way);
			await Promise.all([...others, ...behind].map((way) => caughtUp(way, row)));
			const [rest] = answers;
			const told = answers.map(({ way: { name }, tenantId, keyId, outcome, cost }) => {
				const own = counted.filter(([series]) => series.includes(`tenant_id="${tenantId}"`));
				const lines = entries.filter(
					({ api_key_id, operation: named }) => api_key_id === keyId && named !== "me.get" && !/^mcp\../.test(named),
				);
				return {
					name,
					code: outcome.code,
					native: outcome.native,
					cost,
					counted: own.filter(([series]) => !/operation="(me\.get|mcp\..*)"/.test(series)),
					lines: lines.map(({ event, outcome: ended, operation: named, code, tenant_id, actor_tenant_id }) => ({
						event,
						outcome: ended,
						operation: named,
						tenant_id,
						...(code !== undefined && { code }),
						...(actor_tenant_id !== undefined && { actor_tenant_id }),
					})),
				};
			});
			const { rest: method } = OPERATIONS.find(({ name }) => name === operation)!;
			expect(told).toEqual(
				answers.map(({ way: { name }, tenantId }) => {
					const { code = rowCode, label = operation } = but[name] ?? {};
					const status = code === "ok" ? (method.status ?? 200) : ERROR_TABLE[code].http;
					return {
						name,
						code,
						native: nativeOf(name, row, code),
						cost: row.isSpent ? undefined : 1,
						counted: [[`{tenant_id="${tenantId}",operation="${label}",status="${status}"}`, 1]],
						lines: expectedAudit(row, code, label, tenantId),
					};
				}),
			);
			const outputs = answers.filter(({ outcome }) => outcome.code === "ok");
			for (const { tenantId, outcome } of outputs) {
				const output = settled(outcome.output, tenantId);
				expect(output).toEqual(settled(outputs[0]!.outcome.output, outputs[0]!.tenantId));
				if (row.shows !== undefined) expect(row.shows(output)).toEqual(row.shown);
			}
			for (const { tenantId, outcome } of answers) {
				if (outcome.code === rest!.outcome.code) {
					expect(worded(outcome, tenantId)).toBe(worded(rest!.outcome, rest!.tenantId));
				}
				if (outcome.tenantFields === undefined || outcome.code !== rest!.outcome.code) continue;
				expect(settled(outcome.tenantFields, tenantId)).toEqual(settled(rest!.outcome.tenantFields, rest!.tenantId));
				expect(outcome.tenantFields["x-tenant-id"]).toBe(tenantId);
			}
		});
	}
});

describe("whoever is not let in", () => {
	const row: Row = {
		operation: "search.query",
		tool: "search",
		input: { ...inDocs, vector: QUERY },
		command: ["search", "docs", ...QUERY_FLAG],
	};

	/** Refused before anybody looked at what is asked for, where a message says that. */
	const labelOf = (way: WayName): string => (way === "graphql" ? "graphql" : isMcp(way) ? "mcp" : row.operation);

	test.each(STRANGERS.map((stranger) => [stranger.who, stranger] as const))(
		"is told the same everywhere: %s",
		async (_, { caller: callerOf, code, event, tenantId }) => {
			const { http, jsonRpc, exit } = ERROR_TABLE[code];
			for (const way of rig.ways) {
				const caller = await callerOf();
				const [{ seq } = { seq: 0 }] = await rig.audit();
				const before = await rig.counters();
				const { code: told, native } = await way.knock(caller, row);
				const expected = { rest: http, graphql: http, http: jsonRpc, socket: http, stdio: exit, cli: exit };
				expect([way.name, told, native]).toEqual([way.name, code, expected[way.name]]);
				// A refused handshake says nothing to a WebSocket's client: the bridge asks over HTTP what is wrong.
				const times = way.name === "stdio" ? 2 : 1;
				const label = labelOf(way.name);
				const entries = (await rig.audit()).filter((entry) => entry.seq > seq && entry.operation === label);
				expect(entries.map((entry) => [entry.event, entry.outcome, entry.code, entry.tenant_id])).toEqual(
					event === undefined ? [] : new Array(times).fill([event, "refused", code, tenantId]),
				);
				const after = await rig.counters();
				expect(risen(before.failures, after.failures)).toEqual(
					tenantId === undefined ? [[`{reason="${code}"}`, times]] : [],
				);
				const requests = risen(before.requests, after.requests);
				expect(requests.filter(([series]) => series.includes(`operation="${label}"`))).toEqual(
					tenantId === undefined ? [] : [[`{tenant_id="${tenantId}",operation="${label}",status="${http}"}`, times]],
				);
			}
		},
	);

	test("loses a connection that is open, and a bridge ends with it", async () => {
		for (const name of ["socket", "stdio"] as const) {
			const way = rig.ways.find((each) => each.name === name)!;
			const { key, id } = await rig.mint(tenantOf(name), ["READ_WRITE"]);
			const line = await way.open({ key });
			expect((await line.call(row)).code).toBe("ok");
			await rig.admin("DELETE", `/tenants/${tenantOf(name)}/keys/${id}`);
			await line.closed;
			await line.close();
		}
	});
});

test("calls over MCP have a bucket of their own, whatever they come by, and all others share one", async () => {
	const { key } = await rig.mint("other", ["READ_ONLY"]);
	const wording = {
		operation: "collections.list",
		tool: "list_collections",
		input: {},
		command: ["collection", "list"],
	};
	for (const way of rig.ways.filter(({ name }) => name !== "stdio")) {
		const line = await way.open({ key });
		expect((await line.call(wording)).code).toBe("ok");
		await line.close();
	}
	// 6 less one of each way: over a WebSocket the handshake paid for a first message, which was not the call.
	expect(await rig.callsLeft({ key }, "rest")).toBe(6 - 3 - 1);
	expect(await rig.callsLeft({ key }, "http")).toBe(6 - 3 - 1);
});
