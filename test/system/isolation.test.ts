import { afterAll, beforeAll, expect, test } from "bun:test";
import { LocalNode } from "../../scripts/local-node.ts";
import { type Answer, call, newKey, newTenant } from "./client.ts";

let node: LocalNode;
let owner: string;
let stranger: string;
const FOREIGN = "secret-plans";
const UNUSED = "never-usedxx";

beforeAll(async () => {
	node = await LocalNode.start();
	owner = await newTenant(node, "owner");
	stranger = await newTenant(node, "stranger");
	expect((await call(node, owner, "POST", "/collections", { name: FOREIGN, dimension: 4 })).status).toBe(201);
	const stored = await call(node, owner, "POST", `/collections/${FOREIGN}/vectors`, {
		vectors: [{ id: "a", vector: [1, 2, 3, 4], payload: { note: "confidential" } }],
	});
	expect(stored.status).toBe(200);
});
afterAll(async () => {
	await node.stop();
	node.removeData();
});

/** Every call on a collection, as [method, path, body]; `{c}` stands for its name. */
const COLLECTION_CALLS: readonly (readonly [string, string, unknown?])[] = [
	["GET", "/collections/{c}"],
	["PATCH", "/collections/{c}", { hnsw: { ef_search: 32 } }],
	["DELETE", "/collections/{c}"],
	["POST", "/collections/{c}/vectors", { vectors: [{ id: "x", vector: [1, 2, 3, 4] }] }],
	["GET", "/collections/{c}/vectors/a"],
	["PATCH", "/collections/{c}/vectors/a", { payload: { a: 1 } }],
	["DELETE", "/collections/{c}/vectors/a"],
	["POST", "/collections/{c}/vectors/get", { ids: ["a"] }],
	["POST", "/collections/{c}/vectors/delete", { ids: ["a"] }],
	["POST", "/collections/{c}/vectors/count", {}],
	["POST", "/collections/{c}/vectors/scroll", {}],
	["POST", "/collections/{c}/search", { vector: [1, 2, 3, 4] }],
	["POST", "/collections/{c}/search", { id: "a" }],
	["POST", "/collections/{c}/search/batch", { searches: [{ vector: [1, 2, 3, 4] }] }],
	["GET", "/collections/{c}/export"],
	["PUT", "/collections/{c}/payload-indexes/note", { type: "keyword" }],
	["DELETE", "/collections/{c}/payload-indexes/note"],
];

/** What of an answer may show whether something exists: all but the request's own id and the time. */
function visible(answer: Answer, name: string): string {
	const headers = [...answer.headers]
		.filter(
			([header]) =>
				!["x-request-id", "date", "x-ratelimit-remaining", "x-ratelimit-reset", "content-length"].includes(header),
		)
		.sort();
	const { request_id, ...body } = answer.body;
	expect(request_id).toBeString();
	return JSON.stringify({ status: answer.status, headers, body }).replaceAll(name, "NAME");
}

test("another tenant's collection answers every call exactly as a name never used", async () => {
	for (const [method, path, body] of COLLECTION_CALLS) {
		const foreign = await call(node, stranger, method, path.replace("{c}", FOREIGN), body);
		const unused = await call(node, stranger, method, path.replace("{c}", UNUSED), body);
		expect(foreign.status, `${method} ${path}`).toBe(404);
		expect(foreign.body.code).toBe("COLLECTION_NOT_FOUND");
		expect(visible(foreign, FOREIGN)).toBe(visible(unused, UNUSED));
	}
	for (const [method, path, body] of COLLECTION_CALLS) {
		const qualified = await call(node, stranger, method, path.replace("{c}", `owner:${FOREIGN}`), body);
		expect([400, 404], `${method} ${path} with a full name`).toContain(qualified.status);
	}
	const still = await call(node, owner, "GET", `/collections/${FOREIGN}/vectors/a`);
	expect(still.body.payload).toEqual({ note: "confidential" });
});

