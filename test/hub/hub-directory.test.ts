import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { HiveError } from "../../src/base/errors.ts";
import { hashKey, type TenantId } from "../../src/base/ids.ts";
import type { HubClient } from "../../src/hub/hub-client-types.ts";
import { CachedHubDirectory, type HubDirectoryOptions } from "../../src/hub/hub-directory.ts";
import type { HubTransport } from "../../src/hub/hub-http-client.ts";
import { HUB_LIMITS } from "../../src/hub/hub-limits.ts";
import type { NewKey, TenantRecord } from "../../src/hub/models.ts";
import { ACME, type HubRig, newClient, newCollection, openHub, TestClock, temporaryFolder } from "./hub-rig.ts";

const newKey: NewKey = { name: "ci", permissions: ["READ_WRITE"], environment: "live", expires_at: null };
const codeOf = (promise: Promise<unknown>): Promise<string> =>
	promise.then(
		() => "no error",
		(error) => (error instanceof HiveError ? error.code : String(error)),
	);

describe("the hub directory", () => {
	let folder: ReturnType<typeof temporaryFolder>;
	let rig: HubRig;
	let clock: TestClock;
	/** What the node's way to the hub does to a request. */
	let way: HubTransport;
	let asked: string[];
	let outcomes: string[];
	let directory: CachedHubDirectory;
	/** Another node: goes straight to the hub. */
	let elsewhere: HubClient;

	const throughHub: HubTransport = (request) => rig.server.handle(request);
	const away: HubTransport = () => Promise.reject(new TypeError("connection refused"));

	const openDirectory = (options: Partial<HubDirectoryOptions> = {}): CachedHubDirectory =>
		new CachedHubDirectory({
			client: newClient(
				(request) => {
					asked.push(`${request.method} ${new URL(request.url).pathname.slice("/api/v1".length)}`);
					return way(request);
				},
				{ timeoutSeconds: 5 },
			),
			clock,
			ttlSeconds: 300,
			quotaTtlSeconds: 60,
			staleTtlSeconds: 3_600,
			entriesMax: 1_000,
			staleWaitMs: 5,
			onLookup: (outcome) => outcomes.push(outcome),
			...options,
		});

	beforeEach(async () => {
		folder = temporaryFolder();
		clock = new TestClock();
		rig = await openHub({ sqlitePath: join(folder.path, "hub.db") }, clock);
		way = throughHub;
		asked = [];
		outcomes = [];
		directory = openDirectory();
		elsewhere = rig.client();
		await elsewhere.createTenant({ id: ACME, name: "Acme" });
	});

	afterEach(async () => {
		await rig.server.close();
		folder.remove();
	});

	const knownKey = async () => {
		const { api_key, record } = await elsewhere.createKey(ACME, newKey);
		const hash = hashKey(api_key);
		expect((await directory.lookupKey(hash))?.key).toEqual(record);
		asked = [];
		outcomes = [];
		return { hash, record };
	};
	/** Hands every change so far to the directory, as the feed would. */
	const applyFeed = async (from = 0) => {
		const page = await elsewhere.changes(from, 0, new AbortController().signal);
		for (const change of page.changes) directory.apply(change);
	};

	test("a key is asked for once and then answered from the cache, the same object each time", async () => {
		const { api_key } = await elsewhere.createKey(ACME, newKey);
		const hash = hashKey(api_key);
		expect(directory.cachedKey(hash)).toBeUndefined();
		const answers = await Promise.all(Array.from({ length: 20 }, () => directory.lookupKey(hash)));
		expect(new Set(answers).size).toBe(1);
		expect(asked).toEqual(["POST /keys/validate"]);
		expect(directory.cachedKey(hash)).toEqual(answers[0]);
		expect(directory.cachedKey(hash)).toBe(directory.cachedKey(hash)!);
		expect(await directory.lookupKey(hash)).toBe(directory.cachedKey(hash)!);
		expect(await directory.tenant(ACME)).toEqual(answers[0]!.tenant);
		expect(asked).toHaveLength(1);
	});

	test("an unknown key is remembered for a few seconds, but not past its making", async () => {
		const hash = hashKey("hh_live_nobody");
		expect(await directory.lookupKey(hash)).toBeUndefined();
		expect(await directory.lookupKey(hash)).toBeUndefined();
		expect(asked).toHaveLength(1);
		expect(outcomes).toEqual(["miss", "unknown"]);
		clock.advanceSeconds(HUB_LIMITS.unknownKeySeconds + 1);
		expect(await directory.lookupKey(hash)).toBeUndefined();
		expect(asked).toHaveLength(2);
		directory.apply({
			cursor: 99,
			kind: "key",
			key_hash: hash,
			tenant_id: ACME,
			record: (await elsewhere.createKey(ACME, newKey)).record,
		});
		await directory.lookupKey(hash);
		expect(asked).toHaveLength(3);
	});

	test("a key is refreshed with its tenant when either has passed its TTL", async () => {
		const { hash } = await knownKey();
		clock.advanceSeconds(60);
		expect(directory.cachedKey(hash)).toBeDefined();
		clock.advanceSeconds(1);
		await elsewhere.updateTenant(ACME, { active: false });
		expect(directory.cachedKey(hash)).toBeUndefined();
		expect((await directory.lookupKey(hash))?.tenant.active).toBe(false);
		expect(asked).toEqual(["POST /keys/validate"]);
		expect(directory.cachedKey(hash)?.tenant.active).toBe(false);
	});

	test("a key that the hub no longer knows is forgotten at its refresh", async () => {
		const { hash } = await knownKey();
		await elsewhere.deleteTenant(ACME);
		clock.advanceSeconds(61);
		expect(await directory.lookupKey(hash)).toBeUndefined();
		expect(await directory.tenant(ACME)).toBeUndefined();
		way = away;
		clock.advanceSeconds(10);
		expect(await codeOf(directory.lookupKey(hash))).toBe("HUB_UNAVAILABLE");
		expect(await codeOf(directory.tenant(ACME))).toBe("HUB_UNAVAILABLE");
	});

	test("while the hub is away what is cached works, what is not is HUB_UNAVAILABLE", async () => {
		const { hash } = await knownKey();
		await elsewhere.createCollection(ACME, newCollection("docs"));
		await directory.collections(ACME);
		expect(directory.connected).toBe(true);
		way = away;
		expect((await directory.lookupKey(hash))?.tenant.id).toBe(ACME);
		expect(await codeOf(directory.lookupKey(hashKey("hh_live_other")))).toBe("HUB_UNAVAILABLE");
		expect(directory.connected).toBe(false);
		expect(await codeOf(directory.tenant("globex" as TenantId))).toBe("HUB_UNAVAILABLE");
		expect(await codeOf(directory.collections("globex" as TenantId))).toBe("HUB_UNAVAILABLE");
		expect(await codeOf(directory.hub.createCollection(ACME, newCollection("more")))).toBe("HUB_UNAVAILABLE");
		clock.advanceSeconds(400);
		expect((await directory.lookupKey(hash))?.tenant.id).toBe(ACME);
		expect((await directory.tenant(ACME))?.id).toBe(ACME);
		expect([...(await directory.collections(ACME)).keys()]).toEqual(["docs"]);
		expect(outcomes).toContain("stale");
	});

	test("a stale record serves until its limit and not a second longer", async () => {
		const { hash } = await knownKey();
		await directory.collections(ACME);
		way = away;
		clock.advanceSeconds(60 + 3_600);
		expect((await directory.lookupKey(hash))?.key).toBeDefined();
		clock.advanceSeconds(1);
		expect(await codeOf(directory.lookupKey(hash))).toBe("HUB_UNAVAILABLE");
		expect(await codeOf(directory.tenant(ACME))).toBe("HUB_UNAVAILABLE");
		clock.advanceSeconds(300);
		expect(await codeOf(directory.collections(ACME))).toBe("HUB_UNAVAILABLE");
		way = throughHub;
		expect((await directory.lookupKey(hash))?.key).toBeDefined();
		expect(directory.connected).toBe(true);
	});

	test("a hub that is away is left alone by whoever has a stale record, and asked again after a rest", async () => {
		await knownKey();
		way = away;
		clock.advanceSeconds(61);
		await Promise.all([directory.tenant(ACME), directory.tenant(ACME)]);
		await directory.tenant(ACME);
		expect(asked).toHaveLength(1);
		clock.advanceSeconds(HUB_LIMITS.hubRestMs / 1_000 + 1);
		way = throughHub;
		await directory.tenant(ACME);
		expect(asked).toHaveLength(2);
		expect(directory.connected).toBe(true);
	});

	test("nobody with a stale record waits for a hub that hangs", async () => {
		await knownKey();
		way = () => new Promise(() => {});
		clock.advanceSeconds(61);
		expect((await directory.tenant(ACME))?.id).toBe(ACME);
		expect((await directory.tenant(ACME))?.id).toBe(ACME);
		expect(asked).toHaveLength(1);
	});

	test("a stale record that is deleted while the hub is asked does not serve", async () => {
		await knownKey();
		clock.advanceSeconds(61);
		way = () => {
			directory.apply({ cursor: 50, kind: "tenant", tenant_id: ACME, record: null });
			return away(new Request("http://hub.test"));
		};
		expect(await codeOf(directory.tenant(ACME))).toBe("HUB_UNAVAILABLE");
	});

	test("what the hub refuses is passed on, stale record or not", async () => {
		await directory.collections(ACME);
		await elsewhere.deleteTenant(ACME);
		clock.advanceSeconds(301);
		expect(await codeOf(directory.collections(ACME))).toBe("TENANT_NOT_FOUND");
	});

	test("a revocation made elsewhere arrives with the feed, and an older record never undoes it", async () => {
		const { hash, record } = await knownKey();
		const revoked = await elsewhere.revokeKey(record.api_key_id);
		await applyFeed();
		expect(directory.cachedKey(hash)?.key).toEqual(revoked);
		directory.apply({ cursor: 1, kind: "key", key_hash: hash, tenant_id: ACME, record });
		expect(directory.cachedKey(hash)?.key).toEqual(revoked);
		way = async (request) => {
			const answer = (await (await throughHub(request)).json()) as object;
			return Response.json({ ...answer, key: record });
		};
		clock.advanceSeconds(61);
		expect((await directory.lookupKey(hash))?.key).toEqual(revoked);
	});

	test("an answer that was on its way when the record changed is not kept", async () => {
		const { api_key, record } = await elsewhere.createKey(ACME, newKey);
		const hash = hashKey(api_key);
		const answered = Promise.withResolvers<void>();
		way = async (request) => {
			const response = await throughHub(request);
			await answered.promise;
			return response;
		};
		const early = [
			directory.lookupKey(hash),
			directory.tenant(ACME),
			directory.collections(ACME),
			directory.lookupKey(hashKey("hh_live_later")),
		];
		await Bun.sleep(0);
		const { cursor } = await elsewhere.changes(undefined, 0, new AbortController().signal);
		await elsewhere.revokeKey(record.api_key_id);
		await elsewhere.updateTenant(ACME, { name: "New" });
		await elsewhere.createCollection(ACME, newCollection("docs"));
		await applyFeed(cursor);
		answered.resolve();
		await Promise.all(early);
		expect(directory.cachedKey(hash)).toBeUndefined();
		expect((await directory.lookupKey(hash))?.key.rotation_status).toBe("revoked");
		expect((await directory.tenant(ACME))?.name).toBe("New");
		expect((await directory.collections(ACME)).has("docs")).toBe(true);
	});

	test("keys of a deleted tenant do not reach one that is given its id", async () => {
		const { hash } = await knownKey();
		await directory.hub.deleteTenant(ACME);
		await directory.hub.createTenant({ id: ACME, name: "Another" });
		expect((await directory.tenant(ACME))?.name).toBe("Another");
		expect(directory.cachedKey(hash)).toBeUndefined();
		expect(await directory.lookupKey(hash)).toBeUndefined();
	});

	test("whoever writes through the directory reads what it wrote: tenants", async () => {
		const { hash } = await knownKey();
		await directory.hub.updateTenant(ACME, { active: false });
		expect(directory.cachedKey(hash)?.tenant.active).toBe(false);
		const quota = { max_storage_bytes: 5, max_vectors: null, max_collections: null };
		expect(await directory.hub.setQuota(ACME, quota)).toEqual(quota);
		expect((await directory.tenant(ACME))?.quota).toEqual(quota);
		await directory.hub.createKey(ACME, newKey);
		expect((await directory.tenant(ACME))?.api_keys_count).toBe(2);
		await directory.hub.deleteTenant(ACME);
		expect(await directory.tenant(ACME)).toBeUndefined();
	});

	test("whoever writes through the directory reads what it wrote: keys", async () => {
		const { hash, record } = await knownKey();
		const rotated = await directory.hub.rotateKey(record.api_key_id, 60);
		expect((await directory.lookupKey(hash))?.key.rotation_status).toBe("deprecated");
		const newHash = hashKey(rotated.api_key);
		expect((await directory.lookupKey(newHash))?.key).toEqual(rotated.record);
		const revoked = await directory.hub.revokeKey(rotated.record.api_key_id);
		expect((await directory.lookupKey(newHash))?.key).toEqual(revoked);
		const unseen = await elsewhere.createKey(ACME, newKey);
		await directory.hub.revokeKey(unseen.record.api_key_id);
		expect((await directory.lookupKey(hashKey(unseen.api_key)))?.key.rotation_status).toBe("revoked");
		await directory.hub.rotateKey((await elsewhere.createKey(ACME, newKey)).record.api_key_id, 0);
		expect(await directory.hub.listKeys(ACME)).toHaveLength(5);
	});

	test("whoever writes through the directory reads what it wrote: collections", async () => {
		expect((await directory.collections(ACME)).size).toBe(0);
		const before = await directory.collections(ACME);
		const made = await directory.hub.createCollection(ACME, newCollection("docs"));
		asked = [];
		expect((await directory.collections(ACME)).get("docs")).toEqual(made);
		expect(before.size).toBe(0);
		const changed = await directory.hub.updateCollection(ACME, "docs", { ef_search: 77 });
		expect((await directory.collections(ACME)).get("docs")).toEqual(changed);
		await directory.hub.deleteCollection(ACME, "docs");
		expect((await directory.collections(ACME)).size).toBe(0);
		expect(asked.filter((call) => call.startsWith("GET"))).toEqual([]);
		// The feed now tells of its making, which is older than its end.
		directory.apply({
			cursor: made.revision,
			kind: "collection",
			tenant_id: ACME,
			collection_id: made.id,
			name: "docs",
			record: made,
		});
		expect((await directory.collections(ACME)).size).toBe(0);
		const again = await directory.hub.createCollection(ACME, newCollection("docs"));
		await applyFeed();
		expect((await directory.collections(ACME)).get("docs")).toEqual(again);
	});

	test("changes of collections elsewhere arrive with the feed, the older never over the newer", async () => {
		const first = await elsewhere.createCollection(ACME, newCollection("a"));
		await directory.collections(ACME);
		const newer = await directory.hub.updateCollection(ACME, "a", { replicas: 2 });
		const second = await elsewhere.createCollection(ACME, newCollection("b"));
		const change = { kind: "collection", tenant_id: ACME, collection_id: first.id, name: "a", record: first } as const;
		directory.apply({ ...change, cursor: first.revision });
		directory.apply({ ...change, cursor: second.revision, collection_id: second.id, name: "b", record: second });
		asked = [];
		expect([...(await directory.collections(ACME)).values()]).toEqual([newer, second]);
		directory.apply({ ...change, cursor: 99, record: null });
		directory.apply({ cursor: 100, kind: "topology", version: 1 });
		expect([...(await directory.collections(ACME)).keys()]).toEqual(["b"]);
		expect(asked).toEqual([]);
		way = async () => Response.json({ collections: [first, second] });
		clock.advanceSeconds(301);
		expect([...(await directory.collections(ACME)).keys()]).toEqual(["b"]);
	});

	test("a write whose fate is unknown makes the hub be asked again", async () => {
		const { hash, record } = await knownKey();
		const collection = await elsewhere.createCollection(ACME, newCollection("docs"));
		await directory.collections(ACME);
		const losing: HubTransport = async (request) => {
			const response = await throughHub(request);
			return request.method === "GET" || request.url.endsWith("validate") ? response : away(request);
		};
		const unsure: [() => Promise<unknown>, () => Promise<unknown>, unknown][] = [
			[
				() => directory.hub.updateTenant(ACME, { name: "New" }),
				async () => (await directory.tenant(ACME))?.name,
				"New",
			],
			[
				() => directory.hub.setQuota(ACME, { max_storage_bytes: 1, max_vectors: 2, max_collections: 9 }),
				async () => (await directory.tenant(ACME))?.quota.max_vectors,
				2,
			],
			[() => directory.hub.createKey(ACME, newKey), async () => (await directory.tenant(ACME))?.api_keys_count, 2],
			[
				() => directory.hub.updateCollection(ACME, "docs", { replicas: 3 }),
				async () => (await directory.collections(ACME)).get("docs")?.replicas,
				3,
			],
			[
				() => directory.hub.createCollection(ACME, newCollection("more")),
				async () => (await directory.collections(ACME)).size,
				2,
			],
			[
				() => directory.hub.deleteCollection(ACME, "docs"),
				async () => (await directory.collections(ACME)).has("docs"),
				false,
			],
			[
				() => directory.hub.rotateKey(record.api_key_id, 60),
				async () => (await directory.lookupKey(hash))?.key.rotation_status,
				"deprecated",
			],
			[
				() => directory.hub.revokeKey(record.api_key_id),
				async () => (await directory.lookupKey(hash))?.key.rotation_status,
				"revoked",
			],
			[() => directory.hub.deleteTenant(ACME), async () => await directory.tenant(ACME), undefined],
			[
				() => directory.hub.createTenant({ id: ACME, name: "Again" }),
				async () => (await directory.tenant(ACME))?.name,
				"Again",
			],
		];
		for (const [write, look, expected] of unsure) {
			way = losing;
			expect(await codeOf(write())).toBe("HUB_UNAVAILABLE");
			clock.advanceSeconds(HUB_LIMITS.hubRestMs / 1_000 + 1);
			expect(await look()).toEqual(expected);
		}
		expect(collection.id).toBeString();
	});

	test("a key rotated while the hub goes away does not go on as if nothing had happened", async () => {
		const { hash, record } = await knownKey();
		way = async (request) => {
			way = away;
			return await throughHub(request);
		};
		await directory.hub.rotateKey(record.api_key_id, 0);
		expect(await codeOf(directory.lookupKey(hash))).toBe("HUB_UNAVAILABLE");
		const other = await elsewhere.createKey(ACME, newKey);
		way = throughHub;
		await directory.lookupKey(hashKey(other.api_key));
		way = async (request) => {
			// Another node deletes the tenant between the two calls.
			way = throughHub;
			const response = await throughHub(request);
			await elsewhere.deleteTenant(ACME);
			return response;
		};
		await directory.hub.rotateKey(other.record.api_key_id, 60);
		expect(await directory.lookupKey(hashKey(other.api_key))).toBeUndefined();
	});

	test("a quota set while the hub goes away is set, and asked for again", async () => {
		await directory.tenant(ACME);
		way = async (request) => {
			way = away;
			return await throughHub(request);
		};
		const quota = { max_storage_bytes: 5, max_vectors: null, max_collections: null };
		expect(await directory.hub.setQuota(ACME, quota)).toEqual(quota);
		way = throughHub;
		clock.advanceSeconds(HUB_LIMITS.hubRestMs / 1_000 + 1);
		expect((await directory.tenant(ACME))?.quota).toEqual(quota);
	});

	test("calls that change nothing go through to the hub", async () => {
		const { hub } = directory;
		expect((await hub.health()).status).toBe("ok");
		expect((await hub.listTenants({ limit: 5 })).tenants).toHaveLength(2);
		expect((await hub.getQuota(ACME)).max_vectors).toBeNull();
		expect(await hub.listCollections(ACME)).toEqual([]);
		await hub.reportUsage({ node_id: "n1", sequence: 1, entries: [] });
		await hub.sendLogs([]);
		expect(await hub.putTopology({ version: 1, members: [], retired: [] })).toEqual(await hub.getTopology());
		const controller = new AbortController();
		controller.abort();
		expect(await codeOf(hub.changes(1, 60, controller.signal))).toBe("HUB_UNAVAILABLE");
		expect(directory.connected).toBe(true);
	});

	test("the caches are bounded: the least recently used goes first", async () => {
		directory = openDirectory({ entriesMax: 2 });
		const hashes: string[] = [];
		for (let index = 0; index < 3; index++) {
			hashes.push(hashKey((await elsewhere.createKey(ACME, newKey)).api_key));
			await directory.lookupKey(hashes[index]!);
		}
		expect(hashes.map((hash) => directory.cachedKey(hash) !== undefined)).toEqual([false, true, true]);
	});

	test("questions that wait for the hub are bounded", async () => {
		const waiting = Promise.withResolvers<Response>();
		directory = openDirectory({ client: { ...stubClient(), validateKey: () => waiting.promise as never } });
		const lookups = Array.from({ length: HUB_LIMITS.lookupsInFlightMax }, (_, index) =>
			codeOf(directory.lookupKey(`hash-${index}`)),
		);
		expect(await codeOf(directory.lookupKey("one-more"))).toBe("OVERLOADED");
		waiting.reject(new HiveError("OVERLOADED", "too much"));
		expect(new Set(await Promise.all(lookups))).toEqual(new Set(["OVERLOADED"]));
		expect(directory.connected).toBe(false);
	});

	test("a gap in the feed empties the caches", async () => {
		const { hash } = await knownKey();
		await directory.collections(ACME);
		directory.clear();
		expect(directory.cachedKey(hash)).toBeUndefined();
		asked = [];
		await directory.tenant(ACME);
		await directory.collections(ACME);
		expect(asked).toEqual(["GET /tenants/acme", "GET /tenants/acme/collections"]);
	});

	test("a tenant's newer record wins over the older one of a key's look-up", async () => {
		const { hash } = await knownKey();
		const old = (await elsewhere.getTenant(ACME))!;
		const newer: TenantRecord = await directory.hub.updateTenant(ACME, { active: false });
		directory.apply({ cursor: 1, kind: "tenant", tenant_id: ACME, record: old });
		expect(directory.cachedKey(hash)?.tenant).toEqual(newer);
		way = async (request) => {
			const answer = (await (await throughHub(request)).json()) as object;
			return Response.json({ ...answer, tenant: old });
		};
		clock.advanceSeconds(301);
		expect((await directory.lookupKey(hash))?.tenant).toEqual(newer);
	});
});

/** A client whose calls nobody makes. */
function stubClient(): HubClient {
	const client = newClient(() => Promise.reject(new Error("not asked")));
	return Object.fromEntries(
		Object.getOwnPropertyNames(Object.getPrototypeOf(client)).map((name) => [
			name,
			() => Promise.reject(new Error(name)),
		]),
	) as unknown as HubClient;
}
