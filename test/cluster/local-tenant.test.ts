import { expect, test } from "bun:test";
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HiveError } from "../../src/base/errors.ts";
import { type CollectionId, newCollectionId, systemRandom, type TenantId } from "../../src/base/ids.ts";
import { collectionFolder, shardFolder, tenantFolder, trashFolder } from "../../src/shards/data-folder.ts";
import { Signal } from "../shards/fixtures.ts";
import { ACME, codeOf, errorOf, newCollection, TestNode } from "./cluster-fixture.ts";

const one = (id = "a") => ({ ids: [id], vectors: new Float32Array([1, 2]), payloads: [undefined] });
const folderOf = (node: TestNode, id: CollectionId): string => collectionFolder(node.folder.path, ACME, id);

test("collections are listed by name and had by name only", async () => {
	await using node = await TestNode.start();
	const tenant = node.tenants.tenant(ACME);
	await tenant.createCollection(newCollection("b"));
	await tenant.createCollection(newCollection("a"));
	expect((await tenant.listCollections()).map((record) => record.name as string)).toEqual(["a", "b"]);
	expect((await tenant.collection("a")).record.name as string).toBe("a");
	for (const name of ["c", "__proto__", "constructor", "../a", ""]) {
		const error = await errorOf(tenant.collection(name));
		expect(error.toWire()).toEqual({
			code: "COLLECTION_NOT_FOUND",
			message: `collection ${name} does not exist`,
		});
	}
	expect(await codeOf(tenant.createCollection(newCollection("a")))).toBe("COLLECTION_EXISTS");
});

test("one tenant's collection is to another as if it never was", async () => {
	await using node = await TestNode.start();
	node.hub.addTenant("other");
	await node.tenants.tenant(ACME).createCollection(newCollection("docs"));
	const other = node.tenants.tenant("other" as TenantId);
	const foreign = await errorOf(other.collection("docs"));
	const unused = await errorOf(other.collection("never"));
	expect(foreign.message.replace("docs", "never")).toBe(unused.message);
	expect(foreign.details).toBeUndefined();
	expect(await codeOf(other.deleteCollection("docs"))).toBe("COLLECTION_NOT_FOUND");
	expect(await other.usage()).toMatchObject({ collectionCount: 0, storageBytes: 0 });
});

test("a deleted collection is gone with its files, and its name can be used anew", async () => {
	await using node = await TestNode.start();
	const tenant = node.tenants.tenant(ACME);
	const first = await tenant.createCollection(newCollection("docs", { shards: 2 }));
	await first.upsert(one());
	expect(readdirSync(folderOf(node, first.record.id)).sort()).toEqual(["0", "1", "created"]);
	await tenant.deleteCollection("docs");
	expect(existsSync(folderOf(node, first.record.id))).toBe(false);
	expect(readdirSync(trashFolder(node.folder.path))).toEqual([]);
	expect(await codeOf(first.count(undefined))).toBe("COLLECTION_NOT_FOUND");
	expect(await codeOf(first.upsert(one()))).toBe("COLLECTION_NOT_FOUND");
	expect(await codeOf(first.reconfigure({ ef_search: 9 }))).toBe("COLLECTION_NOT_FOUND");
	expect(await codeOf(tenant.deleteCollection("docs"))).toBe("COLLECTION_NOT_FOUND");
	const second = await tenant.createCollection(newCollection("docs"));
	expect(await second.count(undefined)).toBe(0);
	expect(await codeOf(first.reconfigure({ ef_search: 9 }))).toBe("COLLECTION_NOT_FOUND");
	expect((await tenant.usage()).vectorCount).toBe(0);
});

test("a call that was under way when its collection was deleted does not find it", async () => {
	await using node = await TestNode.start();
	const tenant = node.tenants.tenant(ACME);
	const collection = await tenant.createCollection(newCollection("docs"));
	const held = new Signal();
	node.beforeCall = (method) => (method === "count" ? held.promise : undefined);
	const count = codeOf(collection.count(undefined));
	await tenant.deleteCollection("docs");
	held.settle();
	expect(await count).toBe("COLLECTION_NOT_FOUND");
});

test("a cache that still names a deleted collection brings nothing back", async () => {
	await using node = await TestNode.start();
	const tenant = node.tenants.tenant(ACME);
	await tenant.createCollection(newCollection("docs"));
	const before = await node.hub.directory.collections(ACME);
	await tenant.deleteCollection("docs");
	node.hub.stale = before;
	expect(await codeOf(tenant.collection("docs"))).toBe("COLLECTION_NOT_FOUND");
	expect(await errorOf(tenant.deleteCollection("docs"))).toMatchObject({
		message: "collection docs does not exist",
	});
});

