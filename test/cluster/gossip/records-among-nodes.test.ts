import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { HiveError } from "../../../src/base/errors.ts";
import { hashKey, type NodeId } from "../../../src/base/ids.ts";
import type { HubClient } from "../../../src/hub/hub-client-types.ts";
import { CachedHubDirectory } from "../../../src/hub/hub-directory.ts";
import type { HubTransport } from "../../../src/hub/hub-http-client.ts";
import { HUB_LIMITS } from "../../../src/hub/hub-limits.ts";
import type { KeyRecord, NewKey } from "../../../src/hub/models.ts";
import type { RecordExchange } from "../../../src/hub/record-exchange.ts";
import { RecordExchanges } from "../../../src/hub/record-exchanges.ts";
import { type HubRig, newClient, newCollection, openHub, TestClock, temporaryFolder } from "../../hub/hub-rig.ts";
import { A, ACME, B, C, GossipRig, keyRecord, type StoredNumbers, tenantRecord } from "./gossip-rig.ts";

const newKey: NewKey = { name: "ci", permissions: ["READ_WRITE"], environment: "live", expires_at: null };
const never = new AbortController().signal;
const away: HubTransport = () => Promise.reject(new TypeError("connection refused"));
const codeOf = (promise: Promise<unknown>): Promise<string> =>
	promise.then(
		() => "no error",
		(error) => (error instanceof HiveError ? error.code : String(error)),
	);

/** A node's cache of hub records, told and asked by gossip. */
class Member {
	readonly asked: string[] = [];
	readonly directory: CachedHubDirectory;
	way: HubTransport;
	cursor: number | undefined;
	readonly #rig: GossipRig;
	readonly #nodeId: NodeId;

	constructor(rig: GossipRig, nodeId: NodeId, way: HubTransport, stored: StoredNumbers) {
		this.#rig = rig;
		this.#nodeId = nodeId;
		this.way = way;
		const { gossip, records } = rig.node(nodeId);
		this.directory = new CachedHubDirectory({
			client: newClient((request) => {
				const path = new URL(request.url).pathname.slice("/api/v1".length);
				if (path !== "/changes") this.asked.push(path);
				return this.way(request);
			}),
			clock: rig.time,
			ttlSeconds: 300,
			quotaTtlSeconds: 60,
			staleTtlSeconds: 3_600,
			entriesMax: 1_000,
			staleWaitMs: 50,
			shared: records,
			heardMark: {
				load: () => stored.heardTo,
				save: (cursor) => {
					stored.heardTo = cursor;
				},
			},
		});
		gossip.attach(this.directory);
		this.directory.onNews((change) => gossip.tell(change));
		gossip.start();
	}

	/** Reads the feed to its end, as a node does all the time that reaches the hub. */
	async follow(): Promise<void> {
		const page = await this.directory.hub.changes(this.cursor, 0, never);
		if (page.reset || this.cursor === undefined) this.directory.clear();
		for (const change of page.changes) this.directory.apply(change);
		this.cursor = page.cursor;
	}

	/** Asks the others for what it missed, as it does when it connects to them. */
	meet(...nodeIds: NodeId[]): void {
		for (const nodeId of nodeIds) this.#rig.node(this.#nodeId).gossip.peerConnected(nodeId);
	}
}

