import fc from "fast-check";
import type { ApiDocument, ApiField, ApiOperation } from "./api-operations.ts";
import { bodies, type Hints, rarely } from "./fuzz-bodies.ts";
import { asBytes, type RawRequest } from "./raw-http.ts";
import { valuesOf } from "./schema-values.ts";

/** Things that are there on the fuzzed node, so that requests get past its doors. */
export interface FuzzFixtures {
	readonly collections: readonly string[];
	/** Tenants that may be changed and deleted. */
	readonly expendableTenantIds: readonly string[];
	readonly expendableKeyIds: readonly string[];
	/** Credentials to come with, as headers: for operations on collections, and for those of operators. */
	readonly tenantCredentials: readonly Headers[];
	readonly adminCredentials: readonly Headers[];
}

export interface FuzzRequest {
	readonly operation: string;
	readonly request: RawRequest;
	/** Not even HTTP would call it a request: the server may answer as it likes, or hang up. */
	readonly isMalformed: boolean;
}

type Headers = readonly (readonly [string, string])[];

/** Rarer, so that the others still find something. */
const DESTROYERS = new Set(["collections.delete", "tenants.delete", "tenants.update", "keys.revoke"]);

/** Requests from valid to absurd, over all operations of the document. */
export function fuzzRequests(document: ApiDocument, fixtures: FuzzFixtures): fc.Arbitrary<FuzzRequest> {
	const hints = hintsFor(fixtures);
	const toOperations = document.operations.map((operation) => ({
		weight: DESTROYERS.has(operation.name) ? 1 : 6,
		arbitrary: requestsTo(operation, document, fixtures, hints),
	}));
	return fc.oneof(...toOperations, { weight: 12, arbitrary: requestsToNowhere(fixtures) });
}

function hintsFor(fixtures: FuzzFixtures): Hints {
	const ids = fc.constantFrom<unknown>("kept", 7, "7", "gone");
	const fields = fc.constantFrom("note", "place", "a.b", "tags[]", "when");
	return {
		vector: fc.oneof(
			{
				weight: 3,
				arbitrary: fc.array(
					fc.integer({ min: -99, max: 99 }).map((each) => each / 16),
					{ minLength: 3, maxLength: 3 },
				),
			},
			fc.uint8Array({ minLength: 12, maxLength: 12 }).map((bytes) => ({ base64: bytes.toBase64() })),
		),
		id: ids,
		ids: fc.array(ids, { minLength: 1, maxLength: 3 }),
		dimension: fc.constantFrom(1, 3, 16_384),
		shards: fc.constantFrom(1, 1, 1, 2),
		key: fields,
		field: fields,
		collection: fc.constantFrom(...fixtures.collections, ...fixtures.collections, "fuzzed:docs", "nobody"),
		tenant_id: fc.constantFrom(...fixtures.expendableTenantIds),
		key_id: fc.constantFrom(...fixtures.expendableKeyIds),
	};
}

function requestsTo(
	operation: ApiOperation,
	document: ApiDocument,
	fixtures: FuzzFixtures,
	hints: Hints,
): fc.Arbitrary<FuzzRequest> {
	const credentials = operation.scope === "admin" ? fixtures.adminCredentials : fixtures.tenantCredentials;
	const path = fc.tuple(...operation.pathFields.map((field) => pathValues(field, document, hints)));
	return fc
		.record({
			path,
			query: queries(operation, document, hints),
			method: rarely(
				operation.method,
				fc.constantFrom("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE", "OPTIONS", "BREW"),
			),
			credentials: fc.oneof({ weight: 12, arbitrary: fc.constantFrom(...credentials) }, BAD_CREDENTIALS),
			headers: rarely<Headers>([], WEIRD_HEADERS, 4),
			declared: headerValues(operation, document, hints),
			body: bodies(operation, document, hints),
			framing: rarely<"whole" | "truncated" | "chunked">("whole", fc.constantFrom("truncated", "chunked"), 20),
		})
		.map((parts) => {
			const values = new Map(operation.pathFields.map(({ name }, index) => [name, parts.path[index]!]));
			const target = operation.path.replace(/\{([a-z_]+)\}/g, (_, name: string) => values.get(name)!);
			const query = parts.query === "" ? "" : `?${parts.query}`;
			const { type, bytes } = parts.body;
			const headers: (readonly [string, string])[] = [...parts.credentials, ...parts.declared, ...parts.headers];
			if (type !== undefined && !headers.some(([name]) => name === "content-type"))
				headers.push(["content-type", type]);
			const request = framed({ method: parts.method, target: `${target}${query}`, headers }, bytes, parts.framing);
			return { operation: operation.name, request, isMalformed: isMalformed(request) };
		});
}

