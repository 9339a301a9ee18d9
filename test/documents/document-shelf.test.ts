import { expect, test } from "bun:test";
import { HiveError } from "../../src/base/errors.ts";
import { systemRandom } from "../../src/base/ids.ts";
import type { Collection } from "../../src/cluster/tenant-types.ts";
import { searchCurrent } from "../../src/documents/current-hits.ts";
import { chunkId, fileId, newVersion, parseDocumentRowId, versionTimeMs } from "../../src/documents/document-ids.ts";
import { DOCUMENT_LIMITS } from "../../src/documents/document-limits.ts";
import { DocumentShelf, type NewDocument } from "../../src/documents/document-shelf.ts";
import { splitDocument } from "../../src/documents/document-split.ts";
import { ACME, codeOf, newCollection, TestNode } from "../cluster/cluster-fixture.ts";

const PATH = "guide/install.md";

class Shelf {
	nowMs = Date.now();
	readonly leftovers: unknown[] = [];
	readonly shelf = new DocumentShelf({
		clock: { nowMs: () => this.nowMs },
		random: systemRandom,
		onLeftover: (facts) => this.leftovers.push(facts),
	});
}

/** A text of so many chunks, each of which says which version it is of. */
async function documentOf(name: string, chunkCount: number, path = PATH): Promise<NewDocument> {
	const text = Array.from({ length: chunkCount }, (_, index) => `# Part ${index}\n\nOf ${name}, häppily 😀.\n\n`).join(
		"",
	);
	const chunks = await splitDocument(text, { format: "markdown", size: 200, overlap: 0 }, async () => {});
	expect(chunks).toHaveLength(chunkCount);
	const vectors = chunks.map((_, index) => new Float32Array([index, 1]));
	return { path, text, format: "markdown", metadata: { name }, chunks, vectors };
}

async function openDocs(node: TestNode, shards: number): Promise<Collection> {
	return node.tenants.tenant(ACME).createCollection(
		newCollection("docs", {
			shards,
			text: { provider: "openai", model: "m", fields: ["text"], language: "english" },
		}),
	);
}

/** Names of the versions whose chunks a search finds, and how many chunks. */
async function found(collection: Collection, k = 100): Promise<{ names: string[]; count: number }> {
	const vector = new Float32Array([0, 1]);
	const [answer] = await searchCurrent(collection, [{ vector, k, withPayload: true, withVector: false }]);
	const names = answer!.hits.map(({ payload }) => (JSON.parse(payload!) as { name: string }).name);
	return { names: [...new Set(names)], count: names.length };
}

const content = async (shelf: Shelf, collection: Collection): Promise<string | undefined> =>
	(await shelf.shelf.content(collection, PATH))?.text;

test("ids of chunks tell path, version and number, and nothing else is taken for one", () => {
	const version = newVersion(1_700_000_000_000, systemRandom);
	expect(versionTimeMs(version)).toBe(1_700_000_000_000);
	expect(newVersion(1_700_000_000_001, systemRandom) > version).toBe(true);
	for (const path of ["a", "a:b", "with:0123456789abcdef:0001", "日本語/😀.md"]) {
		expect(parseDocumentRowId(fileId(path))).toEqual({ kind: "file", path });
		expect(parseDocumentRowId(chunkId(path, version, 7))).toEqual({ kind: "chunk", path, version, chunk: 7 });
	}
	for (const other of [
		"_file:",
		"_chunk:a",
		"_chunk::0123456789abcdef:0001",
		"_chunk:a:0123456789abcdeF:0001",
		"a",
		7,
		"_",
	]) {
		expect(parseDocumentRowId(other)).toBeUndefined();
	}
	const longest = "x".repeat(DOCUMENT_LIMITS.pathBytesMax);
	expect(Buffer.byteLength(chunkId(longest, version, DOCUMENT_LIMITS.chunkCountMax))).toBeLessThanOrEqual(256);
});