describe("hub records among nodes", () => {
	let folder: ReturnType<typeof temporaryFolder>;
	let hub: HubRig;
	let admin: HubClient;
	let rig: GossipRig;
	let members: Map<NodeId, Member>;
	const throughHub: HubTransport = (request) => hub.server.handle(request);
	const member = (nodeId: NodeId) => members.get(nodeId)!;
	const start = (nodeId: NodeId, way: HubTransport) => {
		members.set(nodeId, new Member(rig, nodeId, way, rig.node(nodeId).stored));
		return member(nodeId);
	};
	const restart = async (nodeId: NodeId, way: HubTransport) => {
		await rig.node(nodeId).gossip.stop();
		rig.start(nodeId);
		return start(nodeId, way);
	};
	const settle = async () => {
		await rig.time.pass(100);
	};
	const mint = async (): Promise<{ readonly hash: string; readonly record: KeyRecord }> => {
		const { api_key, record } = await admin.createKey(ACME, newKey);
		return { hash: hashKey(api_key), record };
	};

	beforeEach(async () => {
		folder = temporaryFolder();
		hub = await openHub({ sqlitePath: join(folder.path, "hub.db") });
		admin = hub.client();
		await admin.createTenant({ id: ACME, name: "Acme" });
		rig = new GossipRig();
		members = new Map();
		for (const nodeId of [A, B, C]) start(nodeId, nodeId === A ? throughHub : away);
		await member(A).follow();
		member(B).meet(A);
		member(C).meet(A);
		await settle();
	});

	afterEach(async () => {
		await Promise.all([...rig.nodes.values()].map(({ gossip }) => gossip.stop()));
		await hub.server.close();
		folder.remove();
	});

	test("a key that was validated on one node is answered by the others without the hub", async () => {
		const { hash, record } = await mint();
		await member(A).directory.lookupKey(hash);
		await settle();
		for (const nodeId of [B, C]) {
			expect((await member(nodeId).directory.lookupKey(hash))?.key).toEqual(record);
			expect(member(nodeId).asked).toEqual([]);
		}
		// Its tenant changes, as it does with every key that is made: nobody need ask for that either.
		await mint();
		await member(A).follow();
		await settle();
		rig.start(C);
		const newcomer = start(C, away);
		newcomer.meet(A);
		await settle();
		expect((await newcomer.directory.lookupKey(hash))?.tenant.api_keys_count).toBe(2);
		expect(newcomer.asked).toEqual([]);
		// One that nobody validated is for the hub to answer.
		const other = await mint();
		await member(A).follow();
		await settle();
		expect(await codeOf(newcomer.directory.lookupKey(other.hash))).toBe("HUB_UNAVAILABLE");
	});

	test("a revocation holds on all nodes though one alone reaches the hub", async () => {
		const { hash, record } = await mint();
		await member(A).directory.lookupKey(hash);
		await settle();
		for (const nodeId of [B, C]) await member(nodeId).directory.lookupKey(hash);
		await member(A).directory.hub.revokeKey(record.api_key_id);
		await rig.time.pass(200);
		for (const nodeId of [A, B, C]) {
			expect((await member(nodeId).directory.lookupKey(hash))?.key.rotation_status).toBe("revoked");
		}
		expect([member(B).asked, member(C).asked]).toEqual([[], []]);
		// Made elsewhere, it comes by A's feed.
		const second = await mint();
		await member(A).follow();
		await member(A).directory.lookupKey(second.hash);
		await settle();
		await member(B).directory.lookupKey(second.hash);
		await admin.revokeKey(second.record.api_key_id);
		await member(A).follow();
		await rig.time.pass(200);
		expect(member(B).directory.cachedKey(second.hash)?.key.rotation_status).toBe("revoked");
		expect((await member(C).directory.lookupKey(second.hash))?.key.rotation_status).toBe("revoked");
	});

	test("a revocation comes to a node that was cut off as soon as it meets another", async () => {
		const { hash, record } = await mint();
		await member(A).directory.lookupKey(hash);
		await settle();
		await member(C).directory.lookupKey(hash);
		rig.cut(A, C);
		rig.cut(B, C);
		await member(A).directory.hub.revokeKey(record.api_key_id);
		await settle();
		expect(member(C).directory.cachedKey(hash)?.key.rotation_status).toBe("active");
		rig.heal();
		member(C).meet(B);
		await settle();
		expect(member(C).directory.cachedKey(hash)?.key.rotation_status).toBe("revoked");
	});

	test("a revocation does not un-happen by a restart among nodes that have not heard of it", async () => {
		const { hash, record } = await mint();
		await member(A).directory.lookupKey(hash);
		await settle();
		for (const nodeId of [B, C]) await member(nodeId).directory.lookupKey(hash);
		member(C).meet(A);
		await settle();
		rig.cut(A, C);
		rig.cut(B, C);
		await member(A).directory.hub.revokeKey(record.api_key_id);
		await member(A).follow();
		await settle();
		rig.cut(A, B);
		const restarted = await restart(B, away);
		rig.network.heal();
		rig.heal();
		rig.cut(A, B);
		rig.cut(A, C);
		restarted.meet(C);
		await rig.time.pass(20_000);
		// C lets it in still. What B heard of before it was started again it holds against all who heard less.
		expect(member(C).directory.cachedKey(hash)?.key.rotation_status).toBe("active");
		expect(await codeOf(restarted.directory.lookupKey(hash))).toBe("HUB_UNAVAILABLE");
		rig.heal();
		restarted.meet(A);
		await settle();
		expect((await restarted.directory.lookupKey(hash))?.key.rotation_status).toBe("revoked");
	});

	test("a late answer of the hub brings nothing back that another node ended", async () => {
		const { hash, record } = await mint();
		await member(A).follow();
		await member(A).directory.lookupKey(hash);
		let answer = (): void => {};
		member(B).way = async (request) => {
			const response = await throughHub(request);
			await new Promise<void>((resolve) => {
				answer = resolve;
			});
			return response;
		};
		await rig.time.pass(400_000);
		const asking = member(B).directory.lookupKey(hash);
		while (member(B).asked.length === 0) await Bun.sleep(1);
		await member(A).directory.hub.revokeKey(record.api_key_id);
		await settle();
		await Bun.sleep(5);
		answer();
		expect((await asking)?.key.rotation_status).toBe("revoked");
	});

	test("a tenant that is suspended, deleted, and there again, is so on all nodes", async () => {
		const { hash } = await mint();
		await member(A).directory.lookupKey(hash);
		await settle();
		await member(B).directory.lookupKey(hash);
		await member(A).directory.hub.updateTenant(ACME, { active: false });
		await settle();
		expect(member(B).directory.cachedKey(hash)?.tenant.active).toBe(false);
		await member(A).directory.hub.deleteTenant(ACME);
		await member(A).follow();
		await settle();
		expect(member(B).directory.cachedKey(hash)).toBeUndefined();
		expect(await codeOf(member(B).directory.tenant(ACME))).toBe("HUB_UNAVAILABLE");
		await admin.createTenant({ id: ACME, name: "Another" });
		await member(A).follow();
		await member(A).directory.hub.setQuota(ACME, { max_storage_bytes: 5, max_vectors: null, max_collections: null });
		await member(A).directory.tenant(ACME);
		await rig.time.pass(61_000);
		await member(A).directory.tenant(ACME);
		await settle();
		expect((await member(B).directory.tenant(ACME))?.name).toBe("Another");
		// The end of the first, told late, does not end the second.
		member(B).directory.heardFromPeer({ kind: "tenant", cursor: 3, tenant_id: ACME, record: null });
		expect((await member(B).directory.tenant(ACME))?.name).toBe("Another");
		expect(await codeOf(member(B).directory.lookupKey(hash))).toBe("HUB_UNAVAILABLE");
	});

	test("a collection made through one node is seen at once through another, and its end too", async () => {
		member(B).way = throughHub;
		await member(B).follow();
		expect([...(await member(B).directory.collections(ACME)).keys()]).toEqual([]);
		await member(A).directory.hub.createCollection(ACME, newCollection("docs"));
		await settle();
		expect([...(await member(B).directory.collections(ACME)).keys()]).toEqual(["docs"]);
		expect(member(B).asked).toEqual(["/tenants/acme/collections"]);
		const { id } = (await member(B).directory.collections(ACME)).get("docs" as never)!;
		await member(A).follow();
		await member(A).directory.hub.deleteCollection(ACME, "docs");
		await member(A).follow();
		await settle();
		expect([...(await member(B).directory.collections(ACME)).keys()]).toEqual([]);
		// Its making, told late, does not bring it back: the list is newer.
		await member(B).follow();
		const record = {
			...newCollection("docs"),
			id,
			tenant_id: ACME,
			created_at: "2030-01-01T00:00:00.000Z",
			revision: 2,
		};
		member(B).directory.clear();
		await member(B).directory.collections(ACME);
		member(B).directory.heardFromPeer({
			kind: "collection",
			cursor: 2,
			tenant_id: ACME,
			collection_id: id,
			name: "docs",
			record,
		});
		expect([...(await member(B).directory.collections(ACME)).keys()]).toEqual([]);
	});

	test("changes that nobody told of empty the cache: what was missed may have been a revocation", async () => {
		const { hash } = await mint();
		await member(A).directory.lookupKey(hash);
		await settle();
		await member(B).directory.lookupKey(hash);
		const { directory } = member(B);
		const { to } = directory.knownChanges()!;
		directory.peerKnows({ from: to + 5, to: to + 9 });
		expect(directory.cachedKey(hash)).toBeDefined();
		await rig.time.pass(HUB_LIMITS.gapMsMax);
		directory.peerKnows({ from: to + 5, to: to + 9 });
		expect(directory.cachedKey(hash)).toBeUndefined();
		expect(await codeOf(directory.lookupKey(hash))).toBe("HUB_UNAVAILABLE");
	});

	test("a hub that went back to an older state is believed on all nodes, also where it can't be reached", async () => {
		for (let count = 0; count < 5; count++) await mint();
		await member(A).follow();
		const { hash } = await mint();
		await member(A).follow();
		await member(A).directory.lookupKey(hash);
		await settle();
		await member(B).directory.lookupKey(hash);
		expect(member(B).directory.cachedKey(hash)).toBeDefined();
		// The hub as it was when it was made: the same tenant, none of the keys.
		const older = await openHub({ sqlitePath: join(folder.path, "older.db") }, new TestClock());
		await older.client().createTenant({ id: ACME, name: "Acme" });
		member(A).way = (request) => older.server.handle(request);
		await member(A).follow();
		await settle();
		expect(rig.node(B).stored.generation).toBe(1);
		expect(member(B).directory.cachedKey(hash)).toBeUndefined();
		expect(await codeOf(member(B).directory.lookupKey(hash))).toBe("HUB_UNAVAILABLE");
		// Its revisions, lower than those before, count.
		const minted = await older.client().createKey(ACME, newKey);
		await member(A).follow();
		await member(A).directory.lookupKey(hashKey(minted.api_key));
		member(B).meet(A);
		await settle();
		expect((await member(B).directory.lookupKey(hashKey(minted.api_key)))?.key).toEqual(minted.record);
		await member(A).directory.hub.revokeKey(minted.record.api_key_id);
		await settle();
		expect(member(B).directory.cachedKey(hashKey(minted.api_key))?.key.rotation_status).toBe("revoked");
		await older.server.close();
	});

	test("without gossip nobody has anything, and nothing fails", async () => {
		const { GossipedRecords } = await import("../../../src/cluster/gossip/gossiped-records.ts");
		const records = new GossipedRecords(rig.time);
		const question = { askedAt: 1, atMs: 1 };
		records.shareKey("h", keyRecord(1, 1), question);
		records.shareTenant(tenantRecord(ACME, 1), question);
		records.hubWentBack();
		records.ended();
		records.keyWritten();
		records.tenantWritten();
		records.dropKey();
		records.dropTenant();
		expect([await records.key("h"), await records.tenant(ACME)]).toEqual([undefined, undefined]);
	});
});