function framed(
	request: RawRequest,
	bytes: Uint8Array | undefined,
	framing: "whole" | "truncated" | "chunked",
): RawRequest {
	if (bytes === undefined) return request;
	if (framing === "truncated") return { ...request, body: bytes, declaredBytes: bytes.length + 10 };
	if (framing === "whole") return { ...request, body: bytes };
	const size = Math.max(1, bytes.length >> 1);
	const chunks: Uint8Array[] = [];
	for (let at = 0; at < bytes.length; at += size) {
		const part = bytes.subarray(at, at + size);
		chunks.push(Buffer.from(`${part.length.toString(16)}\r\n`), part, Buffer.from("\r\n"));
	}
	const body = Buffer.concat([...chunks, Buffer.from("0\r\n\r\n")]);
	return { ...request, headers: [...request.headers, ["transfer-encoding", "chunked"]], body };
}

const TEXT_JUNK = fc.oneof(
	fc.constantFrom("", ".", "..", "%", "%zz", "%00", "%ff", "%2e%2e%2f", "__proto__", "constructor", "a:b:c", "*", "-1"),
	fc.constantFrom("9007199254740993", "1e400", "x".repeat(300), "x".repeat(9_000), "%F0%9F%92%A9", "a%20b", "a+b", "~"),
	fc.string({ unit: "grapheme", maxLength: 30 }).map((text) => encodeURIComponent(text.toWellFormed())),
	fc.string({ unit: "binary-ascii", maxLength: 30 }).map((text) => encodeURIComponent(text)),
);

const written = (value: unknown): string =>
	asBytes(encodeURIComponent((typeof value === "object" ? JSON.stringify(value) : String(value)).toWellFormed()));

function pathValues(field: ApiField, document: ApiDocument, hints: Hints): fc.Arbitrary<string> {
	const valid = valuesOf(field.schema, document, { junk: 0 }).map(written);
	const hint = hints[field.name];
	return fc.oneof(
		...(hint === undefined ? [] : [{ weight: 8, arbitrary: hint.map(written) }]),
		{ weight: 1, arbitrary: valid },
		{ weight: 1, arbitrary: TEXT_JUNK },
	);
}

function queries(operation: ApiOperation, document: ApiDocument, hints: Hints): fc.Arbitrary<string> {
	const known = operation.queryFields.map((field) =>
		fc.option(
			fc
				.oneof({ weight: 4, arbitrary: pathValues(field, document, hints) }, TEXT_JUNK)
				.map((value) => `${field.name}=${value}`),
			{ nil: "" },
		),
	);
	const unknown = rarely(
		"",
		fc.tuple(TEXT_JUNK, TEXT_JUNK).map((pair) => pair.join("=")),
		12,
	);
	const repeated = rarely(
		"",
		fc.constantFrom("limit=1&limit=2", "&&&", "=", "?", "with_vector", "cursor=&cursor="),
		20,
	);
	return fc.tuple(...known, unknown, repeated).map((pairs) => pairs.filter((pair) => pair !== "").join("&"));
}

function headerValues(operation: ApiOperation, document: ApiDocument, hints: Hints): fc.Arbitrary<Headers> {
	const fields = operation.headerFields.map(({ name, schema }) => {
		const values = name.toLowerCase() === "x-tenant-id" ? hints.tenant_id! : valuesOf(schema, document, { junk: 0 });
		const headers = values.map((value): readonly [string, string] => [
			name,
			asBytes(String(value)).replace(/[\r\n\0]/g, ""),
		]);
		return rarely<readonly [string, string] | undefined>(undefined, headers, 10);
	});
	return fc.tuple(...fields).map((headers) => headers.filter((header) => header !== undefined));
}

const BAD_CREDENTIALS: fc.Arbitrary<Headers> = fc.oneof(
	fc.constantFrom<Headers>(
		[],
		[["authorization", ""]],
		[["authorization", "Bearer"]],
		[["authorization", "Basic !!!!"]],
		[["x-api-key", "hh_live_"]],
		[["authorization", `Bearer ${"a".repeat(10_000)}`]],
		[
			["x-api-key", "one"],
			["x-api-key", "two"],
		],
	),
	fc.stringMatching(/^hh_(?:live|test)_[A-Za-z0-9]{32}$/).map((key): Headers => [["x-api-key", key]]),
	fc.string({ unit: "binary-ascii", maxLength: 40 }).map((text): Headers => [["authorization", printable(text)]]),
);

const printable = (text: string): string => text.replace(/[^\x20-\x7e]/g, "?");

