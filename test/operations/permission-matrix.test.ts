import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { Webhook } from "standardwebhooks";
import { ERROR_TABLE } from "../../src/base/errors.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import { EmbeddingServer } from "../embedding/embedding-server.ts";
import { type Input, linesOf, OperationsNode, type Output } from "./operations-fixture.ts";

type Permission = "ADMIN" | "READ_WRITE" | "READ_ONLY" | "MCP";
type Row = "read" | "insert" | "delete" | "shape" | "manage";

/** CONTRACT section 2, written down once more: it is not asked of the code. */
const MATRIX: Readonly<Record<Row, readonly Permission[]>> = {
	read: ["ADMIN", "READ_WRITE", "READ_ONLY", "MCP"],
	insert: ["ADMIN", "READ_WRITE", "MCP"],
	delete: ["ADMIN", "READ_WRITE"],
	shape: ["ADMIN", "READ_WRITE"],
	manage: ["ADMIN"],
};

interface Case {
	/** Its row of the matrix; `public` needs no key. */
	readonly row: Row | "public";
	/** Makes what the call is about, as an admin would, and says what to send. */
	readonly input?: (world: World, serial: number) => Promise<Input> | Input;
	/** What another tenant's key gets that may do such things at home: `own` for an answer about its own things. */
	readonly foreign?: "COLLECTION_NOT_FOUND" | "own";
	/** What those get who may, where a node alone has nothing to do it to; absent: done. */
	readonly admitted?: "NOT_FOUND";
}

const inDocs = { collection: "docs" };
const inTexts = { collection: "texts" };
const NOBODY = { node_id: "node_aaaaaaaaaaaaaaaa" };
const QUERY = { vector: [1, 0, 0], limit: 2 };
const WEBHOOK_SECRET = `whsec_${Buffer.from("a secret of twenty-four bytes").toString("base64")}`;

/** Whoever has the secret may push, whatever key comes with it. */
function signedPush(id: string): Input {
	const body = JSON.stringify({
		type: "quota.updated",
		timestamp: new Date().toISOString(),
		data: { tenant_id: "beta" },
	});
	const sentAt = new Date();
	return {
		webhook_id: id,
		webhook_timestamp: String(Math.floor(sentAt.getTime() / 1000)),
		webhook_signature: new Webhook(WEBHOOK_SECRET).sign(id, sentAt, body),
		body,
	};
}

const oneLine = (): AsyncIterable<unknown> => linesOf(['{"id":"imported","vector":[0,1,1]}']);

