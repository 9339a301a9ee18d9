import { afterAll, afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { RedisClient } from "bun";
import { HiveError } from "../../src/base/errors.ts";
import { hashKey, newServiceKey, systemRandom, type TenantId } from "../../src/base/ids.ts";
import type { HubClient } from "../../src/hub/hub-client-types.ts";
import { CachedHubDirectory } from "../../src/hub/hub-directory.ts";
import type { HubTransport } from "../../src/hub/hub-http-client.ts";
import { HUB_LIMITS } from "../../src/hub/hub-limits.ts";
import type { KeyRecord, NewKey } from "../../src/hub/models.ts";
import { RecordSeal } from "../../src/hub/record-seal.ts";
import { type RedisConnection, RedisLink } from "../../src/hub/redis-link.ts";
import { SharedRecords } from "../../src/hub/shared-records.ts";
import {
	ACME,
	type HubRig,
	newClient,
	openHub,
	RunningClock,
	rejectionOf,
	SERVICE_KEY,
	TestClock,
	temporaryFolder,
} from "./hub-rig.ts";
import { startRedis } from "./redis-rig.ts";

const redis = await startRedis();
afterAll(async () => {
	if (redis.available) await redis.stop();
});

const newKey: NewKey = { name: "ci", permissions: ["READ_WRITE"], environment: "live", expires_at: null };
const never = new AbortController().signal;
const codeOf = (promise: Promise<unknown>): Promise<string> =>
	promise.then(
		() => "no error",
		(error) => (error instanceof HiveError ? error.code : String(error)),
	);

describe.skipIf(!redis.available)("a cache that nodes share", () => {
	if (!redis.available) return;
	const { url, client: onlooker } = redis;
	let folder: ReturnType<typeof temporaryFolder>;
	let rig: HubRig;
	let clock: TestClock;
	let hub: HubClient;
	/** Its own for each test. */
	let hubUrl: string;
	let links: RedisLink[];
	let testCount = 0;

	class Node {
		readonly asked: string[] = [];
		readonly outcomes: string[] = [];
		way: HubTransport = (request) => rig.server.handle(request);
		cursor: number | undefined;
		underWayCount = 0;
		readonly link: RedisLink;
		readonly directory: CachedHubDirectory;

		constructor(options: { seal?: RecordSeal } = {}) {
			this.link = new RedisLink({
				connect: () => this.connect(),
				clock,
				random: systemRandom,
			});
			links.push(this.link);
			this.directory = new CachedHubDirectory({
				client: newClient((request) => {
					const path = new URL(request.url).pathname.slice("/api/v1".length);
					if (path !== "/changes") this.asked.push(path);
					return this.way(request);
				}),
				clock,
				ttlSeconds: 300,
				quotaTtlSeconds: 60,
				staleTtlSeconds: 3_600,
				entriesMax: 1_000,
				staleWaitMs: 500,
				shared: new SharedRecords({
					redis: this.link,
					seal: options.seal ?? new RecordSeal(SERVICE_KEY, hubUrl),
					clock,
					keySeconds: 3_900,
					tenantSeconds: 3_660,
				}),
				onLookup: (outcome) => this.outcomes.push(outcome),
			});
		}

		/** Reads the feed to its end, as a node does all the time. */
		async follow(): Promise<this> {
			const page = await this.directory.hub.changes(this.cursor, 0, never);
			if (page.reset) this.directory.clear();
			for (const change of page.changes) this.directory.apply(change);
			this.cursor = page.cursor;
			return this;
		}

		/** A connection that counts what is under way. */
		private connect(): RedisConnection {
			const connection = new RedisClient(url, { autoReconnect: false });
			return {
				send: (command, args) => {
					this.underWayCount += 1;
					return connection.send(command, args).finally(() => {
						this.underWayCount -= 1;
					});
				},
				close: () => connection.close(),
			};
		}

		/** Until everything that was to be written is. */
		async written(): Promise<void> {
			do await Bun.sleep(0);
			while (this.underWayCount > 0);
		}
	}

	const newNode = () => new Node().follow();
	const names = async () => (await onlooker.keys(`${new RecordSeal(SERVICE_KEY, hubUrl).prefix}:*`)).sort();
	const nameOf = (hash: string) => `${new RecordSeal(SERVICE_KEY, hubUrl).prefix}:key:${hash}`;

	beforeEach(async () => {
		folder = temporaryFolder();
		clock = new TestClock();
		rig = await openHub({ sqlitePath: join(folder.path, "hub.db") }, clock);
		hub = rig.client();
		hubUrl = `http://hub-${testCount++}.test`;
		links = [];
		await hub.createTenant({ id: ACME, name: "Acme" });
	});

	afterEach(async () => {
		for (const link of links) link.close();
		await rig.server.close();
		folder.remove();
	});

	const mint = async () => {
		const { api_key, record } = await hub.createKey(ACME, newKey);
		return { apiKey: api_key, hash: hashKey(api_key), record };
	};
	/** A node that asked the hub for the key, and told the others. */
	const nodeThatKnows = async (hash: string) => {
		const node = await newNode();
		await node.directory.lookupKey(hash);
		await node.written();
		return node;
	};

	test("what one node had from the hub the others need not ask for, and its age counts", async () => {
		const { hash, record } = await mint();
		const one = await nodeThatKnows(hash);
		expect(one.asked).toEqual(["/keys/validate"]);
		const two = await newNode();
		clock.advanceSeconds(50);
		const answers = await Promise.all(Array.from({ length: 5 }, () => two.directory.lookupKey(hash)));
		expect(answers[0]).toMatchObject({ key: record, tenant: { id: ACME } });
		expect(await two.directory.tenant(ACME)).toEqual(answers[0]!.tenant);
		expect(two.asked).toEqual([]);
		expect(two.outcomes).toEqual([...Array(5).fill("shared"), "hit"]);
		// The tenant's minute is over, counted from when the hub was asked; who asks again does so for all.
		clock.advanceSeconds(11);
		await two.directory.lookupKey(hash);
		expect(two.asked).toEqual(["/keys/validate"]);
		await two.written();
		expect((await one.directory.lookupKey(hash))?.key).toEqual(record);
		expect((await one.directory.tenant(ACME))?.id).toBe(ACME);
		expect(one.asked).toHaveLength(1);
	});

	test("a tenant alone is shared too, and one that is fresh here is not asked for there", async () => {
		const one = await newNode();
		await one.directory.tenant(ACME);
		await one.written();
		const two = await newNode();
		expect((await two.directory.tenant(ACME))?.name).toBe("Acme");
		const { hash } = await mint();
		await Promise.all([one.follow(), two.follow()]);
		await one.directory.lookupKey(hash);
		await one.written();
		expect((await two.directory.lookupKey(hash))?.tenant.name).toBe("Acme");
		expect(two.asked).toEqual([]);
	});

	test("it holds hashes and records, never a key or the service key, and each entry ends by itself", async () => {
		const { apiKey, hash } = await mint();
		await nodeThatKnows(hash);
		const held = await names();
		expect(held).toHaveLength(2);
		for (const name of held) {
			const value = `${name} ${await onlooker.get(name)}`;
			for (const secret of [apiKey, SERVICE_KEY, hubUrl]) expect(value).not.toContain(secret);
			const ttl = await onlooker.ttl(name);
			expect(ttl).toBeGreaterThan(3_600);
			expect(ttl).toBeLessThanOrEqual(3_900);
		}
	});

	test("whoever can write there without the service key grants nothing", async () => {
		const revoked = await mint();
		await hub.revokeKey(revoked.record.api_key_id);
		const other = await mint();
		await nodeThatKnows(other.hash);
		const name = nameOf(revoked.hash);
		const seal = new RecordSeal(SERVICE_KEY, hubUrl);
		const stranger = new RecordSeal(newServiceKey(systemRandom), hubUrl);
		const now = { revision: 999, askedAt: 999, atMs: clock.nowMs() };
		const json = JSON.stringify(revoked.record);
		const otherValue = (await onlooker.get(nameOf(other.hash)))!;
		const [revision, askedAt, atMs, mac] = otherValue.split(":");
		const forged = [
			"",
			"nonsense",
			json,
			stranger.seal(name, { ...now, json }),
			seal.seal(nameOf(other.hash), { ...now, json }),
			otherValue,
			`${Number(revision) + 1}:${otherValue.slice(revision!.length + 1)}`,
			`${revision}:${Number(askedAt) + 500}:${atMs}:${mac}:${json}`,
			`${revision}:${askedAt}:${atMs}:${mac}:${json}`,
			`${revision}:${askedAt}:0:${mac}:`,
			"x".repeat(HUB_LIMITS.sharedEntryBytesMax * 2),
			// Sealed by a node of this hub: of another version, or with a clock far ahead.
			seal.seal(name, { ...now, json: '{"api_key_id":1}' }),
			seal.seal(name, { ...now, json: "{" }),
			seal.seal(name, { ...now, json, atMs: now.atMs + HUB_LIMITS.sharedClockSkewMs + 1 }),
		];
		for (const value of forged) {
			await onlooker.set(name, value);
			const node = await newNode();
			expect((await node.directory.lookupKey(revoked.hash))?.key.rotation_status, value.slice(0, 99)).toBe("revoked");
			expect(node.asked).toEqual(["/keys/validate"]);
		}
		await onlooker.del(name);
		await onlooker.send("RPUSH", [name, "a", "list"]);
		const node = await newNode();
		expect((await node.directory.lookupKey(revoked.hash))?.key.rotation_status).toBe("revoked");
		await node.written();
		expect(await onlooker.get(name)).toContain("revoked");
		const tenantName = (await names()).find((found) => found.includes(":tenant:"))!;
		await onlooker.set(tenantName, seal.seal(tenantName, { ...now, json: "{}" }));
		expect((await (await newNode()).directory.tenant(ACME))?.name).toBe("Acme");
	});

	test("nodes of another hub, or with another service key, share nothing with these", async () => {
		const { hash } = await mint();
		await nodeThatKnows(hash);
		for (const seal of [
			new RecordSeal(SERVICE_KEY, "http://other.test"),
			new RecordSeal(newServiceKey(systemRandom), hubUrl),
		]) {
			const stranger = await new Node({ seal }).follow();
			await stranger.directory.lookupKey(hash);
			expect(stranger.asked).toEqual(["/keys/validate"]);
		}
	});

	test("a revocation that the feed brings takes the record away from all, also from who hears of it later", async () => {
		const { hash, record } = await mint();
		const one = await nodeThatKnows(hash);
		const late = await newNode();
		await hub.revokeKey(record.api_key_id);
		await one.follow();
		await one.written();
		expect((await late.directory.lookupKey(hash))?.key.rotation_status).toBe("revoked");
		expect((await (await newNode()).directory.lookupKey(hash))?.key.rotation_status).toBe("revoked");
	});

	test("an old record brought back there, seal and all, revives no key: not where the revocation was heard, nor later", async () => {
		const { hash, record } = await mint();
		const heard = await nodeThatKnows(hash);
		const old = (await onlooker.get(nameOf(hash)))!;
		await hub.revokeKey(record.api_key_id);
		await heard.follow();
		heard.directory.clear();
		await heard.written();
		for (const node of [heard, await newNode()]) {
			await onlooker.set(nameOf(hash), old);
			expect((await node.directory.lookupKey(hash))?.key.rotation_status).toBe("revoked");
			expect(node.outcomes.at(-1)).toBe("miss");
		}
	});

	test("an answer that is late does not overwrite a newer one, nor what the feed has ended", async () => {
		const { hash, record } = await mint();
		const one = await nodeThatKnows(hash);
		const slow = await newNode();
		await onlooker.send("FLUSHALL", []);
		const made = Promise.withResolvers<void>();
		const gate = Promise.withResolvers<void>();
		slow.way = async (request) => {
			const answer = await rig.server.handle(request);
			made.resolve();
			await gate.promise;
			return answer;
		};
		const answered = slow.directory.lookupKey(hash);
		await made.promise;
		await hub.revokeKey(record.api_key_id);
		await one.follow();
		await one.written();
		gate.resolve();
		// It had been asked for before the revocation, and the node has not heard of that.
		expect((await answered)?.key.rotation_status).toBe("active");
		await slow.written();
		expect(await onlooker.get(nameOf(hash))).toMatch(/^\d+:0:0:$/);

		// The same with the revoked record already there, and with a deleted tenant.
		await one.directory.lookupKey(hash);
		one.directory.clear();
		await one.directory.lookupKey(hash);
		await one.written();
		const revoked = await onlooker.get(nameOf(hash));
		expect(revoked).toContain("revoked");
		slow.directory.clear();
		slow.way = async () => {
			const tenant = await hub.getTenant(ACME);
			return Response.json({ key: record, tenant });
		};
		await slow.directory.lookupKey(hash);
		await slow.written();
		expect(await onlooker.get(nameOf(hash))).toBe(revoked);
	});

	test("keys and records of a deleted tenant are gone for all, and its id can be given again", async () => {
		const { hash } = await mint();
		const one = await nodeThatKnows(hash);
		const two = await newNode();
		const old = (await onlooker.get(nameOf(hash)))!;
		const before = await hub.getTenant(ACME);
		await one.directory.hub.deleteTenant(ACME);
		await one.directory.hub.createTenant({ id: ACME, name: "Another" });
		await one.written();
		await onlooker.set(nameOf(hash), old);
		// Before the feed says so, at the node that did it; then everywhere.
		expect((await one.directory.tenant(ACME))?.name).toBe("Another");
		expect(await one.directory.lookupKey(hash)).toBeUndefined();
		await one.follow();
		await one.written();
		await two.follow();
		expect(await two.directory.lookupKey(hash)).toBeUndefined();
		expect((await two.directory.tenant(ACME))?.name).toBe("Another");
		const tombstone = (await onlooker.get(nameOf(hash)))!;
		expect(tombstone).toMatch(/^0:\d+:0:$/);
		// Someone who was away all the time has an answer from before.
		const late = new SharedRecords({
			redis: one.link,
			seal: new RecordSeal(SERVICE_KEY, hubUrl),
			clock,
			keySeconds: 3_900,
			tenantSeconds: 3_660,
		});
		const { key } = JSON.parse(`{"key":${old.split(":").slice(4).join(":")}}`) as { key: KeyRecord };
		late.shareKey(hash, key, { askedAt: before!.revision, atMs: clock.nowMs() });
		await one.written();
		expect(await onlooker.get(nameOf(hash))).toBe(tombstone);
		expect(await onlooker.ttl(nameOf(hash))).toBeGreaterThan(3_900);
	});

	test("whoever writes at a node reads there what it wrote, whatever others still have", async () => {
		const revoked = await mint();
		const rotated = await mint();
		const one = await nodeThatKnows(revoked.hash);
		await one.directory.lookupKey(rotated.hash);
		await one.written();
		const writer = await newNode();
		// It has never seen the keys, so it can't know their hashes.
		await writer.directory.hub.revokeKey(revoked.record.api_key_id);
		await writer.directory.hub.rotateKey(rotated.record.api_key_id, 0);
		expect((await writer.directory.lookupKey(revoked.hash))?.key.rotation_status).toBe("revoked");
		expect((await writer.directory.lookupKey(rotated.hash))?.key.rotation_status).toBe("revoked");
		await writer.directory.hub.updateTenant(ACME, { active: false });
		expect((await writer.directory.tenant(ACME))?.active).toBe(false);
		// It knows this one, and what it was told goes to the others at once.
		const known = await mint();
		await Promise.all([one.follow(), writer.follow()]);
		for (const node of [one, writer]) await node.directory.lookupKey(known.hash);
		await writer.directory.hub.revokeKey(known.record.api_key_id);
		await writer.written();
		expect(await onlooker.get(nameOf(known.hash))).toMatch(/^\d+:0:0:$/);
		const other = await newNode();
		await hub.updateTenant(ACME, { active: true });
		await one.follow();
		await one.directory.tenant(ACME);
		await one.written();
		await other.follow();
		await other.directory.hub.setQuota(ACME, { max_storage_bytes: null, max_vectors: 7, max_collections: null });
		expect((await other.directory.tenant(ACME))?.quota.max_vectors).toBe(7);
	});

	test("a key that a webhook names is not taken from others who have not heard", async () => {
		const { hash, record } = await mint();
		await nodeThatKnows(hash);
		const node = await newNode();
		const value = (await onlooker.get(nameOf(hash)))!;
		await hub.revokeKey(record.api_key_id);
		node.directory.keyForgotten(hash);
		await node.written();
		await onlooker.set(nameOf(hash), value);
		expect((await node.directory.lookupKey(hash))?.key.rotation_status).toBe("revoked");
		expect(node.asked).toEqual(["/keys/validate"]);
	});

	test("before it knows where the feed stands a node takes nothing from others and tells them nothing", async () => {
		const { hash } = await mint();
		await nodeThatKnows(hash);
		const node = new Node();
		await node.directory.lookupKey(hash);
		expect(node.asked).toEqual(["/keys/validate"]);
		await onlooker.send("FLUSHALL", []);
		node.directory.clear();
		await node.directory.lookupKey(hash);
		await node.written();
		expect(await names()).toEqual([]);
	});

	test("after a gap a node counts only what was asked for since", async () => {
		const { hash, record } = await mint();
		await nodeThatKnows(hash);
		const node = await newNode();
		await hub.revokeKey(record.api_key_id);
		const { cursor } = await hub.changes(undefined, 0, never);
		node.directory.feedRead(node.cursor, { changes: [], cursor, reset: true });
		node.directory.clear();
		expect((await node.directory.lookupKey(hash))?.key.rotation_status).toBe("revoked");
	});

	test("when the hub went back to an older state, what others had from before does not count until it is too old anyway", async () => {
		const { hash } = await mint();
		const one = await nodeThatKnows(hash);
		const node = await newNode();
		node.directory.feedRead(node.cursor, { changes: [], cursor: 1, reset: true });
		node.directory.clear();
		await node.directory.lookupKey(hash);
		expect(node.asked).toEqual(["/keys/validate"]);
		clock.advanceSeconds(3_901);
		await one.directory.lookupKey(hash);
		await one.written();
		await node.follow();
		await node.directory.lookupKey(hash);
		expect(node.asked).toHaveLength(1);
	});

	test("an old record of others serves while the hub is away, and no longer than one of its own would", async () => {
		const { hash } = await mint();
		await nodeThatKnows(hash);
		const node = await newNode();
		node.way = () => Promise.reject(new TypeError("connection refused"));
		clock.advanceSeconds(400);
		expect((await node.directory.lookupKey(hash))?.tenant.id).toBe(ACME);
		expect(node.outcomes).toEqual(["stale"]);
		expect(await codeOf(node.directory.lookupKey(hashKey("hh_live_unknown")))).toBe("HUB_UNAVAILABLE");
		clock.advanceSeconds(3_300);
		expect(await codeOf(node.directory.lookupKey(hash))).toBe("HUB_UNAVAILABLE");
	});

	test("a record too large to share, or with a revision that makes no sense, is not", async () => {
		const node = await newNode();
		const tenant = (await hub.getTenant(ACME))!;
		node.way = async () => Response.json({ ...tenant, metadata: { text: "x".repeat(300_000) } });
		await node.directory.tenant(ACME);
		node.directory.clear();
		node.way = async () => Response.json({ ...tenant, revision: -1 });
		await node.directory.tenant(ACME);
		await node.written();
		expect(await names()).toEqual([]);
	});

	test("a page of many changes is written whole", async () => {
		const node = await newNode();
		const count = HUB_LIMITS.sharedWriteBatchMax * 2 + 1;
		for (let index = 0; index < count; index++) {
			node.directory.apply({ cursor: 100 + index, kind: "tenant", tenant_id: `tenant-${index}`, record: null });
		}
		await node.written();
		expect(await names()).toHaveLength(count);
	});

	test("more than may wait to be written is left out, and is a matter of the hub", async () => {
		const node = await newNode();
		for (let index = 0; index < HUB_LIMITS.sharedWritesWaitingMax + 10; index++) {
			node.directory.apply({ cursor: 100, kind: "tenant", tenant_id: `tenant-${index}`, record: null });
		}
		await node.written();
		expect(await names()).toHaveLength(HUB_LIMITS.sharedWritesWaitingMax);
	});
});

describe.skipIf(!redis.available)("a shared cache in trouble", () => {
	if (!redis.available) return;
	const changes: string[] = [];
	let link: RedisLink;
	let shared: SharedRecords;
	let clock: RunningClock;
	const record = { revision: 5 } as KeyRecord;

	beforeEach(() => {
		changes.length = 0;
		clock = new RunningClock();
		link = new RedisLink({
			connect: () =>
				new RedisClient(redis.url, { autoReconnect: false, connectionTimeout: HUB_LIMITS.sharedTimeoutMs }),
			clock,
			random: systemRandom,
			onChange: (isUp, reason) => changes.push(isUp ? "up" : `down: ${reason}`),
		});
		shared = new SharedRecords({
			redis: link,
			seal: new RecordSeal(SERVICE_KEY, "http://troubled.test"),
			clock,
			keySeconds: 100,
			tenantSeconds: 100,
		});
	});
	afterEach(() => link.close());

	/** Reads until nobody tries any more. */
	const readUntilGivenUp = async () => {
		while (changes.length === 0) expect(await shared.key("abc")).toBeUndefined();
	};
	const readUntilBack = async () => {
		while (!changes.includes("up")) {
			clock.advanceSeconds(HUB_LIMITS.breakerPauseMaxMs / 1_000);
			await shared.key("abc");
		}
	};

	test("one that hangs is absent, is soon left alone, and is used again once it answers", async () => {
		await link.send("PING", []);
		redis.hang();
		try {
			shared.shareKey("abc", record, { askedAt: 1, atMs: clock.nowMs() });
			await readUntilGivenUp();
			expect(changes).toEqual(["down: deadline passed"]);
			expect(String(await rejectionOf(link.send("PING", [])))).toContain("CircuitOpenError");
		} finally {
			redis.wake();
		}
		await readUntilBack();
		expect(await link.send("PING", [])).toBe("PONG");
	});

	test("one that is gone is absent, and is used again once it is back", async () => {
		await redis.kill();
		try {
			await readUntilGivenUp();
			expect(changes).toEqual(["down: ERR_REDIS_CONNECTION_CLOSED"]);
		} finally {
			await redis.restart();
		}
		await readUntilBack();
		expect(await link.send("PING", [])).toBe("PONG");
	});

	test("one that is gone and back between two questions costs one answer", async () => {
		expect(await link.send("PING", [])).toBe("PONG");
		await redis.kill();
		await redis.restart();
		await link.send("PING", []).catch(() => {});
		expect(await link.send("PING", [])).toBe("PONG");
		expect(changes).toEqual([]);
	});

	test("one that answers nonsense, or refuses, is absent", async () => {
		const garbage = Bun.listen({
			hostname: "127.0.0.1",
			port: 0,
			socket: { data: (socket) => void socket.write("HTTP/1.1 400 Bad Request\r\n\r\n") },
		});
		const nonsense = new RedisLink({
			connect: () =>
				new RedisClient(`redis://127.0.0.1:${garbage.port}`, { autoReconnect: false, connectionTimeout: 50 }),
			clock,
			random: systemRandom,
		});
		expect(await rejectionOf(nonsense.send("GET", ["a"]))).toBeInstanceOf(Error);
		nonsense.close();
		garbage.stop(true);
		expect(String(await rejectionOf(link.send("NO-SUCH-COMMAND", [])))).toContain("unknown command");
		// It is still the same connection.
		expect(await link.send("PING", [])).toBe("PONG");
	});

	test("commands under way are bounded, and none starts or goes on once the node stops", async () => {
		let isClosed = false;
		const waiting = Promise.withResolvers<unknown>();
		const stuck = new RedisLink({
			connect: () => ({
				send: () => waiting.promise,
				close() {
					isClosed = true;
				},
			}),
			clock: new TestClock(),
			random: systemRandom,
		});
		const sent = Array.from({ length: HUB_LIMITS.sharedCallsMax }, () =>
			stuck.send("GET", ["a"]).catch(() => "failed"),
		);
		expect(String(await rejectionOf(stuck.send("GET", ["a"])))).toContain("too many");
		stuck.close();
		expect(isClosed).toBe(true);
		waiting.reject(Object.assign(new Error("closed"), { code: "ERR_REDIS_CONNECTION_CLOSED" }));
		expect(new Set(await Promise.all(sent))).toEqual(new Set(["failed"]));
		expect(String(await rejectionOf(stuck.send("GET", ["a"])))).toContain("closed");
		stuck.close();
	});

	test("a tenant under another's name is nobody's", async () => {
		const seal = new RecordSeal(SERVICE_KEY, "http://troubled.test");
		const tenant = {
			id: ACME,
			name: "Acme",
			active: true,
			quota: { max_storage_bytes: null, max_vectors: null, max_collections: null },
			rate_limits: null,
			metadata: {},
			created_at: "2030-01-01T00:00:00Z",
			api_keys_count: 0,
			revision: 1,
		};
		const name = `${seal.prefix}:tenant:${hashKey("globex")}`;
		const facts = { revision: 1, askedAt: 1, atMs: clock.nowMs(), json: JSON.stringify(tenant) };
		await redis.client.set(name, seal.seal(name, facts));
		expect(await shared.tenant("globex" as TenantId)).toBeUndefined();
	});
});