const WEIRD_HEADERS: fc.Arbitrary<Headers> = fc.oneof(
	fc
		.constantFrom("text/csv", "application/msgpack", "application/x-ndjson", "*/*;q=0", ";;;", "", "a".repeat(5_000))
		.map((accept): Headers => [["accept", accept]]),
	fc
		.constantFrom(
			"application/json; charset=utf-16",
			"text/plain",
			"application/msgpack",
			"multipart/form-data",
			";",
			"",
		)
		.map((type): Headers => [["content-type", type]]),
	fc.constantFrom<Headers>(
		[["content-encoding", "gzip"]],
		[["content-encoding", "identity"]],
		[["x-request-id", ""]],
		[["x-request-id", "x".repeat(4_000)]],
		[["x-request-id", "é\u00ff"]],
		[["x-tenant-id", "../../etc"]],
		[["x-tenant-id", ""]],
		[["range", "bytes=0-1"]],
		[["if-none-match", "*"]],
		[["expect", "100-continue"]],
		[["upgrade", "websocket"]],
		[["origin", "null"]],
		[["origin", "https://elsewhere.example"]],
		[["access-control-request-method", "DELETE"]],
		[["x-forwarded-for", "::ffff:1.2.3.4, unknown, 999.1.1.1"]],
		[["forwarded", 'for="[::1']],
		[["signature-input", "sig=()"]],
		[
			["signature-input", 'sig1=("@method");created=1;nonce="x"'],
			["signature", "sig1=:AAAA:"],
		],
		[["signature", "\u00ff\u00fe"]],
		[["content-digest", "sha-256=:!!:"]],
		[
			["webhook-id", "msg_1"],
			["webhook-timestamp", "1e99"],
			["webhook-signature", "v1,AAAA v1a,????"],
		],
		[["cookie", "a=b; ".repeat(500)]],
	),
	fc
		.tuple(fc.stringMatching(/^[a-z][a-z0-9-]{0,20}$/), fc.string({ unit: "binary-ascii", maxLength: 100 }))
		.filter(([name]) => !["content-length", "transfer-encoding", "connection", "host", "te", "trailer"].includes(name))
		.map(([name, value]): Headers => [[`x-${name}`, printable(value)]]),
);

/** Addresses that are none, and requests that are none. */
function requestsToNowhere(fixtures: FuzzFixtures): fc.Arbitrary<FuzzRequest> {
	return fc
		.record({
			method: fc.constantFrom(
				"GET",
				"HEAD",
				"POST",
				"PUT",
				"DELETE",
				"PATCH",
				"OPTIONS",
				"TRACE",
				"CONNECT",
				"get",
				"G T",
			),
			target: fc.oneof(
				fc.constantFrom("/", "//", "*", "/api", "/api/v1", "/api/v1/", "/api/v2/collections", "/API/V1/COLLECTIONS"),
				fc.constantFrom(
					"/docs",
					"/docs/",
					"/docs/start.js",
					"/docs/../metrics",
					"/openapi.json?x",
					"/health/",
					"/favicon.ico",
				),
				fc.constantFrom(
					"http://elsewhere.example/health",
					"/%",
					"/%00",
					"/api/v1/collections/",
					"/api/v1//collections",
				),
				fc.constantFrom("/mcp", "/graphql", "/api/v1/hub/webhooks", "/api/v1/audit", "/.env", `/${"a/".repeat(2_000)}`),
				TEXT_JUNK.map((text) => `/api/v1/${text}`),
			),
			credentials: fc.constantFrom<Headers>([], ...fixtures.tenantCredentials, ...fixtures.adminCredentials),
			headers: rarely<Headers>([], WEIRD_HEADERS, 3),
			framing: rarely<Headers>(
				[],
				fc.constantFrom<Headers>(
					[["content-length", "-1"]],
					[["content-length", "abc"]],
					[["transfer-encoding", "gzip, chunked"]],
					[["host", ""]],
					[["host", "a b"]],
					[["bad name", "x"]],
					[["x-folded", "a\r\n b"]],
				),
				8,
			),
		})
		.map(({ method, target, credentials, headers, framing }) => {
			const request: RawRequest = { method, target, headers: [...credentials, ...headers, ...framing] };
			return { operation: "nowhere", request, isMalformed: framing.length > 0 || isMalformed(request) };
		});
}

/** What a server may refuse before it knows an address: no method, no path, a body that breaks off, no room for the head. */
function isMalformed({ method, target, headers, declaredBytes }: RawRequest): boolean {
	const headBytes = headers.reduce((sum, [name, value]) => sum + name.length + value.length, target.length);
	return (
		!/^(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS)$/.test(method) ||
		!/^\/[!-~]*$/.test(target) ||
		declaredBytes !== undefined ||
		headBytes > 15_000 ||
		headers.some(([, value]) => /[^\x20-\x7e]/.test(value)) ||
		headers.some(([name]) => name === "upgrade" || name === "expect")
	);
}