/** Every operation, with names of tenant `acme`. */
const CASES: Readonly<Record<string, Case>> = {
	"health.live": { row: "public" },
	"health.ready": { row: "public" },
	"keys.validate": { row: "public", input: (world) => ({ api_key: world.keys.READ_ONLY! }) },
	"hub.webhook": { row: "public", input: (_, serial) => signedPush(`push_${serial}`) },
	"metrics.read": { row: "manage" },

	"collections.list": { row: "read", foreign: "own" },
	"collections.get": { row: "read", input: () => inDocs },
	"collections.create": {
		row: "shape",
		foreign: "own",
		input: (_, serial) => ({ name: `made-${serial}`, dimension: 3 }),
	},
	"collections.update": { row: "shape", input: (_, serial) => ({ ...inDocs, hnsw: { ef_search: 100 + serial } }) },
	"collections.delete": {
		row: "shape",
		input: async (world, serial) => {
			await world.inAcme("collections.create", { name: `doomed-${serial}`, dimension: 3 });
			return { collection: `doomed-${serial}` };
		},
	},
	"payload_indexes.create": {
		row: "shape",
		input: (_, serial) => ({ ...inDocs, field: `field_${serial}`, type: "keyword" }),
	},
	"payload_indexes.delete": {
		row: "shape",
		input: async (world, serial) => {
			await world.inAcme("payload_indexes.create", { ...inDocs, field: `gone_${serial}`, type: "keyword" });
			return { ...inDocs, field: `gone_${serial}` };
		},
	},

	"vectors.upsert": { row: "insert", input: (_, id) => ({ ...inDocs, vectors: [{ id, vector: [1, 1, 0] }] }) },
	"vectors.import": { row: "insert", input: () => ({ ...inDocs, lines: oneLine() }) },
	"vectors.update": { row: "insert", input: (_, serial) => ({ ...inDocs, id: "east", payload: { serial } }) },
	"vectors.delete_one": {
		row: "delete",
		input: async (world, serial) => {
			await world.inAcme("vectors.upsert", { ...inDocs, vectors: [{ id: `gone-${serial}`, vector: [0, 0, 1] }] });
			return { ...inDocs, id: `gone-${serial}` };
		},
	},
	"vectors.delete_many": { row: "delete", input: () => ({ ...inDocs, ids: ["north"] }) },
	"vectors.get": { row: "read", input: () => ({ ...inDocs, id: "east" }) },
	"vectors.get_many": { row: "read", input: () => ({ ...inDocs, ids: ["east"] }) },
	"vectors.count": { row: "read", input: () => inDocs },
	"vectors.scroll": { row: "read", input: () => inDocs },
	"vectors.export": { row: "read", input: () => inDocs },
	"search.query": { row: "read", input: () => ({ ...inDocs, ...QUERY }) },
	"search.multi": { row: "read", input: () => ({ collections: ["docs"], ...QUERY }) },
	"search.batch": { row: "read", input: () => ({ ...inDocs, searches: [QUERY] }) },

	"documents.insert": {
		row: "insert",
		input: (_, serial) => ({ ...inTexts, path: `notes/${serial}.md`, text: "# One\n\nfish" }),
	},
	"documents.list": { row: "read", input: () => inTexts },
	"documents.content": { row: "read", input: () => ({ ...inTexts, path: "kept.md" }) },
	"documents.chunks": { row: "read", input: () => ({ ...inTexts, path: "kept.md" }) },
	"documents.delete": {
		row: "delete",
		input: async (world, serial) => {
			const path = `doomed-${serial}.md`;
			await world.inAcme("documents.insert", { ...inTexts, path, text: "going" });
			return { ...inTexts, path };
		},
	},

	"usage.own": { row: "read", foreign: "own" },
	"cluster.usage": { row: "read", foreign: "own" },

	"audit.list": { row: "manage" },
	"audit.verify": { row: "manage" },
	"cluster.health": { row: "manage" },
	"cluster.nodes": { row: "manage" },
	"cluster.drain": { row: "manage", input: () => NOBODY, admitted: "NOT_FOUND" },
	"cluster.remove": { row: "manage", input: () => NOBODY, admitted: "NOT_FOUND" },
	"cluster.rebalance": { row: "manage" },
	"cluster.shards": { row: "manage", input: () => ({ tenant_id: "acme" }) },
	"cluster.tenants": { row: "manage" },
	"tenants.list": { row: "manage" },
	"tenants.get": { row: "manage", input: () => ({ tenant_id: "acme" }) },
	"tenants.create": { row: "manage", input: (_, serial) => ({ id: `tenant-${serial}` }) },
	"tenants.update": { row: "manage", input: (_, serial) => ({ tenant_id: "acme", name: `Acme ${serial}` }) },
	"tenants.delete": {
		row: "manage",
		input: async (world, serial) => {
			await world.node.asAdmin("tenants.create", { id: `doomed-${serial}` });
			return { tenant_id: `doomed-${serial}` };
		},
	},
	"keys.list": { row: "manage", input: () => ({ tenant_id: "acme" }) },
	"keys.create": { row: "manage", input: () => ({ tenant_id: "acme", permissions: ["READ_ONLY"] }) },
	"keys.rotate": { row: "manage", input: (world) => world.newKeyId() },
	"keys.revoke": { row: "manage", input: (world) => world.newKeyId() },
};

/** A way to come. `refused`: whatever is asked for. */
interface Comer {
	readonly name: string;
	readonly key?: string;
	readonly permissions?: readonly Permission[];
	readonly actingTenant?: string;
	readonly isForeign?: boolean;
	readonly refused?: string;
}

class World {
	readonly keys: Record<string, string> = {};
	comers!: readonly Comer[];

	private constructor(readonly node: OperationsNode) {}