for (const shards of [1, 4]) {
	const over = `over ${shards} shard${shards === 1 ? "" : "s"}`;

	test(`a document comes back as it was, and a replaced one leaves nothing, ${over}`, async () => {
		await using node = await TestNode.start();
		const collection = await openDocs(node, shards);
		const shelf = new Shelf();
		expect(await content(shelf, collection)).toBeUndefined();
		const sizes = [5, 12, 3, 1, 40];
		for (const [index, size] of sizes.entries()) {
			const document = await documentOf(`v${index}`, size);
			const { replaced } = await shelf.shelf.insert(collection, document);
			expect(replaced).toBe(index > 0);
			expect(await content(shelf, collection)).toBe(document.text);
			expect(await found(collection)).toEqual({ names: [`v${index}`], count: size });
			expect(await collection.count(undefined)).toBe(size);
		}
		expect(await shelf.shelf.delete(collection, PATH)).toBe(40);
		expect(await shelf.shelf.delete(collection, PATH)).toBeUndefined();
		expect(await content(shelf, collection)).toBeUndefined();
		expect(await collection.count(undefined)).toBe(0);
		expect(shelf.leftovers).toEqual([]);
	});

	test(`a replacement that breaks off anywhere leaves the old document or the new one, whole, ${over}`, async () => {
		await using node = await TestNode.start();
		const collection = await openDocs(node, shards);
		const shelf = new Shelf();
		const old = await documentOf("old", 6);
		const outcomes = new Set<string>();
		for (let failAt = 0; ; failAt++) {
			await shelf.shelf.delete(collection, PATH);
			await shelf.shelf.insert(collection, old);
			const next = await documentOf("new", 9);
			let calls = 0;
			// From then on everything fails, as when the process is killed: before the call, or after it was done.
			const fail = (): void => {
				if (calls++ >= failAt) throw new HiveError("OVERLOADED", "the process is dead");
			};
			node.beforeCall = failAt % 2 === 0 ? fail : () => {};
			node.afterCall = failAt % 2 === 1 ? fail : () => {};
			const outcome = await shelf.shelf.insert(collection, next).then(
				() => "done",
				() => "failed",
			);
			node.beforeCall = () => {};
			node.afterCall = () => {};
			const { names, count } = await found(collection);
			expect(names).toHaveLength(1);
			const expected = names[0] === "old" ? old : next;
			expect(count).toBe(expected.chunks.length);
			expect(await content(shelf, collection)).toBe(expected.text);
			if (outcome === "done") expect(names).toEqual(["new"]);
			outcomes.add(`${outcome} ${names[0]}`);
			if (outcome === "done" && shelf.leftovers.length === 0) break;
			shelf.leftovers.length = 0;
			// What broke off is swept when it is old enough.
			shelf.nowMs += DOCUMENT_LIMITS.leftoverAgeMs + 1;
			expect(failAt).toBeLessThan(100);
		}
		expect(outcomes).toContain("failed old");
		expect(outcomes).toContain("done new");
		expect(await shelf.shelf.delete(collection, PATH)).toBe(9);
		shelf.nowMs += DOCUMENT_LIMITS.leftoverAgeMs + 1;
		await shelf.shelf.delete(collection, PATH);
		expect(await collection.count(undefined)).toBe(0);
	});

	test(`whoever reads or searches while a document is replaced sees one version, whole, ${over}`, async () => {
		await using node = await TestNode.start();
		const collection = await openDocs(node, shards);
		const shelf = new Shelf();
		const sizes = [7, 3, 20];
		const documents = await Promise.all(sizes.map((size, index) => documentOf(`v${index}`, size)));
		await shelf.shelf.insert(collection, documents[0]!);
		let isOver = false;
		const writing = (async () => {
			for (let round = 1; round < 60; round++) await shelf.shelf.insert(collection, documents[round % 3]!);
		})().finally(() => {
			isOver = true;
		});
		let lookCount = 0;
		while (!isOver) {
			const { names, count } = await found(collection);
			expect(names).toHaveLength(1);
			expect(count).toBe(sizes[Number(names[0]!.slice(1))]!);
			const text = await content(shelf, collection);
			expect(documents.map((document) => document.text)).toContain(text!);
			lookCount++;
			// The shards are in this thread: let them write.
			await new Promise((resolve) => setImmediate(resolve));
		}
		await writing;
		expect(lookCount).toBeGreaterThan(3);
		expect(await collection.count(undefined)).toBe(sizes[59 % 3]!);
	});
}

