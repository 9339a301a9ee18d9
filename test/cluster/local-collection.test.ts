import { expect, test } from "bun:test";
import type { VectorId } from "../../src/base/ids.ts";
import { VECTOR_OVERHEAD_BYTES } from "../../src/base/limits.ts";
import type { Collection } from "../../src/cluster/tenant-types.ts";
import { compareIds } from "../../src/storage/id-order.ts";
import type { UpsertBatch } from "../../src/storage/shard-types.ts";
import { ACME, codeOf, errorOf, newCollection, TestNode } from "./cluster-fixture.ts";

const READ = { withPayload: true, withVector: false };
const BOTH = { withPayload: true, withVector: true };

/** One vector an id, at (position, 0), with the position as payload. */
function batch(ids: readonly VectorId[]): UpsertBatch {
	const vectors = new Float32Array(ids.length * 2);
	for (const position of ids.keys()) vectors[position * 2] = position;
	return { ids, vectors, payloads: ids.map((_, position) => JSON.stringify({ position })) };
}

const at = (x: number): Float32Array => new Float32Array([x, 0]);
const mixedIds: readonly VectorId[] = [..."abcdefghij", 1, 2, 3, 10, 100, "1", "😀", "\uffff", "é"];

async function filled(node: TestNode, shards: number): Promise<Collection> {
	const collection = await node.tenants.tenant(ACME).createCollection(newCollection("docs", { shards }));
	await collection.upsert(batch(mixedIds));
	return collection;
}

for (const shards of [1, 3]) {
	const over = `over ${shards} shard${shards === 1 ? "" : "s"}`;

	test(`what was upserted is read back in the order asked for, ${over}`, async () => {
		await using node = await TestNode.start();
		const collection = await filled(node, shards);
		const asked: VectorId[] = ["j", 1, "nothing", "1", 999, "😀"];
		const found = await collection.get(asked, BOTH);
		expect(found.map((stored) => stored?.id)).toEqual(["j", 1, undefined, "1", undefined, "😀"]);
		expect(found[0]).toEqual({ id: "j", payload: '{"position":9}', vector: at(9) });
		expect(await collection.get([], READ)).toEqual([]);
		expect(await collection.count(undefined)).toBe(mixedIds.length);
		expect(await collection.count({ must: [{ key: "position", range: { lt: 5 } }] })).toBe(5);
	});

	test(`an upsert says what it changed, and writing the same again changes nothing, ${over}`, async () => {
		await using node = await TestNode.start();
		const collection = await node.tenants.tenant(ACME).createCollection(newCollection("docs", { shards }));
		const written = await collection.upsert(batch(mixedIds));
		expect(written.vectorCountDelta).toBe(mixedIds.length);
		const again = await collection.upsert(batch(mixedIds));
		expect(again).toEqual({ vectorCountDelta: 0, bytesDelta: 0, affectedCount: mixedIds.length });
		expect(await collection.upsert({ ids: [], vectors: new Float32Array(0), payloads: [] })).toEqual({
			vectorCountDelta: 0,
			bytesDelta: 0,
			affectedCount: 0,
		});
		const stats = await collection.stats();
		expect(stats.vectorCount).toBe(mixedIds.length);
		expect(stats.bytes).toBe(written.bytesDelta);
		expect(stats.indexState).toBe("exact");
	});

	test(`an update changes one vector, ${over}`, async () => {
		await using node = await TestNode.start();
		const collection = await filled(node, shards);
		await collection.update({ id: "a", vector: at(50), payloadPatch: '{"colour":"red"}' });
		const [stored] = await collection.get(["a"], BOTH);
		expect(JSON.parse(stored?.payload ?? "")).toEqual({ position: 0, colour: "red" });
		expect(stored?.vector).toEqual(at(50));
		expect(await codeOf(collection.update({ id: "nothing", payloadPatch: "{}" }))).toBe("VECTOR_NOT_FOUND");
		expect(await codeOf(collection.update({ id: "nothing", vector: at(1) }))).toBe("VECTOR_NOT_FOUND");
	});

	test(`vectors are deleted by id and by filter, ${over}`, async () => {
		await using node = await TestNode.start();
		const collection = await filled(node, shards);
		const byId = await collection.delete({ ids: ["a", 1, "nothing"] });
		expect(byId).toMatchObject({ vectorCountDelta: -2, affectedCount: 2 });
		const byFilter = await collection.delete({ filter: { must: [{ key: "position", range: { lt: 5 } }] } });
		expect(byFilter.affectedCount).toBe(4);
		expect(await collection.count(undefined)).toBe(mixedIds.length - 6);
		expect((await collection.get(["a", "b", 2], READ)).map((stored) => stored?.id)).toEqual([undefined, undefined, 2]);
	});

	test(`scrolling page by page shows every vector once, in id order, ${over}`, async () => {
		await using node = await TestNode.start();
		const collection = await filled(node, shards);
		for (const limit of [1, 4, 7, 100]) {
			const seen: VectorId[] = [];
			let cursor: string | null | undefined;
			let pages = 0;
			while (cursor !== null) {
				const page = await collection.scroll({ ...READ, limit, ...(cursor === undefined ? {} : { cursor }) });
				expect(page.vectors.length).toBeLessThanOrEqual(limit);
				seen.push(...page.vectors.map((stored) => stored.id));
				cursor = page.cursor;
				pages++;
			}
			expect(seen).toEqual([...mixedIds].sort(compareIds));
			expect(pages).toBe(Math.ceil(mixedIds.length / limit));
		}
		const filtered = await collection.scroll({
			...READ,
			limit: 3,
			filter: { must: [{ key: "position", range: { gte: 10 } }] },
		});
		expect(filtered.vectors.map((stored) => stored.id)).toEqual([1, 2, 3]);
	});

	test(`a search finds the nearest, ties by id, ${over}`, async () => {
		await using node = await TestNode.start();
		const collection = await filled(node, shards);
		const [near, far] = await collection.search([
			{ ...BOTH, vector: at(4), k: 3 },
			{ ...READ, vector: at(100), k: 2 },
		]);
		expect(near?.hits.map((hit) => hit.id)).toEqual(["e", "d", "f"]);
		expect(near?.hits[0]).toMatchObject({ score: 0, payload: '{"position":4}', vector: at(4) });
		expect(near?.plan).toMatchObject({ kind: "exact", candidateCount: mixedIds.length });
		expect(far?.hits.map((hit) => hit.id)).toEqual(["é", "\uffff"]);
		const [few] = await collection.search([
			{ ...READ, vector: at(0), k: 5, filter: { must: [{ has_id: [1, "1", 3] }] } },
		]);
		expect(few?.hits.map((hit) => hit.id)).toEqual([1, 3, "1"]);
	});

	test(`a search by id leaves out the vector itself, ${over}`, async () => {
		await using node = await TestNode.start();
		const collection = await filled(node, shards);
		const [answer, other] = await collection.search([
			{ ...READ, id: "e", k: 2 },
			{ ...READ, vector: at(0), k: 1 },
		]);
		expect(answer?.hits.map((hit) => hit.id)).toEqual(["d", "f"]);
		expect(other?.hits.map((hit) => hit.id)).toEqual(["a"]);
		expect(await codeOf(collection.search([{ ...READ, id: "nothing", k: 2 }]))).toBe("VECTOR_NOT_FOUND");
	});
}

