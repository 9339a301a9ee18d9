import { afterAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import type { VectorId } from "../../src/base/ids.ts";
import { decompressSnappy } from "../../src/storage/byte-cursor.ts";
import { crc32c } from "../../src/storage/crc32c.ts";
import { HighWater } from "../../src/storage/high-water.ts";
import { HybridClock, versionMs } from "../../src/storage/hybrid-clock.ts";
import { compareIds, decodeId, encodeId } from "../../src/storage/id-order.ts";
import {
	documentKey,
	encodeDocument,
	isSealed,
	PREFIX,
	prefixEnd,
	readableKeyId,
	readDocument,
	readMeta,
	readOwner,
	readSlots,
	readVector,
	seal,
} from "../../src/storage/keyspace.ts";
import { liveTables } from "../../src/storage/level-manifest.ts";
import { LevelStore } from "../../src/storage/level-store.ts";
import { SlotTable } from "../../src/storage/slot-table.ts";
import { checkTable, checkTables } from "../../src/storage/table-check.ts";
import { failureOf, seededRandom, temporaryFolder } from "./shard-fixture.ts";

const folder = temporaryFolder();
afterAll(() => folder.remove());

const silent = () => undefined;

test("ids sort by their encoding as they do by comparison, and come back as they were", () => {
	const ids: VectorId[] = [
		...[0, 1, 255, 256, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1],
		...["0", "1", "10", "a", "aa", "z", "é", "\ud7ff", "\ue000", "\uffff", "\u{10000}", "\u{10ffff}"],
	];
	for (const [left, a] of ids.entries()) {
		expect(decodeId(encodeId(a))).toBe(a);
		for (const [right, b] of ids.entries()) {
			const expected = Math.sign(left - right);
			expect(Math.sign(compareIds(a, b))).toBe(expected);
			expect(Buffer.compare(encodeId(a), encodeId(b))).toBe(expected as -1 | 0 | 1);
		}
	}
	expect(() => decodeId(Buffer.of(3, 1))).toThrow();
	expect(() => decodeId(Buffer.of(1, 1))).toThrow();
	expect(readableKeyId(Buffer.from("d/\x09"))).toBeUndefined();
});

test("a seal breaks with any bit of the key or the value", () => {
	const key = documentKey(encodeId("an id"));
	const version = Buffer.alloc(16, 7);
	const value = seal(key, encodeDocument(version, { slot: 77, payload: Buffer.from('{"a":1}') }));
	const row = readDocument(key, value);
	expect([row.slot, row.isTombstone, row.payloadText, row.payloadBytes]).toEqual([77, false, '{"a":1}', 7]);
	expect(row.payload?.toString()).toBe('{"a":1}');
	expect(row.version).toEqual(version);
	for (const bytes of [key, value]) {
		for (let bit = 0; bit < bytes.length * 8; bit++) {
			bytes[bit >> 3]! ^= 1 << (bit & 7);
			expect(isSealed(key, value)).toBe(false);
			bytes[bit >> 3]! ^= 1 << (bit & 7);
		}
	}
	expect(isSealed(key, value)).toBe(true);
	const damaged = Buffer.of(1, 2);
	expect(() => readDocument(key, damaged)).toThrow("stored document is damaged");
	for (const read of [readOwner, readSlots, readMeta]) expect(() => read(key, damaged)).toThrow("damaged");
	expect(readVector(key, damaged, 4)).toBeUndefined();
	expect(readVector(key, seal(key, new Uint8Array(8)), 4)).toBeUndefined();
});

test("versions only grow, whatever the wall clock does, and over restarts", () => {
	let nowMs = 1_000_000;
	const clock = { nowMs: () => nowMs, monotonicMs: () => 0 };
	const tag = Buffer.from("node-tag");
	let last = { ms: 0, counter: 0 };
	let before = Buffer.alloc(16);
	for (const jump of [0, 5, 0, -500_000, 0, 1, 600_000]) {
		nowMs += jump;
		const versions = new HybridClock(clock, tag, last);
		for (let at = 0; at < 5; at++) {
			const version = Buffer.from(versions.next());
			expect(Buffer.compare(version, before)).toBe(1);
			expect(versionMs(version)).toBeGreaterThanOrEqual(nowMs);
			expect(version.subarray(8)).toEqual(tag);
			before = version;
		}
		last = { ms: versions.ms, counter: versions.counter };
	}
	const spent = new HybridClock(clock, tag, { ms: nowMs + 10, counter: 0xffff });
	expect(versionMs(spent.next())).toBe(nowMs + 11);
	expect(() => new HybridClock(clock, Buffer.alloc(7), last)).toThrow();
});

test("slots are handed out lowest first, and watched while someone looks", () => {
	const slots = new SlotTable();
	for (let slot = 0; slot < 20; slot++) slots.assign(slots.reserve(), slot, 0);
	for (const slot of [7, 3, 11, 5, 19, 0]) slots.vacate(slot);
	expect([slots.count, slots.slotCount]).toEqual([14, 20]);
	const watch = slots.watch();
	expect([slots.reserve(), slots.reserve(), slots.reserve()]).toEqual([0, 3, 5]);
	slots.release(3);
	slots.assign(0, "new", 5);
	slots.restamp(1, 9);
	expect([...watch.touched].sort()).toEqual([0, 1]);
	watch.end();
	slots.vacate(1);
	expect(watch.touched.size).toBe(2);
	expect([slots.reserve(), slots.reserve(), slots.reserve(), slots.reserve()]).toEqual([1, 3, 7, 11]);
	const restored = new SlotTable();
	restored.restore(2, "a", 1);
	restored.restore(4, "b", 2);
	expect([...restored.liveSlots()]).toEqual([2, 4]);
	expect([restored.idOf(3), restored.slotOf("b"), restored.stampOf(4)]).toEqual([undefined, 4, 2]);
	expect([0, 1, 2, 3].map(() => restored.reserve())).toEqual([0, 1, 3, 5]);
});

test("the high-water mark survives a close, and is synced once in a while", async () => {
	const path = join(folder.path, "mark");
	const mark = HighWater.create(path, silent);
	for (let seq = 1; seq <= 100; seq++) mark.write(seq);
	mark.close();
	const opened = HighWater.open(path, silent);
	expect(opened.seq).toBe(100);
	opened.mark.write(2 ** 40);
	await new Promise((resolve) => setTimeout(resolve, 1_050));
	opened.mark.close();
	expect(HighWater.open(path, silent).seq).toBe(2 ** 40);
});

test("reads see the state of the last settle, also through an iterator that outlives it", async () => {
	const store = await LevelStore.create(join(folder.path, "settle"), silent);
	const write = async (name: string) => {
		const batch = store.batch();
		batch.put(Buffer.from(name), Buffer.from(name));
		await batch.write();
	};
	await write("a");
	expect(store.get(Buffer.from("a"))).toBeUndefined();
	store.settle();
	expect(store.get(Buffer.from("a"))).toBeDefined();
	const rows = store.rows({ gte: Buffer.from("a"), lt: Buffer.from("z") }, 1);
	expect((await rows.next()).value?.[0]?.[0].toString()).toBe("a");
	await write("b");
	store.settle();
	expect((await rows.next()).done).toBe(true);
	const batch = store.batch();
	batch.del(Buffer.from("a"));
	await batch.discard();
	await store.close();
	expect((await failureOf(async () => store.get(Buffer.from("a")))).code).toBe("INTERNAL");
});

describe("tables are checked before LevelDB sees them", () => {
	test("the checksum is the standard's", () => {
		expect(crc32c(Buffer.from("123456789"), 0, 9)).toBe(0xe3069283);
		expect(crc32c(Buffer.alloc(32), 0, 32)).toBe(0x8a9136aa);
	});

	test("what is no Snappy is refused", () => {
		// A literal of three bytes, then a copy of three from three back.
		const whole = [6, 2 << 2, 1, 2, 3, (2 << 2) | 2, 3, 0];
		expect([...decompressSnappy(Buffer.from(whole), 10)]).toEqual([1, 2, 3, 1, 2, 3]);
		// A run: the copy reaches into what it writes.
		expect([...decompressSnappy(Buffer.of(6, 0, 9, (1 << 2) | 1, 1), 10)]).toEqual([9, 9, 9, 9, 9, 9]);
		// A long literal says its length in bytes of its own.
		const long = Buffer.concat([Buffer.of(70, 60 << 2, 69), Buffer.alloc(70, 5)]);
		expect(decompressSnappy(long, 100).length).toBe(70);
		for (const broken of [
			whole.slice(0, -1),
			[7, ...whole.slice(1)],
			[5, ...whole.slice(1)],
			[6, 2 << 2, 1, 2, 3, (2 << 2) | 2, 4, 0],
			[6, 2 << 2, 1, 2, 3, (2 << 2) | 2, 0, 0],
			[11, ...whole.slice(1)],
			[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
		]) {
			expect(() => decompressSnappy(Buffer.from(broken), 10)).toThrow(RangeError);
		}
	});

	async function tableFolder(name: string, documents: number): Promise<string> {
		const path = join(folder.path, name);
		const random = seededRandom(4);
		const store = await LevelStore.create(path, silent);
		for (let from = 0; from < documents; from += 100) {
			const batch = store.batch();
			for (let id = from; id < from + 100; id++) {
				const payload = Buffer.from(Array.from({ length: 60 }, () => 32 + random() * 90));
				batch.put(documentKey(encodeId(id)), encodeDocument(Buffer.alloc(16), { slot: id, payload }));
				batch.put(Buffer.from(`p/${String(id).padStart(9, "0")}`), Buffer.alloc(0));
			}
			await batch.write();
		}
		await store.close();
		const again = await LevelStore.open(path, silent);
		await again.close();
		return path;
	}

	const tablesOf = (path: string) => readdirSync(path).filter((name) => name.endsWith(".ldb"));

	test("whole ones pass, and what a killed compaction left behind is not looked at", async () => {
		const path = await tableFolder("whole", 2_000);
		expect(tablesOf(path).length).toBeGreaterThan(0);
		expect(await checkTables(path)).toBe(false);
		writeFileSync(join(path, "999999.ldb"), "half a table");
		expect(await checkTables(path)).toBe(false);
		const live = await liveTables(path);
		expect(tablesOf(path).filter((name) => live?.has(Number.parseInt(name, 10))).length).toBe(
			tablesOf(path).length - 1,
		);
		rmSync(join(path, "CURRENT"));
		expect(await liveTables(path)).toBeUndefined();
		expect(await checkTables(path)).toBe(false);
	});

	test("a damaged one is refused, unless a document is all that suffered", async () => {
		const path = await tableFolder("damaged", 600);
		const [name] = tablesOf(path);
		const bytes = readFileSync(join(path, name!));
		expect(checkTable(bytes)).toBe(true);
		const random = seededRandom(8);
		const outcomes = new Map<string, number>();
		for (let round = 0; round < 600; round++) {
			const at = Math.floor(random() * bytes.length);
			const bit = 1 << Math.floor(random() * 8);
			bytes[at]! ^= bit;
			let outcome: string;
			try {
				outcome = String(checkTable(bytes));
			} catch (error) {
				outcome = (error as Error).message;
			}
			outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
			bytes[at]! ^= bit;
		}
		expect(outcomes.get("false")).toBeGreaterThan(20);
		expect(outcomes.get("rows are damaged that nobody would miss")).toBeGreaterThan(20);
		// The footer's padding means nothing.
		expect(outcomes.get("true") ?? 0).toBeLessThan(10);
		writeFileSync(join(path, name!), bytes.subarray(0, -100));
		expect((await failureOf(() => checkTables(path))).message).toBe("the shard's database is damaged");
		expect(() => checkTable(gzipSync("x"))).toThrow();
	});
});

test("a prefix ends where the next one begins", () => {
	expect(Buffer.from(prefixEnd(PREFIX.document)).toString()).toBe("d0");
});