	static async build(): Promise<World> {
		const world = new World(
			await OperationsNode.start({ HIVE_VECTOR_HUB_WEBHOOK_SECRET: WEBHOOK_SECRET, ...embedding.env() }),
		);
		const { node, keys } = world;
		for (const id of ["acme", "beta", "frozen"]) await node.asAdmin("tenants.create", { id });
		const mint = async (name: string, tenant: string, permissions: readonly Permission[], more: Input = {}) => {
			const made = await node.newKey(tenant, permissions, more);
			keys[name] = made.api_key;
			return { tenant_id: tenant, key_id: made.api_key_id };
		};
		await mint("READ_WRITE", "acme", ["READ_WRITE"]);
		await mint("READ_ONLY", "acme", ["READ_ONLY"]);
		await mint("MCP", "acme", ["MCP"]);
		await mint("BOTH", "acme", ["READ_WRITE", "MCP"]);
		await mint("BETA", "beta", ["READ_WRITE"]);
		await mint("FROZEN", "frozen", ["READ_WRITE"]);
		await mint("SYSTEM_READER", "system", ["READ_WRITE"]);
		await mint("EXPIRED", "acme", ["READ_WRITE"], { expires_in_seconds: 60 });
		await node.asAdmin("keys.revoke", await mint("REVOKED", "acme", ["READ_WRITE"]));
		await mint("EXPIRED_ADMIN", "system", ["ADMIN"], { expires_in_seconds: 60 });
		await node.asAdmin("keys.revoke", await mint("REVOKED_ADMIN", "system", ["ADMIN"]));
		node.clock.offsetMs = 120_000;
		await node.asAdmin("keys.rotate", await mint("DEPRECATED", "acme", ["READ_WRITE"]));
		await node.asAdmin("tenants.update", { tenant_id: "frozen", active: false });
		await world.inAcme("collections.create", { name: "docs", dimension: 3 });
		await world.inAcme("collections.create", { name: "texts", text: { provider: "openai" } });
		await world.inAcme("documents.insert", { ...inTexts, path: "kept.md", text: "a red fish" });
		await world.inAcme("vectors.upsert", {
			...inDocs,
			vectors: [
				{ id: "east", vector: [1, 0, 0], payload: { kind: "axis" } },
				{ id: "north", vector: [0, 1, 0] },
			],
		});
		world.comers = world.listComers();
		return world;
	}

	private listComers(): Comer[] {
		const comer = (name: string, keyName: string, rest: Partial<Comer>): Comer => ({
			name,
			key: this.keys[keyName]!,
			...rest,
		});
		const refusedAdmin = { actingTenant: "acme" };
		return [
			{ name: "no key", refused: "AUTH_MISSING" },
			{ name: "no key, naming a tenant", actingTenant: "acme", refused: "AUTH_MISSING" },
			{ name: "an ill-formed key", key: "hh_live_short", refused: "AUTH_INVALID_FORMAT" },
			{ name: "an unknown key", key: `hh_live_${"x".repeat(32)}`, refused: "AUTH_INVALID" },
			comer("an expired key", "EXPIRED", { refused: "AUTH_KEY_EXPIRED" }),
			comer("a revoked key", "REVOKED", { refused: "AUTH_INVALID" }),
			comer("an expired ADMIN key", "EXPIRED_ADMIN", { refused: "AUTH_KEY_EXPIRED", ...refusedAdmin }),
			comer("a revoked ADMIN key", "REVOKED_ADMIN", { refused: "AUTH_INVALID", ...refusedAdmin }),
			comer("a key of a suspended tenant", "FROZEN", { refused: "TENANT_SUSPENDED" }),
			comer("another tenant's key naming this one", "BETA", { refused: "TENANT_NOT_FOUND", actingTenant: "acme" }),
			comer("an operators' key without ADMIN naming a tenant", "SYSTEM_READER", {
				refused: "TENANT_NOT_FOUND",
				actingTenant: "acme",
			}),
			comer("another tenant's key", "BETA", { permissions: ["READ_WRITE"], isForeign: true }),
			comer("READ_ONLY", "READ_ONLY", { permissions: ["READ_ONLY"] }),
			comer("MCP alone", "MCP", { permissions: ["MCP"] }),
			comer("READ_WRITE", "READ_WRITE", { permissions: ["READ_WRITE"] }),
			comer("READ_WRITE and MCP", "BOTH", { permissions: ["READ_WRITE", "MCP"] }),
			comer("a replaced key in its grace period", "DEPRECATED", { permissions: ["READ_WRITE"] }),
			{ name: "ADMIN in the tenant", key: this.node.adminKey, permissions: ["ADMIN"], actingTenant: "acme" },
		];
	}

	inAcme(operation: string, input: Input): Promise<Output> {
		return this.node.asAdmin(operation, input, "acme");
	}

	async newKeyId(): Promise<Input> {
		const { api_key_id } = await this.node.newKey("acme");
		return { tenant_id: "acme", key_id: api_key_id };
	}

