import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { type Client, createClient } from "graphql-ws";
import { GRAPHQL_LIMITS } from "../../src/api/graphql/graphql-limits.ts";
import { Workshop } from "../node/node-fixture.ts";
import { OperationsNode, type Output } from "../operations/operations-fixture.ts";
import { graphqlOf } from "./graphql-fixture.ts";

const USAGE = "subscription { usageChanged { tenantId collections vectors } }";
const CHANGES = "subscription { collectionChanged { change name collection { vectors } } }";

let node: OperationsNode;
let url: string;
let serial = 0;

beforeAll(async () => {
	node = await OperationsNode.start();
	url = node.node.url;
});
afterAll(() => node.stop());

async function newTenant(more = {}): Promise<{ id: string; key: string; keyId: string }> {
	const id = `tenant-${++serial}`;
	await node.asAdmin("tenants.create", { id, ...more });
	const { api_key, api_key_id } = await node.newKey(id);
	return { id, key: api_key, keyId: api_key_id };
}

interface Closing {
	readonly code: number;
	readonly reason: string;
}

/** The library's own client; `closed` settles when the server hangs up. */
function clientWith(params: Record<string, unknown>): { client: Client; closed: Promise<Closing> } {
	const { promise: closed, resolve } = Promise.withResolvers<Closing>();
	const client = createClient({
		url: `${url.replace("http", "ws")}/graphql`,
		webSocketImpl: WebSocket,
		connectionParams: params,
		retryAttempts: 0,
		lazy: true,
		on: { closed: (event) => resolve(event as Closing) },
	});
	return { client, closed };
}

const next = async (events: AsyncIterableIterator<Output>): Promise<Output> => (await events.next()).value;

/** A connection that says what it likes. */
class RawSocket {
	readonly messages: Output[] = [];
	readonly closed: Promise<Closing>;
	readonly #socket: WebSocket;
	readonly #waiting: (() => void)[] = [];
	readonly opened: Promise<void>;

