import { afterAll, describe, expect, test } from "bun:test";
import { appendFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { HintBook } from "../../../src/cluster/repair/hint-book.ts";
import { HintFolder } from "../../../src/cluster/repair/hint-storage.ts";
import { MemoryHints } from "./memory-hints.ts";
import { nodeIdOf, shardRef } from "./memory-nodes.ts";
import { VirtualTime } from "./virtual-time.ts";

const [A, B] = [nodeIdOf("a"), nodeIdOf("b")];
const root = mkdtempSync(join(tmpdir(), "hints-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

let folderCount = 0;
const newFolder = (): string => join(root, `${folderCount++}`);
const messages: string[] = [];

function openBook(storage: MemoryHints | string, marksPerNodeMax?: number): Promise<HintBook> {
	return HintBook.open({
		storage: typeof storage === "string" ? new HintFolder(storage) : storage,
		clock: new VirtualTime(),
		log: (message) => messages.push(message),
		...(marksPerNodeMax !== undefined && { marksPerNodeMax }),
	});
}

const indexesOf = (book: HintBook, nodeId = A) => book.pending(nodeId).shards.map(({ shard }) => shard.shardIndex);

describe("a mark", () => {
	test("that was acknowledged is there after a restart", async () => {
		const folder = newFolder();
		const book = await openBook(folder);
		await Promise.all([0, 1, 2].map((index) => book.missed(A, shardRef("docs", index))));
		await book.missed(B, shardRef("docs", 7));
		// Not closed: as after a kill.
		const again = await openBook(folder);
		expect(indexesOf(again)).toEqual([0, 1, 2]);
		expect(indexesOf(again, B)).toEqual([7]);
		expect(again.count).toBe(4);
		await book.close();
		await again.close();
	});

	test("is written once, however often the same is missed", async () => {
		const storage = new MemoryHints();
		const book = await openBook(storage);
		for (let turn = 0; turn < 100; turn++) await book.missed(A, shardRef("docs"));
		expect(storage.appendCount).toBe(1);
		expect(book.count).toBe(1);
	});

	test("of many that come together is synced with the others", async () => {
		const storage = new MemoryHints();
		const book = await openBook(storage);
		await Promise.all(Array.from({ length: 500 }, (_, index) => book.missed(A, shardRef(`c${index}`))));
		expect(storage.appendCount).toBeLessThanOrEqual(2);
		expect(book.count).toBe(500);
	});

	test("that is set again while it is being made up for stays", async () => {
		const storage = new MemoryHints();
		const book = await openBook(storage);
		await book.missed(A, shardRef("docs"));
		const [hint] = book.pending(A).shards;
		await book.missed(A, shardRef("docs"));
		book.done(A, hint!);
		expect(book.isMissed(A, shardRef("docs"))).toBe(true);
		book.done(A, book.pending(A).shards[0]!);
		expect(book.isMissed(A, shardRef("docs"))).toBe(false);
		await book.close();
		expect(storage.texts.size).toBe(0);
	});

	test("is not acknowledged when the disk refuses, and is written with the next one", async () => {
		const storage = new MemoryHints();
		const book = await openBook(storage);
		await book.missed(A, shardRef("docs", 0));
		storage.failing = true;
		const refused = await book.missed(A, shardRef("docs", 1)).then(
			() => undefined,
			(error: unknown) => error,
		);
		expect(String(refused)).toContain("no space");
		storage.failing = false;
		await book.missed(A, shardRef("docs", 1));
		expect(indexesOf(await openBook(storage))).toEqual([0, 1]);
	});

	test("tells how long ago the oldest of its node was missed", async () => {
		const time = new VirtualTime();
		const book = await HintBook.open({ storage: new MemoryHints(), clock: time, log: () => {} });
		expect(book.lagSeconds(A)).toBe(0);
		await book.missed(A, shardRef("docs", 0));
		await time.pass(5_000);
		await book.missed(A, shardRef("docs", 1));
		await book.missed(A, shardRef("docs", 0));
		expect(book.lagSeconds(A)).toBe(5);
	});
});

describe("a log", () => {
	test("whose last line was torn off keeps all others, and goes on", async () => {
		const folder = newFolder();
		const book = await openBook(folder);
		for (const index of [0, 1]) await book.missed(A, shardRef("docs", index));
		await book.close();
		appendFileSync(join(folder, `${A}.log`), "missed acme docsxxxx");
		const torn = await openBook(folder);
		expect(indexesOf(torn)).toEqual([0, 1]);
		await torn.missed(A, shardRef("docs", 2));
		await torn.close();
		const mended = await openBook(folder);
		expect(indexesOf(mended)).toEqual([0, 1, 2]);
		expect(mended.pending(A).everything).toBeUndefined();
		await mended.close();
	});

	test("that is damaged has all shards of its node compared", async () => {
		const folder = newFolder();
		const book = await openBook(folder);
		for (const index of [0, 1, 2]) await book.missed(A, shardRef("docs", index));
		await book.close();
		const path = join(folder, `${A}.log`);
		writeFileSync(path, readFileSync(path, "utf8").replace(" 1 ", " 5 "));
		const damaged = await openBook(folder);
		expect(messages.at(-1)).toContain("can't be read");
		const { everything, shards } = damaged.pending(A);
		expect(shards).toEqual([]);
		damaged.doneEverything(A, everything!.generation);
		expect(damaged.count).toBe(0);
		await damaged.close();
	});

	test("is written anew when most of it is past", async () => {
		const storage = new MemoryHints();
		const book = await openBook(storage);
		await book.missed(A, shardRef("stays"));
		for (let turn = 0; turn < 3_000; turn++) {
			await book.missed(A, shardRef("comes"));
			book.done(A, book.pending(A).shards.at(-1)!);
		}
		await book.close();
		expect(storage.texts.get(A)!.split("\n").length).toBeLessThan(2_000);
		expect((await openBook(storage)).pending(A).shards.map(({ shard }) => shard.collectionId)).toEqual([
			shardRef("stays").collectionId,
		]);
	});

	test("of a node that misses nothing any more is gone", async () => {
		const folder = newFolder();
		const book = await openBook(folder);
		await book.missed(A, shardRef("docs"));
		book.done(A, book.pending(A).shards[0]!);
		await book.missed(B, shardRef("docs"));
		book.forgetNode(B);
		book.forgetNode(nodeIdOf("never"));
		await book.close();
		expect(await new HintFolder(folder).nodes()).toEqual([]);
	});
});

describe("a node that missed too much", () => {
	test("has one mark for everything, before and after a restart", async () => {
		const storage = new MemoryHints();
		const book = await openBook(storage, 3);
		for (let index = 0; index < 6; index++) await book.missed(A, shardRef("docs", index));
		expect(book.pending(A)).toMatchObject({ shards: [], everything: {} });
		expect(book.pendingByNode()).toEqual(new Map([[A, 1]]));
		const again = await openBook(storage, 3);
		const first = again.pending(A).everything!;
		await again.missed(A, shardRef("docs", 9));
		again.doneEverything(A, first.generation);
		expect(again.isMissed(A, shardRef("any"))).toBe(true);
		again.doneEverything(A, again.pending(A).everything!.generation);
		expect(again.isMissed(A, shardRef("any"))).toBe(false);
		await again.missed(A, shardRef("docs", 1));
		expect(indexesOf(await openBook(storage))).toEqual([1]);
	});
});

test("a collection that was deleted is missed by nobody", async () => {
	const storage = new MemoryHints();
	const book = await openBook(storage);
	for (const nodeId of [A, B]) for (const name of ["docs", "kept"]) await book.missed(nodeId, shardRef(name, 1));
	const { tenantId, collectionId } = shardRef("docs");
	book.forgetCollection(tenantId, collectionId);
	await book.close();
	const again = await openBook(storage);
	for (const nodeId of [A, B]) expect(again.isMissed(nodeId, shardRef("docs", 1))).toBe(false);
	expect(again.count).toBe(2);
});

test("whatever was noted and made up for, a restart finds what was left", async () => {
	const step = fc.record({
		node: fc.constantFrom(A, B),
		index: fc.nat(5),
		kind: fc.constantFrom("missed", "done", "restart"),
	});
	await fc.assert(
		fc.asyncProperty(fc.array(step, { maxLength: 40 }), async (steps) => {
			const storage = new MemoryHints();
			let book = await openBook(storage);
			const expected = new Map([
				[A, new Set<number>()],
				[B, new Set<number>()],
			]);
			for (const { node, index, kind } of steps) {
				if (kind === "missed") {
					await book.missed(node, shardRef("docs", index));
					expected.get(node)!.add(index);
				} else if (kind === "done") {
					const hint = book.pending(node).shards.find(({ shard }) => shard.shardIndex === index);
					if (hint !== undefined) book.done(node, hint);
					expected.get(node)!.delete(index);
				} else {
					await book.close();
					book = await openBook(storage);
				}
				for (const [nodeId, indexes] of expected) expect(indexesOf(book, nodeId).sort()).toEqual([...indexes].sort());
			}
		}),
		{ numRuns: 60 },
	);
});

test("a node id that is none never becomes part of a path", async () => {
	const storage = new HintFolder(newFolder());
	const refused = await storage.read("../secret" as never).then(
		() => undefined,
		(error: unknown) => error,
	);
	expect(String(refused)).toContain("not a node id");
	expect(await storage.read(A)).toBe("");
});