test("each shard holds its own part", async () => {
	await using node = await TestNode.start();
	const collection = await filled(node, 3);
	const counts = await Promise.all(
		[0, 1, 2].map((shardIndex) =>
			node.pool.call(
				{
					tenantId: ACME,
					collectionId: collection.record.id,
					shardIndex,
					config: { ...collection.record, payloadIndexes: {}, isReplicated: false },
					configRevision: 0,
				},
				"count",
				undefined,
			),
		),
	);
	expect(counts.every((count) => count > 0)).toBe(true);
	expect(counts.reduce((sum, count) => sum + count)).toBe(mixedIds.length);
});

test("a cursor that no page returned is refused and named", async () => {
	await using node = await TestNode.start();
	const collection = await filled(node, 1);
	const cursors = ["", "x", "%%%", Buffer.from("{}").toString("base64url"), Buffer.from("-1").toString("base64url")];
	cursors.push(`${Buffer.from('"a"').toString("base64url")}=`, Buffer.from("1e2").toString("base64url"));
	for (const cursor of cursors) {
		const error = await errorOf(collection.scroll({ ...READ, limit: 1, cursor }));
		expect(error).toMatchObject({ code: "VALIDATION_FAILED", details: { field: "cursor" } });
	}
});

test("usage follows what is written, updated and deleted", async () => {
	await using node = await TestNode.start();
	const tenant = node.tenants.tenant(ACME);
	const collection = await filled(node, 3);
	const expected = (await collection.stats()).bytes;
	expect(await tenant.usage()).toMatchObject({
		vectorCount: mixedIds.length,
		collectionCount: 1,
		storageBytes: expected,
	});
	await collection.delete({ ids: ["a"] });
	await collection.update({ id: "b", payloadPatch: '{"more":"text"}' });
	const stats = await collection.stats();
	const usage = await tenant.usage();
	expect(usage.storageBytes).toBe(stats.bytes);
	expect(usage.vectorCount).toBe(mixedIds.length - 1);
	await node.restart();
	const asked = await node.tenants.tenant(ACME).usage();
	expect({ bytes: asked.storageBytes, vectorCount: asked.vectorCount }).toEqual({
		bytes: stats.bytes,
		vectorCount: stats.vectorCount,
	});
});