test("X-Tenant-ID of another tenant answers as one that does not exist, and opens nothing", async () => {
	const foreign = await call(node, stranger, "GET", "/collections", undefined, { "x-tenant-id": "owner" });
	const unused = await call(node, stranger, "GET", "/collections", undefined, { "x-tenant-id": "nobody" });
	expect(foreign.status).toBe(404);
	expect(foreign.body.code).toBe("TENANT_NOT_FOUND");
	expect(visible(foreign, "owner")).toBe(visible(unused, "nobody"));
});

test("equal names of two tenants are two collections", async () => {
	const third = await newTenant(node, "third");
	await call(node, third, "POST", "/collections", { name: FOREIGN, dimension: 2 });
	expect((await call(node, third, "POST", `/collections/${FOREIGN}/vectors/count`, {})).body).toEqual({ count: 0 });
	await call(node, third, "DELETE", `/collections/${FOREIGN}`);
	expect((await call(node, owner, "POST", `/collections/${FOREIGN}/vectors/count`, {})).body).toEqual({ count: 1 });
});

test("a collection made again under the same name holds nothing of the old one", async () => {
	await call(node, stranger, "POST", "/collections", { name: "again", dimension: 2 });
	await call(node, stranger, "POST", "/collections/again/vectors", { vectors: [{ id: 1, vector: [1, 1] }] });
	expect((await call(node, stranger, "DELETE", "/collections/again")).status).toBe(200);
	expect((await call(node, stranger, "POST", "/collections", { name: "again", dimension: 2 })).status).toBe(201);
	expect((await call(node, stranger, "POST", "/collections/again/vectors/count", {})).body).toEqual({ count: 0 });
	expect((await call(node, stranger, "GET", "/collections/again/vectors/1")).status).toBe(404);
});

test("a tenant's keys stop and its data is gone when it is deleted", async () => {
	const doomed = await newTenant(node, "doomed");
	await call(node, doomed, "POST", "/collections", { name: "things", dimension: 2 });
	expect((await call(node, node.adminKey(), "DELETE", "/tenants/doomed")).status).toBe(200);
	expect((await call(node, doomed, "GET", "/collections")).status).toBe(401);
	expect(await Bun.file(`${node.dataDir}/tenants/doomed`).exists()).toBe(false);
	const reborn = await newTenant(node, "doomed");
	expect((await call(node, reborn, "GET", "/collections")).body.collections).toEqual([]);
});

test("no header or address opens the node to a caller without a key", async () => {
	const tricks: Record<string, string>[] = [
		{},
		{ "x-forwarded-for": "127.0.0.1" },
		{ "x-real-ip": "127.0.0.1" },
		{ "x-tenant-id": "owner" },
		{ "x-hivehub-internal": "true", "x-internal": "1", "x-admin": "true" },
		{ "x-api-key": "" },
		{ authorization: "Bearer " },
		{ authorization: "Basic YWRtaW46YWRtaW4=" },
		{ host: "localhost" },
	];
	for (const headers of tricks) {
		const answer = await call(node, undefined, "GET", "/collections", undefined, headers);
		expect(answer.status, JSON.stringify(headers)).toBe(401);
	}
	const query = await fetch(`${node.url}/api/v1/collections?api_key=${owner}&token=${owner}`);
	expect([400, 401]).toContain(query.status);
});

test("an admin acts in a tenant by naming it, a tenant's key never holds ADMIN", async () => {
	const admin = node.adminKey();
	const acting = await call(
		node,
		admin,
		"POST",
		`/collections/${FOREIGN}/vectors/count`,
		{},
		{ "x-tenant-id": "owner" },
	);
	expect(acting.body).toEqual({ count: 1 });
	expect(acting.headers.get("x-tenant-id")).toBe("owner");
	const minted = await call(node, admin, "POST", "/tenants/owner/keys", { permissions: ["ADMIN"] });
	expect(minted.status).toBe(400);
	const readOnly = await newKey(node, "owner", ["READ_ONLY"]);
	const refused = await call(node, readOnly, "POST", "/collections", { name: "x", dimension: 2 });
	expect(refused.status).toBe(403);
	expect(refused.body.details).toMatchObject({ granted: ["READ_ONLY"] });
});