	constructor(headers: Record<string, string> = {}, protocols = ["graphql-transport-ws"]) {
		this.#socket = new WebSocket(`${url.replace("http", "ws")}/graphql`, { headers, protocols } as never);
		this.opened = new Promise((resolve) => this.#socket.addEventListener("open", () => resolve()));
		this.closed = new Promise((resolve) =>
			this.#socket.addEventListener("close", ({ code, reason }) => {
				resolve({ code, reason });
				for (const wake of this.#waiting.splice(0)) wake();
			}),
		);
		this.#socket.addEventListener("message", ({ data }) => {
			this.messages.push(JSON.parse(String(data)));
			for (const wake of this.#waiting.splice(0)) wake();
		});
	}

	send(message: unknown): this {
		this.#socket.send(typeof message === "string" ? message : JSON.stringify(message));
		return this;
	}

	async init(payload?: unknown): Promise<this> {
		await this.opened;
		this.send({ type: "connection_init", payload });
		await this.until(() => this.messages.some(({ type }) => type === "connection_ack"));
		return this;
	}

	async until(isSo: () => boolean): Promise<void> {
		while (!isSo()) {
			if (this.#socket.readyState === WebSocket.CLOSED) throw new Error("closed before it came to that");
			await new Promise<void>((resolve) => this.#waiting.push(resolve));
		}
	}

	of(id: string): Output[] {
		return this.messages.filter((message) => message.id === id);
	}

	close(): void {
		this.#socket.close();
	}
}

describe("a connection", () => {
	test("answers queries, mutations and errors like a request does, and says in fields what headers say there", async () => {
		const { id, key } = await newTenant();
		const { client } = clientWith({ authorization: `Bearer ${key}` });
		const made = await next(
			client.iterate({ query: `mutation { createCollection(name: "docs", dimension: 3) { name } }` }),
		);
		expect(made.data).toEqual({ createCollection: { name: "docs" } });
		expect(made.extensions).toMatchObject({ tenant_id: id, rate_limit: { limit: 1000000 }, storage: { used: 0 } });
		const mixed = await next(client.iterate({ query: `{ me { tenantId } collection(name: "none") { name } }` }));
		expect(mixed.data).toEqual({ me: { tenantId: id }, collection: null });
		expect(mixed.errors[0].extensions).toMatchObject({ code: "COLLECTION_NOT_FOUND" });
		const wrong = await next(client.iterate({ query: "{ nope }" })).catch((errors: Output) => errors);
		expect(wrong[0].extensions.code).toBe("VALIDATION_FAILED");
		await client.dispose();
	});

	test("is authenticated by its upgrade or by connection_init, and refused with the code of the reason", async () => {
		const { key } = await newTenant();
		const byHeader = await new RawSocket({ authorization: `Bearer ${key}` }).init();
		byHeader.close();
		(await new RawSocket().init({ "X-API-Key": key })).close();
		const refusals: [Record<string, unknown>, number, string][] = [
			[{}, 4401, "AUTH_MISSING"],
			[{ authorization: "Bearer nonsense" }, 4401, "AUTH_INVALID_FORMAT"],
			[{ authorization: 7 }, 4400, "VALIDATION_FAILED"],
			[{ authorization: `Bearer hh_live_${"x".repeat(32)}` }, 4401, "AUTH_INVALID"],
			[{ authorization: `Bearer ${key}`, "x-tenant-id": "system" }, 4403, "TENANT_NOT_FOUND"],
			[{ authorization: `Bearer ${(await node.newKey("system", ["MCP"])).api_key}` }, 4403, "FORBIDDEN"],
		];
		for (const [params, code, reason] of refusals) {
			const socket = new RawSocket();
			await socket.opened;
			const closing = await socket.send({ type: "connection_init", payload: params }).closed;
			expect([closing.code, closing.reason.split(":")[0]]).toEqual([code, reason]);
		}
		const upgrade = await fetch(`${url}/graphql`, {
			headers: {
				upgrade: "websocket",
				connection: "upgrade",
				"sec-websocket-key": btoa("0123456789abcdef"),
				"sec-websocket-version": "13",
				"sec-websocket-protocol": "graphql-transport-ws",
				authorization: "Bearer nonsense",
			},
		});
		expect(upgrade.status).toBe(401);
	});

	test("of a foreign page is none", async () => {
		const { key } = await newTenant();
		const answer = await fetch(`${url}/graphql`, {
			headers: {
				upgrade: "websocket",
				connection: "upgrade",
				"sec-websocket-key": btoa("0123456789abcdef"),
				"sec-websocket-version": "13",
				"sec-websocket-protocol": "graphql-transport-ws",
				authorization: `Bearer ${key}`,
				origin: "https://evil.example",
			},
		});
		expect(answer.status).toBe(403);
	});

	test("acts for an admin in the tenant that is named", async () => {
		const { id } = await newTenant();
		const { client } = clientWith({ authorization: `Bearer ${node.adminKey}`, "x-tenant-id": id });
		expect((await next(client.iterate({ query: "{ me { tenantId homeTenantId } }" }))).data).toEqual({
			me: { tenantId: id, homeTenantId: "system" },
		});
		await client.dispose();
	});

	test("is charged for each operation, and for a message without any", async () => {
		const { key } = await newTenant({ rate_limits: { requests_per_minute: 4 } });
		const socket = await new RawSocket().init({ authorization: `Bearer ${key}` });
		for (const [id, query] of [
			["a", "{ me { tenantId } }"],
			["b", "{ nope }"],
			["c", "{ __schema { types { name } } }"],
			["d", "{ me { tenantId } }"],
			["e", "{ me { tenantId } }"],
			["f", "{ __typename }"],
		] as const) {
			socket.send({ type: "subscribe", id, payload: { query } });
			await socket.until(() => socket.of(id).length > 0);
		}
		const outcome = (id: string) => {
			const [{ type, payload }] = socket.of(id);
			return type === "error" ? payload[0].extensions.code : (payload.errors?.[0].extensions.code ?? "ok");
		};
		expect(["a", "b", "c", "d", "e", "f"].map(outcome)).toEqual([
			"ok",
			"VALIDATION_FAILED",
			"ok",
			"ok",
			"RATE_LIMITED",
			"RATE_LIMITED",
		]);
		socket.close();
	});
});

describe("a subscription", () => {
	test("tells the usage at once, and again when it has changed", async () => {
		const { id, key } = await newTenant();
		const ask = graphqlOf(url, key);
		const { client } = clientWith({ authorization: `Bearer ${key}` });
		const events = client.iterate({ query: USAGE });
		expect((await next(events)).data.usageChanged).toEqual({ tenantId: id, collections: 0, vectors: 0 });
		await ask(
			`mutation { createCollection(name: "docs", dimension: 3) { name } upsertVectors(collection: "docs", vectors: [{ vector: [1, 2, 3] }]) { ids } }`,
		);
		let seen: Output;
		do seen = (await next(events)).data.usageChanged;
		while (seen.vectors < 1);
		expect(seen).toEqual({ tenantId: id, collections: 1, vectors: 1 });
		await client.dispose();
	});

	test("tells which collections come, change and go, of this tenant alone", async () => {
		const [mine, theirs] = [await newTenant(), await newTenant()];
		const ask = graphqlOf(url, mine.key);
		const askTheirs = graphqlOf(url, theirs.key);
		const { client } = clientWith({ authorization: `Bearer ${mine.key}` });
		const usage = client.iterate({ query: USAGE });
		const events = client.iterate({ query: CHANGES });
		const changes: Output[] = [];
		const reading = (async () => {
			for await (const event of events) changes.push((event as Output).data.collectionChanged);
		})();
		await next(usage);
		/** Does it again now and then: what comes before the first look is no change. */
		const until = async (change: string, mutate: (round: number) => Promise<unknown>) => {
			for (let round = 0; !changes.some((seen) => seen.change === change); round++) {
				if (round % 50 === 0) await mutate(round);
				await Bun.sleep(50);
			}
		};
		await askTheirs(`mutation { createCollection(name: "secret", dimension: 3) { name } }`);
		let name = "";
		await until("CREATED", async (round) => {
			name = `docs-${round}`;
			await ask(`mutation { createCollection(name: "${name}", dimension: 3) { name } }`);
		});
		await until("UPDATED", () =>
			ask(`mutation { upsertVectors(collection: "${name}", vectors: [{ vector: [1, 2, 3] }]) { ids } }`),
		);
		await until("DELETED", () => ask(`mutation { deleteCollection(name: "${name}") { deleted } }`));
		expect(changes.every((seen) => seen.name.startsWith("docs-"))).toBe(true);
		expect(changes.find(({ change }) => change === "UPDATED").collection.vectors).toBeGreaterThan(0);
		expect(changes.find(({ change }) => change === "DELETED").collection).toBeNull();
		await client.dispose();
		await reading;
	});

	test("ends with its connection when the key is revoked, the tenant suspended or deleted, and so does every later message", async () => {
		const ends: [(tenant: { id: string; keyId: string }) => Promise<unknown>, number][] = [
			[({ id, keyId }) => node.asAdmin("keys.revoke", { tenant_id: id, key_id: keyId }), 4401],
			[({ id }) => node.asAdmin("tenants.update", { tenant_id: id, active: false }), 4403],
			[({ id }) => node.asAdmin("tenants.delete", { tenant_id: id }), 4401],
		];
		for (const [end, code] of ends) {
			const tenant = await newTenant();
			const waiting = await new RawSocket().init({ authorization: `Bearer ${tenant.key}` });
			waiting.send({ type: "subscribe", id: "u", payload: { query: USAGE } });
			await waiting.until(() => waiting.of("u").length === 1);
			const asking = await new RawSocket().init({ authorization: `Bearer ${tenant.key}` });
			await end(tenant);
			asking.send({ type: "subscribe", id: "q", payload: { query: "{ collections { name } }" } });
			const [silent, spoke] = await Promise.all([waiting.closed, asking.closed]);
			expect([silent.code, spoke.code]).toEqual([code, code]);
			expect(asking.of("q").filter(({ type }) => type === "next")).toEqual([]);
			expect(waiting.of("u").filter(({ type }) => type === "next")).toHaveLength(1);
		}
	});

	test("goes on with what the key may do now", async () => {
		const { id, key } = await newTenant();
		const socket = await new RawSocket().init({ authorization: `Bearer ${key}` });
		const other = await newTenant();
		socket.send({ type: "subscribe", id: "x", payload: { query: "{ tenants { id } }" } });
		await socket.until(() => socket.of("x").length > 0);
		expect(socket.of("x")[0].payload.errors[0].extensions.code).toBe("FORBIDDEN");
		expect(JSON.stringify(socket.messages)).not.toContain(other.id);
		expect(id).not.toBe(other.id);
		socket.close();
	});

	test("is refused over HTTP", async () => {
		const { key } = await newTenant();
		const { codes, errors } = await graphqlOf(url, key)(USAGE);
		expect(codes).toEqual(["VALIDATION_FAILED"]);
		expect(errors[0]!.message).toContain("not supported");
	});
});

describe("who abuses a connection is hung up on", () => {
	test("whoever does not say who they are in time, says it twice, or asks before", async () => {
		const silent = new RawSocket();
		const early = new RawSocket();
		await early.opened;
		expect(
			(await early.send({ type: "subscribe", id: "a", payload: { query: "{ me { tenantId } }" } }).closed).code,
		).toBe(4401);
		const { key } = await newTenant();
		const twice = await new RawSocket().init({ authorization: `Bearer ${key}` });
		expect((await twice.send({ type: "connection_init" }).closed).code).toBe(4429);
		expect((await silent.closed).code).toBe(4408);
	});

	test("whoever sends nonsense, too much, or the same name twice", async () => {
		const { key } = await newTenant();
		const closing = async (...messages: unknown[]): Promise<number> => {
			const socket = await new RawSocket().init({ authorization: `Bearer ${key}` });
			for (const message of messages) socket.send(message);
			return (await socket.closed).code;
		};
		const subscribe = { type: "subscribe", id: "a", payload: { query: USAGE } };
		expect(await closing("nonsense")).toBe(4400);
		expect(await closing({ type: "subscribe", id: "a", payload: { query: 7 } })).toBe(4400);
		expect(await closing({ type: "subscribe", id: "a", payload: {} })).toBe(4400);
		expect(await closing(subscribe, subscribe)).toBe(4409);
		// Some runtimes only say that the connection broke.
		expect([1009, 1006]).toContain(
			await closing({ ...subscribe, payload: { query: `# ${"x".repeat(GRAPHQL_LIMITS.messageBytesMax)}` } }),
		);
	});

	test("whoever has too much under way is refused more, and keeps what there is", async () => {
		const { key } = await newTenant();
		const socket = await new RawSocket().init({ authorization: `Bearer ${key}` });
		const max = GRAPHQL_LIMITS.operationsPerConnectionMax;
		for (let index = 0; index <= max; index++)
			socket.send({ type: "subscribe", id: `s${index}`, payload: { query: USAGE } });
		await socket.until(() => socket.of(`s${max}`).length > 0);
		expect(socket.of(`s${max}`)[0].payload[0].extensions.code).toBe("OVERLOADED");
		await socket.until(() => socket.of("s0").length > 0);
		expect(socket.of("s0")[0].type).toBe("next");
		socket.send({ type: "complete", id: "s0" });
		socket.send({ type: "subscribe", id: "again", payload: { query: "{ me { tenantId } }" } });
		await socket.until(() => socket.of("again").length > 0);
		expect(socket.of("again")[0].type).toBe("next");
		socket.close();
	});

	test("a tenant has so many connections and no more, and strangers of one address so many", async () => {
		const { key } = await newTenant();
		const sockets: RawSocket[] = [];
		for (let index = 0; index < GRAPHQL_LIMITS.connectionsPerTenantMax; index++) {
			sockets.push(await new RawSocket({ authorization: `Bearer ${key}` }).init());
		}
		const oneMore = new RawSocket({ authorization: `Bearer ${key}` });
		await oneMore.opened;
		const closing = await oneMore.send({ type: "connection_init" }).closed;
		expect([closing.code, closing.reason.split(":")[0]]).toEqual([1013, "OVERLOADED"]);
		sockets.pop()!.close();
		const { key: theirs } = await newTenant();
		(await new RawSocket({ authorization: `Bearer ${theirs}` }).init()).close();
		for (const socket of sockets) socket.close();
		await Promise.all(sockets.map(({ closed }) => closed));
	});

	test("whoever reads nothing gets no more written than the bound, and then the end of the connection", async () => {
		const { id, key } = await newTenant();
		await node.asAdmin("collections.create", { name: "docs", dimension: 3 }, id);
		const text = "x".repeat(100_000);
		for (let part = 0; part < 5; part++) {
			const vectors = Array.from({ length: 20 }, (_, index) => ({
				id: part * 20 + index,
				vector: [1, 1, 1],
				payload: { text },
			}));
			await node.asAdmin("vectors.upsert", { collection: "docs", vectors }, id);
		}
		const { port } = new URL(url);
		const socket = connect(Number(port), "127.0.0.1");
		const { promise: upgraded, resolve } = Promise.withResolvers<void>();
		const { promise: ended, resolve: end } = Promise.withResolvers<void>();
		socket.once("data", () => resolve());
		socket.on("error", () => {}).on("close", () => end());
		socket.write(
			`GET /graphql HTTP/1.1\r\nHost: 127.0.0.1:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ${btoa("0123456789abcdef")}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\nAuthorization: Bearer ${key}\r\n\r\n`,
		);
		await upgraded;
		socket.pause();
		socket.write(frame(JSON.stringify({ type: "connection_init" })));
		const query = `{ vectors(collection: "docs", first: 100) { edges { node { payload } } } }`;
		for (let index = 0; index < 40; index++)
			socket.write(frame(JSON.stringify({ type: "subscribe", id: `q${index}`, payload: { query } })));
		// Another client is served throughout.
		for (let round = 0; round < 20; round++) {
			expect((await graphqlOf(url, key)("{ me { tenantId } }")).codes).toEqual([]);
			await Bun.sleep(50);
		}
		// Each that was run holds 10 MB until the client takes it: of forty no more than may be under way at once.
		expect(await scrollCountOf(id)).toBeLessThanOrEqual(GRAPHQL_LIMITS.operationsPerConnectionMax);
		socket.destroy();
		await ended;
		expect((await graphqlOf(url, key)("{ me { tenantId } }")).codes).toEqual([]);
	});

	test("nothing of all this was a failure of the node's own", () => {
		expect(node.workshop.logLines.filter((line) => /"level":"(error|fatal)"/.test(line))).toEqual([]);
	});
});

async function scrollCountOf(tenantId: string): Promise<number> {
	const response = await fetch(`${url}/metrics`, { headers: { authorization: `Bearer ${node.adminKey}` } });
	return (await response.text())
		.split("\n")
		.filter(
			(line) => line.startsWith("hive_vector_tenant_requests_total{") && line.includes('operation="vectors.scroll"'),
		)
		.filter((line) => line.includes(`tenant_id="${tenantId}"`))
		.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
}

/** A masked text frame, as clients send. */
function frame(text: string): Uint8Array {
	const payload = Buffer.from(text);
	const head =
		payload.length < 126
			? [0x81, 0x80 | payload.length]
			: [0x81, 0x80 | 126, payload.length >> 8, payload.length & 255];
	return Buffer.concat([Buffer.from([...head, 0, 0, 0, 0]), payload]);
}

test("a single-tenant node needs no key here either, and lets no foreign page in", async () => {
	const workshop = new Workshop();
	const alone = await workshop.node(workshop.newDataDir());
	const client = createClient({ url: `${alone.url.replace("http", "ws")}/graphql`, webSocketImpl: WebSocket });
	expect((await next(client.iterate({ query: "{ me { tenantId } }" }))).data).toEqual({ me: { tenantId: "default" } });
	await client.dispose();
	const answer = await fetch(`${alone.url}/graphql`, {
		headers: {
			upgrade: "websocket",
			connection: "upgrade",
			"sec-websocket-key": btoa("0123456789abcdef"),
			"sec-websocket-version": "13",
			"sec-websocket-protocol": "graphql-transport-ws",
			origin: "https://evil.example",
		},
	});
	expect(answer.status).toBe(403);
	await workshop.clear();
});