test("a write reserves what it adds at most, equal ids once, and gives all of it back", async () => {
	await using node = await TestNode.start();
	const collection = await node.tenants.tenant(ACME).createCollection(newCollection("docs"));
	const twice: UpsertBatch = { ids: ["a", "a"], vectors: new Float32Array(4), payloads: ['{"long":"payload"}', "{}"] };
	await collection.upsert(twice);
	const one = 8 + VECTOR_OVERHEAD_BYTES;
	expect(node.gate.demands).toEqual([{ vectorCount: 1, bytes: one + 2 }]);
	await collection.update({ id: "a", payloadPatch: '{"é":1}' });
	expect(node.gate.demands[1]).toEqual({ vectorCount: 0, bytes: 8 });
	await collection.update({ id: "a", vector: at(1) });
	await collection.delete({ ids: ["a"] });
	expect(node.gate.demands).toHaveLength(2);
	expect([node.gate.reservedBytes, node.gate.reservedVectorCount]).toEqual([0, 0]);
	expect((await node.tenants.tenant(ACME).usage()).storageBytes).toBe(0);
});

test("at the quota, replacing what is there goes on and adding is refused with nothing written", async () => {
	await using node = await TestNode.start();
	const tenant = node.tenants.tenant(ACME);
	const collection = await filled(node, 3);
	node.gate.vectorCountMax = mixedIds.length;
	node.gate.bytesMax = (await tenant.usage()).storageBytes;
	const same = await collection.upsert(batch(mixedIds));
	expect(same).toEqual({ vectorCountDelta: 0, bytesDelta: 0, affectedCount: mixedIds.length });
	const refused = await errorOf(collection.upsert(batch(["a", "b", "new"])));
	expect(refused.code).toBe("QUOTA_EXCEEDED");
	expect(refused.details).toHaveProperty("usage");
	expect((await collection.get(["a", "new"], READ)).map((stored) => stored?.payload)).toEqual([
		'{"position":0}',
		undefined,
	]);
	expect(await codeOf(collection.update({ id: "a", payloadPatch: '{"more":1}' }))).toBe("QUOTA_EXCEEDED");
	await collection.update({ id: "a", payloadPatch: '{"position":7}' });
	await collection.delete({ ids: ["b"] });
	await collection.upsert(batch(["n"]));
	expect((await tenant.usage()).vectorCount).toBe(mixedIds.length);
	expect([node.gate.reservedBytes, node.gate.reservedVectorCount]).toEqual([0, 0]);
});

test("many writers at once never pass the quota", async () => {
	await using node = await TestNode.start();
	const collection = await node.tenants.tenant(ACME).createCollection(newCollection("docs", { shards: 3 }));
	node.gate.vectorCountMax = 50;
	const outcomes = await Promise.allSettled(
		Array.from({ length: 80 }, (_, index) => collection.upsert(batch([index, `s${index % 7}`]))),
	);
	const count = await collection.count(undefined);
	expect(count).toBeLessThanOrEqual(50);
	expect(count).toBeGreaterThan(0);
	expect(outcomes.some((outcome) => outcome.status === "rejected")).toBe(true);
	const usage = await node.tenants.tenant(ACME).usage();
	expect(usage.vectorCount).toBe(count);
	expect(usage.storageBytes).toBe((await collection.stats()).bytes);
	// What others had reserved is free again.
	for (let index = count; index < 50; index++) await collection.upsert(batch([`later${index}`]));
	expect(await codeOf(collection.upsert(batch(["one more"])))).toBe("QUOTA_EXCEEDED");
	expect(await collection.count(undefined)).toBe(50);
});