test("when a shard can't be made the collection is undone at the hub", async () => {
	await using node = await TestNode.start();
	const tenant = node.tenants.tenant(ACME);
	node.beforeCall = (method, shardIndex) => {
		if (method === "create" && shardIndex === 1) throw new HiveError("INTERNAL", "the disk is full");
	};
	expect(await errorOf(tenant.createCollection(newCollection("docs", { shards: 2 })))).toMatchObject({
		message: "the disk is full",
	});
	expect(await tenant.listCollections()).toEqual([]);
	expect(readdirSync(tenantFolder(node.folder.path, ACME))).toEqual([]);
	node.hub.before = (request) => {
		if (request === "deleteCollection") throw new HiveError("HUB_UNAVAILABLE", "away");
	};
	expect(await codeOf(tenant.createCollection(newCollection("docs", { shards: 2 })))).toBe("INTERNAL");
	expect(node.logged).toContain("a collection that could not be made could not be undone");
	// Named by the hub, made by its first use.
	node.beforeCall = () => {};
	expect(await (await tenant.collection("docs")).count(undefined)).toBe(0);
});

test("a failure of the hub to delete is passed on, and the collection stays", async () => {
	await using node = await TestNode.start();
	const tenant = node.tenants.tenant(ACME);
	await tenant.createCollection(newCollection("docs"));
	node.hub.before = () => {
		throw new HiveError("HUB_UNAVAILABLE", "away");
	};
	expect(await codeOf(tenant.deleteCollection("docs"))).toBe("HUB_UNAVAILABLE");
	expect(await (await tenant.collection("docs")).count(undefined)).toBe(0);
});

test("a collection whose making was cut short is made by its first use", async () => {
	await using node = await TestNode.start();
	const tenant = node.tenants.tenant(ACME);
	const nothing = node.hub.record(ACME, newCollection("nothing"));
	const half = node.hub.record(ACME, newCollection("half", { shards: 2 }));
	mkdirSync(join(folderOf(node, half.id), "0"), { recursive: true });
	writeFileSync(join(folderOf(node, half.id), "0", "junk"), "x");
	expect(await tenant.usage()).toMatchObject({ vectorCount: 0, storageBytes: 0, collectionCount: 2 });
	expect(existsSync(folderOf(node, nothing.id))).toBe(false);
	const handles = await Promise.all(["half", "half", "nothing"].map((name) => tenant.collection(name)));
	await handles[0]!.upsert(one());
	expect(await handles[1]!.count(undefined)).toBe(1);
	expect(await handles[2]!.count(undefined)).toBe(0);
	expect((await tenant.usage()).vectorCount).toBe(1);
	await node.restart();
	expect(await (await node.tenants.tenant(ACME).collection("half")).count(undefined)).toBe(1);
});

test("a shard that was made and is missing is an error, not an empty shard; the tenant's other collections go on", async () => {
	await using node = await TestNode.start();
	const lost = await node.tenants.tenant(ACME).createCollection(newCollection("lost", { shards: 2 }));
	await node.tenants.tenant(ACME).createCollection(newCollection("fine"));
	await node.restart();
	for (const shardIndex of [0, 1]) {
		rmSync(shardFolder(node.folder.path, { tenantId: ACME, collectionId: lost.record.id, shardIndex }), {
			recursive: true,
		});
	}
	const tenant = node.tenants.tenant(ACME);
	const error = await errorOf((await tenant.collection("lost")).count(undefined));
	expect(error.code).toBe("INTERNAL");
	expect(JSON.stringify(error.toWire())).not.toContain(node.folder.path);
	await (await tenant.collection("fine")).upsert(one());
	expect((await tenant.usage()).vectorCount).toBe(1);
	expect(node.logged).toContain("a shard did not tell what it holds");
});

test("the first use of a tenant removes folders of collections the hub does not know, and nothing else", async () => {
	await using node = await TestNode.start();
	const kept = await node.tenants.tenant(ACME).createCollection(newCollection("kept"));
	await kept.upsert(one());
	await node.restart();
	const orphan = newCollectionId(systemRandom);
	mkdirSync(join(folderOf(node, orphan), "0"), { recursive: true });
	mkdirSync(join(tenantFolder(node.folder.path, ACME), "not.a.collection"));
	await node.tenants.tenant(ACME).listCollections();
	await node.tenants.close();
	expect(existsSync(folderOf(node, orphan))).toBe(false);
	expect(readdirSync(tenantFolder(node.folder.path, ACME)).sort()).toEqual(
		["not.a.collection", kept.record.id as string].sort(),
	);
	expect(await (await node.tenants.tenant(ACME).collection("kept")).count(undefined)).toBe(1);
	expect(node.hub.listCount).toBe(1);
});

