import { afterAll, describe, expect, test } from "bun:test";
import { closeSync, fstatSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { NonceJournal } from "../../src/access/nonce-journal.ts";
import { NonceStore } from "../../src/access/nonce-store.ts";
import type { ApiKeyId } from "../../src/base/ids.ts";
import { errorOf, FakeClock, START_MS } from "./access-fixture.ts";
import { JournalFolder } from "./signing-fixture.ts";

const folder = new JournalFolder();
afterAll(() => folder.clear());

interface RigOptions {
	readonly path?: string;
	readonly bounds?: { readonly nonceCountMax?: number; readonly noncesPerKeyMax?: number };
	readonly clock?: FakeClock;
}

function rig({ path = folder.newPath(), bounds = {}, clock = new FakeClock() }: RigOptions = {}) {
	const journal = folder.open(clock, path);
	const store = new NonceStore(journal, clock.nowMs(), bounds);
	const use = (nonce: string, { key = "key_a", seconds = 300 } = {}) =>
		store.remember({
			apiKeyId: key as ApiKeyId,
			nonce,
			validUntilMs: clock.nowMs() + seconds * 1000,
			nowMs: clock.nowMs(),
		});
	const codeOf = async (...args: Parameters<typeof use>) => (await errorOf(() => use(...args))).code;
	return { clock, path, journal, store, use, codeOf };
}

describe("a nonce", () => {
	test("is taken once by a key, and once by another", async () => {
		const { use, codeOf } = rig();
		use("n");
		expect(await codeOf("n")).toBe("AUTH_SIGNATURE_INVALID");
		use("n", { key: "key_b" });
		use("m");
	});

	test("is remembered to the last moment of its signature, and then no longer", () => {
		const { use, clock, store } = rig();
		use("n", { seconds: 10 });
		use("m", { seconds: 20 });
		clock.advance(10_000);
		use("o");
		expect(store.nonceCount).toBe(3);
		clock.advance(1_000);
		use("p");
		expect(store.nonceCount).toBe(3);
	});

	test("is not taken again when the wall clock goes back to where it was still good", async () => {
		const { use, clock, codeOf } = rig();
		use("n", { seconds: 10 });
		clock.wallMs += 3_600_000;
		use("other");
		clock.wallMs -= 3_600_000;
		expect(await codeOf("n", { seconds: 10 })).toBe("AUTH_SIGNATURE_INVALID");
		use("later", { seconds: 11 });
	});

	test("is not forgotten to make room, and one key can't fill the store for others", async () => {
		const { use, clock, codeOf, store } = rig({ bounds: { nonceCountMax: 5, noncesPerKeyMax: 3 } });
		for (const nonce of ["1", "2", "3"]) use(nonce);
		expect(await codeOf("4")).toBe("OVERLOADED");
		for (const nonce of ["1", "2"]) use(nonce, { key: "key_b", seconds: 100 });
		const { code, details } = await errorOf(() => use("1", { key: "key_c" }));
		expect(code).toBe("OVERLOADED");
		expect(details).toEqual({ retry_after_seconds: 101 });
		expect(await codeOf("1")).toBe("AUTH_SIGNATURE_INVALID");
		clock.advance(101_000);
		use("1", { key: "key_c" });
		expect(store.nonceCount).toBe(4);
		clock.advance(301_000);
		for (const nonce of ["4", "5", "6"]) use(nonce);
	});
});

describe("over a restart", () => {
	test("what was taken is known, and its room is used again when its time is over", async () => {
		const before = rig();
		for (let count = 0; count < 10; count++) before.use(`n${count}`, { seconds: count < 5 ? 10 : 300 });
		// As a crash leaves it: nothing is closed.
		before.clock.advance(60_000);
		const after = rig({ path: before.path, clock: before.clock });
		expect(after.store.nonceCount).toBe(5);
		for (let count = 5; count < 10; count++) {
			expect(await after.codeOf(`n${count}`, { seconds: 240 })).toBe("AUTH_SIGNATURE_INVALID");
		}
		const bytes = statSync(after.path).size;
		for (let count = 0; count < 5; count++) after.use(`m${count}`);
		expect(statSync(after.path).size).toBe(bytes);
		after.use("one more");
		expect(statSync(after.path).size).toBeGreaterThan(bytes);
		// What an earlier process wrote counts against no key, and goes like everything else.
		after.clock.advance(400_000);
		after.use("last");
		expect(after.store.nonceCount).toBe(1);
	});

	test("a damaged or unfinished journal keeps nobody out, and no nonce in it", () => {
		const { path, use, clock } = rig();
		for (let count = 0; count < 3; count++) use(`n${count}`);
		const bytes = readFileSync(path);
		bytes.writeDoubleLE(Number.NaN, 24);
		bytes.writeDoubleLE(START_MS + 1e12, 56);
		writeFileSync(path, Buffer.concat([bytes, Buffer.alloc(7, 1)]));
		const after = rig({ path, clock });
		expect(after.store.nonceCount).toBe(1);
		for (let count = 0; count < 3; count++) after.use(`m${count}`);
		expect(statSync(path).mode & 0o777).toBe(0o600);
	});

	test("a journal of many pages is read whole", () => {
		const path = folder.newPath();
		const slot = Buffer.alloc(32);
		const slots: Buffer[] = [];
		for (let count = 0; count < 10_000; count++) {
			slot.writeUInt32LE(count);
			slot.writeDoubleLE(START_MS + 1_000, 24);
			slots.push(Buffer.from(slot));
		}
		writeFileSync(path, Buffer.concat(slots));
		expect(rig({ path }).store.nonceCount).toBe(10_000);
	});
});

describe("the journal", () => {
	test("that can't be written lets nothing through", async () => {
		const { use, codeOf, journal, store } = rig();
		use("n");
		journal.close();
		journal.close();
		expect(await codeOf("m")).toBe("INTERNAL");
		expect(store.nonceCount).toBe(1);
	});

	test("that failed to sync is trusted no more", async () => {
		const clock = new FakeClock();
		const syncs: ((error: Error | null) => void)[] = [];
		const journal = new NonceJournal(folder.newPath(), clock, (_, done) => void syncs.push(done));
		const digest = Buffer.alloc(24, 7);
		expect([journal.write(digest, START_MS), journal.write(digest, START_MS)]).toEqual([0, 1]);
		// One at a time, and once a second at most.
		expect(syncs).toHaveLength(1);
		syncs[0]!(null);
		journal.write(digest, START_MS);
		expect(syncs).toHaveLength(1);
		clock.advance(1_000);
		journal.write(digest, START_MS);
		expect(syncs).toHaveLength(2);
		const broken = new Error("the disk is gone");
		syncs[1]!(broken);
		expect(() => journal.write(digest, START_MS)).toThrow(broken);
		journal.close();
	});

	test("waits for a sync under way before it closes its file", () => {
		const clock = new FakeClock();
		let file = -1;
		let finish: (error: Error | null) => void = () => {};
		const journal = new NonceJournal(folder.newPath(), clock, (opened, done) => {
			file = opened;
			finish = done;
		});
		journal.write(Buffer.alloc(24), START_MS);
		journal.close();
		expect(fstatSync(file).size).toBe(32);
		finish(null);
		expect(() => closeSync(file)).toThrow();
	});
});