test("a measured write is measured again when others changed what it found, and gives up in the end", async () => {
	await using node = await TestNode.start();
	const collection = await filled(node, 1);
	node.gate.vectorCountMax = mixedIds.length;
	let removals = 1;
	node.afterCall = async (method) => {
		if (method !== "measure" || removals === 0) return;
		removals--;
		await collection.delete({ ids: ["a"] });
	};
	expect(await collection.upsert(batch(["a"]))).toMatchObject({ vectorCountDelta: 1 });
	node.afterCall = async (method) => {
		if (method !== "measure") return;
		await collection.delete({ ids: ["a", "b"] });
		node.gate.vectorCountMax = 0;
	};
	expect(await codeOf(collection.upsert(batch(["a"])))).toBe("QUOTA_EXCEEDED");
	node.afterCall = () => {};
	node.gate.vectorCountMax = Number.POSITIVE_INFINITY;
	await collection.upsert(batch(["a", "b"]));
	node.gate.vectorCountMax = mixedIds.length;
	let isThere = true;
	node.afterCall = async (method) => {
		// Only what was found there needs no room.
		if (method === "measure" && isThere) {
			isThere = false;
			await collection.delete({ ids: ["a"] });
		} else if (method === "upsert") {
			isThere = true;
		}
	};
	node.beforeCall = async (method) => {
		if (method !== "measure" || isThere) return;
		node.gate.vectorCountMax = Number.POSITIVE_INFINITY;
		isThere = true;
		await collection.upsert(batch(["a"]));
		node.gate.vectorCountMax = 0;
	};
	node.gate.vectorCountMax = 0;
	expect(await codeOf(collection.upsert(batch(["a"])))).toBe("CONFLICT");
	expect([node.gate.reservedBytes, node.gate.reservedVectorCount]).toEqual([0, 0]);
});

test("what some shards wrote counts though others failed", async () => {
	await using node = await TestNode.start();
	const collection = await node.tenants.tenant(ACME).createCollection(newCollection("docs", { shards: 3 }));
	await node.tenants.tenant(ACME).usage();
	node.beforeCall = (method, shardIndex) => {
		if (method === "upsert" && shardIndex === 1) throw new Error("no");
	};
	expect(collection.upsert(batch(mixedIds))).rejects.toThrow("no");
	node.beforeCall = () => {};
	const count = await collection.count(undefined);
	expect(count).toBeLessThan(mixedIds.length);
	expect((await node.tenants.tenant(ACME).usage()).vectorCount).toBe(count);
	expect(node.gate.reservedBytes).toBe(0);
});

test("a payload index is made and dropped on the record and on every shard", async () => {
	await using node = await TestNode.start();
	const collection = await filled(node, 3);
	const [made, other] = await Promise.all([
		collection.createPayloadIndex("position", "integer"),
		collection.createPayloadIndex("colour", "keyword"),
	]);
	expect(made.payload_indexes).toEqual({ position: "integer" });
	expect(other.payload_indexes).toEqual({ position: "integer", colour: "keyword" });
	expect(await collection.createPayloadIndex("colour", "keyword")).toBe(other);
	expect(await errorOf(collection.createPayloadIndex("colour", "integer"))).toMatchObject({ code: "CONFLICT" });
	const now = await node.tenants.tenant(ACME).collection("docs");
	expect(await now.count({ must: [{ key: "position", range: { lt: 5 } }] })).toBe(5);
	expect((await now.dropPayloadIndex("position")).payload_indexes).toEqual({ colour: "keyword" });
	expect((await now.dropPayloadIndex("position")).payload_indexes).toEqual({ colour: "keyword" });
	expect(await now.count({ must: [{ key: "position", range: { lt: 5 } }] })).toBe(5);
});

test("a collection has a bounded number of payload indexes", async () => {
	await using node = await TestNode.start();
	const indexes = Object.fromEntries(Array.from({ length: 64 }, (_, index) => [`f${index}`, "keyword" as const]));
	const collection = await node.tenants
		.tenant(ACME)
		.createCollection(newCollection("docs", { payload_indexes: indexes }));
	const error = await errorOf(collection.createPayloadIndex("one_more", "keyword"));
	expect(error).toMatchObject({ code: "VALIDATION_FAILED", details: { field: "field" } });
});

test("a changed ef_search is in the record and reaches the shards", async () => {
	await using node = await TestNode.start();
	const collection = await filled(node, 1);
	const record = await collection.reconfigure({ ef_search: 99 });
	expect(record.hnsw.ef_search).toBe(99);
	const now = await node.tenants.tenant(ACME).collection("docs");
	expect(now.record.hnsw.ef_search).toBe(99);
	expect((await now.search([{ ...READ, vector: at(0), k: 1 }]))[0]?.hits).toHaveLength(1);
});