describe("several places with records", () => {
	const question = { askedAt: 1, atMs: 1 };
	const place = (
		found: { revision: number; ageMs: number } | undefined,
		told: string[],
		name: string,
	): RecordExchange => {
		const tell = (what: string) => () => void told.push(`${name} ${what}`);
		return {
			key: async () => found && { record: keyRecord(1, found.revision), askedAt: 1, ageMs: found.ageMs },
			tenant: async () => found && { record: tenantRecord(ACME, found.revision), askedAt: 1, ageMs: found.ageMs },
			shareKey: tell("shareKey"),
			shareTenant: tell("shareTenant"),
			ended: tell("ended"),
			keyWritten: tell("keyWritten"),
			tenantWritten: tell("tenantWritten"),
			dropKey: tell("dropKey"),
			dropTenant: tell("dropTenant"),
			hubWentBack: tell("hubWentBack"),
		};
	};
	const among = (...found: ({ revision: number; ageMs: number } | undefined)[]) => {
		const told: string[] = [];
		const exchanges = found.map((one, index) => place(one, told, String(index)));
		return { told, all: new RecordExchanges({ exchanges, keySeconds: 10, tenantSeconds: 1 }) };
	};

	test("give the first that is fresh, else the newest, the youngest of equals", async () => {
		const fresh = { revision: 1, ageMs: 900 };
		const old = { revision: 3, ageMs: 20_000 };
		const revisionOf = async (...found: Parameters<typeof among>) =>
			(await among(...found).all.key("h"))?.record.revision;
		expect(await revisionOf(undefined, old, fresh)).toBe(1);
		expect(await revisionOf(old, undefined)).toBe(3);
		expect(await revisionOf(undefined)).toBeUndefined();
		expect(await revisionOf({ ...old, revision: 2 }, old)).toBe(3);
		expect((await among(old, { ...old, ageMs: 15_000 }).all.key("h"))?.ageMs).toBe(15_000);
		expect((await among({ ...old, ageMs: 15_000 }, old).all.tenant(ACME))?.ageMs).toBe(15_000);
	});

	test("are all told of everything", () => {
		const { told, all } = among(undefined, undefined);
		all.shareKey("h", keyRecord(1, 1), question);
		all.shareTenant(tenantRecord(ACME, 1), question);
		all.ended({ kind: "topology", cursor: 1, version: 1 });
		all.keyWritten("h", keyRecord(1, 1));
		all.tenantWritten(tenantRecord(ACME, 1));
		all.dropKey("h");
		all.dropTenant(ACME);
		all.hubWentBack();
		const calls = [
			"shareKey",
			"shareTenant",
			"ended",
			"keyWritten",
			"tenantWritten",
			"dropKey",
			"dropTenant",
			"hubWentBack",
		];
		expect(told).toEqual(calls.flatMap((call) => [`0 ${call}`, `1 ${call}`]));
	});
});