	/** Everything that a call could have changed, besides what counts calls. */
	async state(): Promise<unknown> {
		const { tenants } = await this.node.asAdmin("tenants.list", { limit: 1000 });
		const parts: unknown[] = [tenants];
		for (const { id } of tenants) {
			parts.push((await this.node.asAdmin("keys.list", { tenant_id: id })).keys);
			const { collections } = await this.node.asAdmin("collections.list", {}, id);
			// How much of a disk is taken changes by itself.
			for (const { disk_bytes: _, ...collection } of collections) parts.push(collection);
		}
		for (const collection of [inDocs, inTexts]) parts.push(await this.inAcme("vectors.export", collection));
		return parts;
	}

	async inputOf(operation: string): Promise<Input> {
		return (await CASES[operation]!.input?.(this, nextSerial())) ?? {};
	}
}

let serial = 0;
const nextSerial = (): number => ++serial;

/** `ok`, or the code of the refusal: what the contract says. */
function expected(
	comer: Comer,
	{ row, foreign = "COLLECTION_NOT_FOUND", admitted }: Case,
	protocol: "rest" | "mcp",
): string {
	if (protocol === "mcp" && row === "manage") return "NOT_FOUND";
	if (row === "public") return "ok";
	if (comer.refused !== undefined) return comer.refused;
	const permissions = comer.permissions!;
	if (protocol === "rest" && permissions.length === 1 && permissions[0] === "MCP") return "FORBIDDEN";
	if (!permissions.some((permission) => MATRIX[row].includes(permission))) return "FORBIDDEN";
	return comer.isForeign && foreign !== "own" ? foreign : (admitted ?? "ok");
}

let world: World;
const embedding = new EmbeddingServer();
beforeAll(async () => {
	world = await World.build();
});
afterAll(async () => {
	await world.node.stop();
	await embedding[Symbol.asyncDispose]();
});

async function overPipeline(operation: string, comer: Comer, input: Input, protocol: "rest" | "mcp"): Promise<string> {
	const { key, actingTenant } = comer;
	const answer = await world.node.call(operation, input, {
		key,
		protocol,
		...(actingTenant !== undefined && { actingTenant }),
	});
	if (!answer.ok) {
		if (answer.error.code === "FORBIDDEN") {
			expect(Object.keys(answer.error.details!)).toEqual(["required", "granted"]);
			expect([...(answer.error.details!.granted as string[])].sort()).toEqual([...comer.permissions!].sort());
		}
		return answer.error.code;
	}
	if (answer.output !== null && typeof answer.output === "object" && Symbol.asyncIterator in answer.output) {
		for await (const line of answer.output as AsyncIterable<Output>) expect(line.code).toBeUndefined();
	}
	return "ok";
}

async function overHttp(operation: string, comer: Comer, input: Input): Promise<string> {
	const { rest } = OPERATIONS.find(({ name }) => name === operation)!;
	const left: Record<string, unknown> = { ...input };
	const path = rest.path.replaceAll(/\{(\w+)\}/g, (_, field: string) => {
		const value = left[field];
		delete left[field];
		return encodeURIComponent(String(value));
	});
	const headers: Record<string, string> = {};
	if (comer.key !== undefined) headers.authorization = `Bearer ${comer.key}`;
	if (comer.actingTenant !== undefined) headers["x-tenant-id"] = comer.actingTenant;
	const query = new URLSearchParams();
	for (const field of rest.query ?? []) if (left[field] !== undefined) query.set(field, String(left[field]));
	let body: string | undefined;
	if (rest.body === "json") {
		headers["content-type"] = "application/json";
		body = JSON.stringify(left);
	} else if (rest.body === "ndjson") {
		headers["content-type"] = "application/x-ndjson";
		body = '{"id":"imported","vector":[0,1,1]}\n';
	} else if (rest.body === "text") body = String(left.body);
	for (const [field, header] of Object.entries(rest.headers ?? {})) headers[header] = String(left[field]);
	const response = await fetch(`${world.node.node.url}${rest.root ? "" : "/api/v1"}${path}?${query.toString()}`, {
		method: rest.method,
		headers,
		...(body !== undefined && { body }),
	});
	const text = await response.text();
	if (response.status < 400) {
		expect(response.status).toBe(rest.status ?? 200);
		return "ok";
	}
	const { code } = JSON.parse(text) as { code: keyof typeof ERROR_TABLE };
	expect(response.status).toBe(ERROR_TABLE[code].http);
	return code;
}

const WAYS: readonly (readonly [string, "rest" | "mcp", typeof overPipeline])[] = [
	["as REST", "rest", overPipeline],
	["as MCP", "mcp", overPipeline],
	["over HTTP", "rest", overHttp],
];