test("a collection that only a cache does not know yet keeps its folder", async () => {
	await using node = await TestNode.start();
	const before = await node.hub.directory.collections(ACME);
	const made = await node.tenants.tenant(ACME).createCollection(newCollection("docs"));
	await node.restart();
	node.hub.stale = before;
	const tenant = node.tenants.tenant(ACME);
	expect(await tenant.listCollections()).toEqual([]);
	await node.tenants.close();
	expect(existsSync(folderOf(node, made.record.id))).toBe(true);
	expect(node.hub.listCount).toBe(1);
});

test("a tenant's folder that can't be cleaned is a line in the log", async () => {
	await using node = await TestNode.start();
	mkdirSync(folderOf(node, newCollectionId(systemRandom)), { recursive: true });
	node.hub.before = () => {
		throw new HiveError("HUB_UNAVAILABLE", "away");
	};
	expect(await node.tenants.tenant(ACME).listCollections()).toEqual([]);
	await node.tenants.close();
	await Promise.resolve();
	expect(node.logged).toEqual(["a tenant's folder could not be cleaned"]);
});

test("a dropped tenant leaves nothing, whether its shards were open or not, and its id starts empty", async () => {
	await using node = await TestNode.start();
	await node.tenants.tenant(ACME).createCollection(newCollection("closed", { shards: 2 }));
	await node.restart();
	const tenant = node.tenants.tenant(ACME);
	const open = await tenant.createCollection(newCollection("open"));
	await open.upsert(one());
	const making = tenant.createCollection(newCollection("late"));
	const dropped = node.tenants.dropTenant(ACME);
	await making;
	await dropped;
	expect(existsSync(tenantFolder(node.folder.path, ACME))).toBe(false);
	expect(await codeOf(open.count(undefined))).toBe("COLLECTION_NOT_FOUND");
	await node.tenants.dropTenant(ACME);
	node.hub.addTenant(ACME);
	expect(await tenant.usage()).toMatchObject({ storageBytes: 0, vectorCount: 0, collectionCount: 0 });
	expect(await (await tenant.createCollection(newCollection("open"))).count(undefined)).toBe(0);
});

test("sweeping a tenant removes what the hub deleted by another way, and the whole tenant once the hub has none", async () => {
	await using node = await TestNode.start();
	const tenant = node.tenants.tenant(ACME);
	const kept = await tenant.createCollection(newCollection("kept"));
	const gone = await tenant.createCollection(newCollection("gone"));
	await gone.upsert(one());
	await kept.upsert(one());
	expect([...node.parts.shares.known()]).toEqual([{ tenantId: ACME, storageBytes: 144, vectorCount: 2 }]);
	await node.hub.directory.hub.deleteCollection(ACME, "gone");
	await node.tenants.sweepTenant(ACME);
	expect(existsSync(folderOf(node, gone.record.id))).toBe(false);
	expect(await codeOf(gone.count(undefined))).toBe("COLLECTION_NOT_FOUND");
	expect(await kept.count(undefined)).toBe(1);
	expect((await tenant.usage()).vectorCount).toBe(1);
	node.hub.tenants.delete(ACME);
	await node.tenants.sweepTenant(ACME);
	expect(existsSync(tenantFolder(node.folder.path, ACME))).toBe(false);
	expect(await codeOf(kept.count(undefined))).toBe("COLLECTION_NOT_FOUND");
	expect([...node.parts.shares.known()]).toEqual([]);
});

test("tenants the hub does not know are dropped from the disk", async () => {
	await using node = await TestNode.start();
	await node.tenants.tenant(ACME).createCollection(newCollection("docs"));
	for (let index = 0; index < 1_001; index++) node.hub.addTenant(`aa${index}`);
	const gone = "gone" as TenantId;
	mkdirSync(collectionFolder(node.folder.path, gone, newCollectionId(systemRandom)), { recursive: true });
	await node.tenants.dropUnknownTenants();
	expect(readdirSync(join(node.folder.path, "tenants"))).toEqual([ACME]);
});

test("a shard in doubt is asked again, and a node too busy to be asked does not count as empty", async () => {
	await using node = await TestNode.start();
	const tenant = node.tenants.tenant(ACME);
	const collection = await tenant.createCollection(newCollection("docs"));
	await collection.upsert(one());
	node.afterCall = (method) => {
		if (method === "upsert") throw new HiveError("INTERNAL", "the shard worker stopped");
	};
	node.beforeCall = (method) => {
		if (method === "stats") throw new HiveError("OVERLOADED", "busy");
	};
	expect(await codeOf(collection.upsert(one("b")))).toBe("INTERNAL");
	expect(await codeOf(tenant.usage())).toBe("OVERLOADED");
	node.beforeCall = () => {};
	expect((await tenant.usage()).vectorCount).toBe(2);
});