test("two who replace the same document at once leave one of both, whole", async () => {
	await using node = await TestNode.start();
	const collection = await openDocs(node, 3);
	const [one, other] = [new Shelf(), new Shelf()];
	for (let round = 0; round < 20; round++) {
		const documents = [await documentOf(`one${round}`, 11), await documentOf(`other${round}`, 4)];
		// Two shelves are two nodes: they don't know of each other.
		await Promise.all([one.shelf.insert(collection, documents[0]!), other.shelf.insert(collection, documents[1]!)]);
		const text = await content(one, collection);
		expect(documents.map((document) => document.text)).toContain(text!);
		expect((await found(collection)).names).toHaveLength(1);
	}
	one.nowMs += DOCUMENT_LIMITS.leftoverAgeMs + 1;
	await one.shelf.insert(collection, await documentOf("last", 2));
	expect(await collection.count(undefined)).toBe(2);
});

test("hits that old chunks were in the way of are found all the same", async () => {
	await using node = await TestNode.start();
	const collection = await openDocs(node, 2);
	const shelf = new Shelf();
	const version = newVersion(0, systemRandom);
	const stale = Array.from({ length: 300 }, (_, index) => chunkId("gone.md", version, index + 1));
	await collection.upsert({
		ids: stale,
		vectors: new Float32Array(stale.flatMap(() => [0, 1])),
		payloads: stale.map(() => '{"name":"stale"}'),
	});
	await shelf.shelf.insert(collection, await documentOf("here", 8));
	for (const k of [1, 5, 8, 50]) expect(await found(collection, k)).toEqual({ names: ["here"], count: Math.min(8, k) });
	const [bare] = await searchCurrent(collection, [
		{ vector: new Float32Array([0, 1]), k: 3, withPayload: false, withVector: false },
	]);
	expect(bare!.hits).toHaveLength(3);
	expect(bare!.hits.every((hit) => !("payload" in hit))).toBe(true);
});

test("what a quota refuses leaves the old document and nothing of the new one", async () => {
	await using node = await TestNode.start();
	const collection = await openDocs(node, 2);
	const shelf = new Shelf();
	const old = await documentOf("old", 4);
	await shelf.shelf.insert(collection, old);
	for (const vectorCountMax of [4, 11]) {
		node.gate.vectorCountMax = vectorCountMax;
		expect(await codeOf(shelf.shelf.insert(collection, await documentOf("new", 9)))).toBe("QUOTA_EXCEEDED");
		expect(await content(shelf, collection)).toBe(old.text);
		expect(await collection.count(undefined)).toBe(4);
	}
});

test("a document whose chunks were changed as vectors is told from a whole one", async () => {
	await using node = await TestNode.start();
	const collection = await openDocs(node, 2);
	const shelf = new Shelf();
	const { version } = await shelf.shelf.insert(collection, await documentOf("v", 4));
	await collection.update({ id: chunkId(PATH, version, 2), payloadPatch: '{"text":"forged"}' });
	expect(await codeOf(shelf.shelf.content(collection, PATH))).toBe("CONFLICT");
	await collection.delete({ ids: [chunkId(PATH, version, 2)] });
	expect(await codeOf(shelf.shelf.content(collection, PATH))).toBe("CONFLICT");
	await shelf.shelf.insert(collection, await documentOf("v2", 4));
	expect(await content(shelf, collection)).toContain("Of v2");
});

test("the list pages through all documents under a prefix, in the order of their paths", async () => {
	await using node = await TestNode.start();
	const collection = await openDocs(node, 3);
	const shelf = new Shelf();
	const paths = ["a", "a/1.md", "a/10.md", "a/2.md", "a:b", "b", "ä", "日本語", "😀"];
	for (const path of paths) await shelf.shelf.insert(collection, await documentOf("v", 3, path));
	await collection.upsert({
		ids: [1, "_file", "_file:x", "z"],
		vectors: new Float32Array(8).fill(1),
		payloads: ["{}", "{}", "{}", "{}"],
	});
	for (const prefix of ["", "a", "a/", "a/1", "b", "c", "日"]) {
		const expected = paths
			.filter((path) => path.startsWith(prefix))
			.sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
		for (const limit of [1, 2, 3, 100]) {
			const seen: string[] = [];
			let after: string | undefined;
			for (;;) {
				const page = await shelf.shelf.list(collection, { prefix, limit, after });
				expect(page.files.length).toBeLessThanOrEqual(limit);
				seen.push(...page.files.map(({ place }) => place.path));
				if (page.next === null) break;
				after = page.next;
			}
			expect(seen).toEqual(expected);
		}
	}
});