test("every operation has its row in the matrix, and every row its operation", () => {
	expect(Object.keys(CASES).sort()).toEqual(OPERATIONS.map(({ name }) => name).sort());
});

describe.each(OPERATIONS.map(({ name }) => name))("%s", (operation) => {
	const row = CASES[operation]!;

	test.each(WAYS)("refuses whom it must, changing nothing, %s", async (_, protocol, send) => {
		const input = await world.inputOf(operation);
		const before = await world.state();
		const outcomes: Record<string, string> = {};
		const wanted: Record<string, string> = {};
		for (const comer of world.comers) {
			const code = expected(comer, row, protocol);
			if (code === "ok") continue;
			wanted[comer.name] = code;
			outcomes[comer.name] = await send(operation, comer, input, protocol);
		}
		expect(outcomes).toEqual(wanted);
		if (row.row === "public") expect(wanted).toEqual({});
		else expect(await world.state()).toEqual(before);
	});

	test.each(WAYS)("admits whom it may, %s", async (_, protocol, send) => {
		const outcomes: Record<string, string> = {};
		const wanted: Record<string, string> = {};
		for (const comer of world.comers) {
			if (expected(comer, row, protocol) !== "ok") continue;
			wanted[comer.name] = "ok";
			outcomes[comer.name] = await send(operation, comer, await world.inputOf(operation), protocol);
		}
		expect(outcomes).toEqual(wanted);
	});
});

describe("what another tenant's key is told", () => {
	test("of foreign names is what it is told of names never used", async () => {
		const beta = world.node.callsWith(world.keys.BETA!);
		for (const [operation, { foreign = "COLLECTION_NOT_FOUND", row }] of Object.entries(CASES)) {
			if (row === "public" || row === "manage" || foreign === "own") continue;
			const input = await world.inputOf(operation);
			const real = await beta.refusal(operation, input);
			const name = String(input.collection ?? (input.collections as string[])[0]);
			const never = "x".repeat(name.length);
			const unused = await beta.refusal(operation, {
				...input,
				...(input.collection === undefined ? { collections: [never] } : { collection: never }),
			});
			const blank = (text: string) => text.replaceAll(name, "?").replaceAll(/x{2,}/g, "?");
			expect(blank(JSON.stringify(unused.toWire()))).toBe(blank(JSON.stringify(real.toWire())));
		}
	});

	test("in lists and counts is its own alone", async () => {
		const beta = world.node.callsWith(world.keys.BETA!);
		const { collections } = await beta.ask("collections.list", {});
		expect(collections.every(({ full_name }: Output) => full_name.startsWith("beta:"))).toBe(true);
		for (const operation of ["usage.own", "cluster.usage"]) {
			expect(await beta.ask(operation, {})).toMatchObject({
				tenant_id: "beta",
				vectors: 0,
				storage: { used_bytes: 0 },
			});
		}
	});

	test("of another tenant's usage is that there is no such tenant", async () => {
		const beta = world.node.callsWith(world.keys.BETA!);
		const real = await beta.refusal("cluster.usage", { tenant_id: "acme" });
		expect(real.code).toBe("TENANT_NOT_FOUND");
		expect((await beta.refusal("cluster.usage", { tenant_id: "nobody" })).toWire()).toEqual(real.toWire());
		expect(await world.node.asAdmin("cluster.usage", { tenant_id: "acme" })).toMatchObject({ tenant_id: "acme" });
	});

	test("by full name is the same as by name", async () => {
		const beta = world.node.callsWith(world.keys.BETA!);
		expect((await beta.refusal("collections.get", { collection: "acme:docs" })).code).toBe("COLLECTION_NOT_FOUND");
	});
});

test("an admin who names no tenant works in the operators' own", async () => {
	expect((await world.node.refusal("collections.get", inDocs, { key: world.node.adminKey })).code).toBe(
		"COLLECTION_NOT_FOUND",
	);
	expect((await world.node.asAdmin("usage.own", {})).tenant_id).toBe("system");
});

test("a key in its grace period is told so, and no other", async () => {
	const facts = async (key: string) => (await world.node.call("collections.list", {}, { key })).facts;
	expect(await facts(world.keys.DEPRECATED!)).toMatchObject({ keyDeprecatedUntil: expect.any(String) });
	expect(await facts(world.keys.READ_WRITE!)).not.toHaveProperty("keyDeprecatedUntil");
});
