import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { HiveError } from "../../src/base/errors.ts";
import { hashKey, systemRandom } from "../../src/base/ids.ts";
import { backoffMs, pause } from "../../src/hub/backoff.ts";
import {
	ChangeFeed,
	type ChangeFeedOptions,
	type ChangeSubscriber,
	type CursorStore,
} from "../../src/hub/change-feed.ts";
import type { HubClient } from "../../src/hub/hub-client-types.ts";
import { CachedHubDirectory } from "../../src/hub/hub-directory.ts";
import { HUB_LIMITS } from "../../src/hub/hub-limits.ts";
import type { ChangePage, HubChange, NewKey } from "../../src/hub/models.ts";
import { ACME, type HubRig, newCollection, openHub, RunningClock, temporaryFolder } from "./hub-rig.ts";

const newKey: NewKey = { name: "ci", permissions: ["READ_WRITE"], environment: "live", expires_at: null };

class MemoryCursor implements CursorStore {
	readonly saved: number[] = [];
	constructor(public cursor: number | undefined = undefined) {}
	load = async () => this.cursor;
	save = async (cursor: number) => {
		this.cursor = cursor;
		this.saved.push(cursor);
	};
}

/** What happened, and a way to wait until it has. */
class Journal {
	readonly lines: string[] = [];
	readonly #waiting = new Map<string, () => void>();
	note(line: string): void {
		this.lines.push(line);
		this.#waiting.get(line)?.();
	}
	async until(line: string): Promise<void> {
		if (this.lines.includes(line)) return;
		await new Promise<void>((resolve) => this.#waiting.set(line, resolve));
	}
}

describe("the change feed", () => {
	let folder: ReturnType<typeof temporaryFolder>;
	let rig: HubRig;
	let hub: HubClient;
	let directory: CachedHubDirectory;
	let feeds: ChangeFeed[];

	beforeEach(async () => {
		folder = temporaryFolder();
		const clock = new RunningClock();
		rig = await openHub({ sqlitePath: join(folder.path, "hub.db") }, clock);
		hub = rig.client({ clock });
		directory = new CachedHubDirectory({
			client: hub,
			clock,
			ttlSeconds: 300,
			quotaTtlSeconds: 60,
			staleTtlSeconds: 3_600,
			entriesMax: 1_000,
		});
		feeds = [];
	});

	afterEach(async () => {
		await Promise.all(feeds.map((feed) => feed.stop()));
		await rig.server.close();
		folder.remove();
	});

	const startFeed = async (options: Partial<ChangeFeedOptions>): Promise<ChangeFeed> => {
		const feed = new ChangeFeed({
			hub: directory.hub,
			directory,
			cursors: new MemoryCursor(),
			subscribers: [],
			waitSeconds: 30,
			random: systemRandom,
			onFailure: () => {},
			...options,
		});
		feeds.push(feed);
		await feed.start();
		return feed;
	};

	const journalling = (journal: Journal): ChangeSubscriber => ({
		onChange: (change) => journal.note(`${change.kind} ${"tenant_id" in change ? change.tenant_id : change.version}`),
		onCollectionDeleted: (tenantId, _id, name) => journal.note(`collection ${tenantId}:${name} deleted`),
		onTenantDeleted: (tenantId) => journal.note(`tenant ${tenantId} deleted`),
		onGap: () => journal.note("gap"),
	});

	test("a revocation made elsewhere is in the directory when subscribers hear of it", async () => {
		await hub.createTenant({ id: ACME, name: "Acme" });
		const { api_key, record } = await hub.createKey(ACME, newKey);
		const { cursor } = await hub.changes(undefined, 0, new AbortController().signal);
		await directory.lookupKey(hashKey(api_key));
		const journal = new Journal();
		const statuses: (string | undefined)[] = [];
		await startFeed({
			cursors: new MemoryCursor(cursor),
			subscribers: [
				{ onChange: () => void statuses.push(directory.cachedKey(hashKey(api_key))?.key.rotation_status) },
				journalling(journal),
			],
		});
		await hub.revokeKey(record.api_key_id);
		await journal.until("tenant acme");
		expect(statuses[0]).toBe("revoked");
	});

	test("subscribers hear of deletions in order, and the position is stored when they are done", async () => {
		const journal = new Journal();
		const cursors = new MemoryCursor(0);
		const finish = Promise.withResolvers<void>();
		await startFeed({
			cursors,
			subscribers: [
				journalling(journal),
				{ onTenantDeleted: () => finish.promise.then(() => journal.note("removed from disk")) },
			],
		});
		await hub.createTenant({ id: ACME, name: "Acme" });
		await hub.createCollection(ACME, newCollection("docs"));
		await hub.deleteCollection(ACME, "docs");
		await hub.deleteTenant(ACME);
		await hub.putTopology({ version: 1, members: [], retired: [] });
		const { cursor } = await hub.changes(undefined, 0, new AbortController().signal);
		await journal.until("tenant acme deleted");
		expect(cursors.cursor).toBeLessThan(cursor);
		finish.resolve();
		await journal.until("topology 1");
		expect(journal.lines).toEqual([
			"tenant system",
			"tenant acme",
			"collection acme",
			"collection acme",
			"collection acme:docs deleted",
			"tenant acme",
			"tenant acme deleted",
			"removed from disk",
			"topology 1",
		]);
		await until(() => cursors.cursor === cursor);
	});

	test("a subscriber that takes its time does not hold up a revocation", async () => {
		await hub.createTenant({ id: ACME, name: "Acme" });
		const { api_key, record } = await hub.createKey(ACME, newKey);
		await directory.lookupKey(hashKey(api_key));
		const stuck = Promise.withResolvers<void>();
		const { cursor } = await hub.changes(undefined, 0, new AbortController().signal);
		await startFeed({ cursors: new MemoryCursor(cursor), subscribers: [{ onChange: () => stuck.promise }] });
		await hub.updateTenant(ACME, { name: "slow" });
		await hub.revokeKey(record.api_key_id);
		await until(() => directory.cachedKey(hashKey(api_key))?.key.rotation_status === "revoked");
		stuck.resolve();
	});

	test("a feed without a past starts from now, with a gap", async () => {
		await hub.createTenant({ id: ACME, name: "Acme" });
		const journal = new Journal();
		const cursors = new MemoryCursor();
		await startFeed({ cursors, subscribers: [journalling(journal)] });
		await until(() => cursors.saved.length === 1);
		await hub.putTopology({ version: 1, members: [], retired: [] });
		await journal.until("topology 1");
		expect(journal.lines).toEqual(["gap", "topology 1"]);
	});

	test("a feed goes on where it stopped", async () => {
		const cursors = new MemoryCursor(1);
		const first = new Journal();
		const feed = await startFeed({ cursors, subscribers: [journalling(first)] });
		await hub.createTenant({ id: ACME, name: "Acme" });
		await until(() => cursors.cursor === 2);
		await feed.stop();
		await feed.stop();
		await hub.deleteTenant(ACME);
		const second = new Journal();
		await startFeed({ cursors, subscribers: [journalling(second)] });
		await second.until("tenant acme deleted");
		expect(first.lines).toEqual(["tenant acme"]);
		expect(second.lines).toEqual(["tenant acme", "tenant acme deleted"]);
	});

	test("a cursor the hub does not reach empties the directory and tells of a gap", async () => {
		await hub.createTenant({ id: ACME, name: "Acme" });
		const { api_key } = await hub.createKey(ACME, newKey);
		await directory.lookupKey(hashKey(api_key));
		const journal = new Journal();
		const cursors = new MemoryCursor(1_000_000);
		await startFeed({ cursors, subscribers: [journalling(journal)] });
		await journal.until("gap");
		expect(directory.cachedKey(hashKey(api_key))).toBeUndefined();
		await until(() => cursors.saved.length === 1);
		expect(cursors.cursor).toBe((await hub.changes(undefined, 0, new AbortController().signal)).cursor);
	});

	test("polls that fail are told of and tried again until the hub is back", async () => {
		let failureCount = 0;
		const flaky: ChangeFeedOptions["hub"] = {
			changes: (cursor, wait, signal) =>
				failureCount < 3
					? Promise.reject(new HiveError("HUB_UNAVAILABLE", "away"))
					: directory.hub.changes(cursor, wait, signal),
		};
		const journal = new Journal();
		await startFeed({
			hub: flaky,
			cursors: new MemoryCursor(0),
			subscribers: [journalling(journal)],
			onFailure: (_error, what) => {
				expect(what).toBe("poll");
				failureCount += 1;
			},
		});
		await journal.until("tenant system");
		expect(failureCount).toBe(3);
	});

	test("a subscriber that fails is given the same change again, and nothing behind it is lost", async () => {
		await hub.createTenant({ id: ACME, name: "Acme" });
		const journal = new Journal();
		const cursors = new MemoryCursor(1);
		let failureCount = 0;
		await startFeed({
			cursors,
			subscribers: [
				{
					onChange: () => {
						if (failureCount < 2) throw new Error("disk full");
					},
				},
				journalling(journal),
			],
			onFailure: (_error, what) => {
				expect(what).toBe("delivery");
				expect(cursors.saved).toEqual([]);
				failureCount += 1;
			},
		});
		await hub.putTopology({ version: 1, members: [], retired: [] });
		await journal.until("topology 1");
		expect(journal.lines).toEqual(["tenant acme", "topology 1"]);
		expect(failureCount).toBe(2);
	});

	test("stopping ends a poll, and a page in the middle, which is delivered again next time", async () => {
		await hub.createTenant({ id: ACME, name: "Acme" });
		await hub.putTopology({ version: 1, members: [], retired: [] });
		const cursors = new MemoryCursor(1);
		const entered = Promise.withResolvers<void>();
		const leave = Promise.withResolvers<void>();
		const seen: string[] = [];
		const feed = await startFeed({
			cursors,
			subscribers: [
				{
					async onChange(change) {
						seen.push(change.kind);
						entered.resolve();
						await leave.promise;
					},
				},
			],
		});
		await entered.promise;
		const stopped = feed.stop();
		leave.resolve();
		await stopped;
		expect(seen).toEqual(["tenant"]);
		expect(cursors.saved).toEqual([]);
	});

	/** A hub whose feed goes on for as long as it is asked, one change a page. */
	const endless = (length: number): ChangeFeedOptions["hub"] => ({
		async changes(cursor = 0, waitSeconds = 0, signal = new AbortController().signal): Promise<ChangePage> {
			if (cursor >= length) {
				if (waitSeconds > 0) await pause(waitSeconds * 1_000, signal);
				return { changes: [], cursor, reset: false };
			}
			const change: HubChange = { cursor: cursor + 1, kind: "topology", version: cursor + 1 };
			return { changes: [change], cursor: cursor + 1, reset: false };
		},
	});

	test("subscribers far behind get every change once all the same, and what is kept for them is bounded", async () => {
		const length = HUB_LIMITS.feedPagesAheadMax * 3;
		const cursors = new MemoryCursor(0);
		const seen: number[] = [];
		const start = Promise.withResolvers<void>();
		const applied: number[] = [];
		await startFeed({
			hub: endless(length),
			directory: {
				apply: (change) => {
					applied.push(change.cursor);
					if (change.cursor === length) start.resolve();
				},
				clear: () => {},
			},
			cursors,
			subscribers: [
				{
					async onChange(change) {
						await start.promise;
						seen.push(change.cursor);
					},
				},
			],
		});
		await until(() => cursors.cursor === length);
		expect(applied).toEqual(Array.from({ length }, (_, index) => index + 1));
		expect(seen).toEqual(applied);
	});

	test("back-off doubles up to its bound, with jitter, and a pause ends when it must", async () => {
		const zeros = (byteCount: number) => new Uint8Array(byteCount);
		const most = (byteCount: number) => new Uint8Array(byteCount).fill(255);
		expect([1, 2, 3].map((count) => backoffMs(count, zeros))).toEqual([25, 50, 100]);
		expect(backoffMs(1, most)).toBeLessThan(50);
		expect(backoffMs(50, most)).toBeLessThan(HUB_LIMITS.backoffMaxMs);
		const controller = new AbortController();
		const pausing = pause(60_000, controller.signal);
		controller.abort();
		await pausing;
		await pause(60_000, controller.signal);
	});

	test("whoever catches up knows afterwards what the hub knew, however long the poll under way would have waited", async () => {
		await hub.createTenant({ id: ACME, name: "Acme" });
		const { cursor } = await hub.changes(undefined, 0, new AbortController().signal);
		const feed = await startFeed({ cursors: new MemoryCursor(cursor) });
		await feed.catchUp();
		expect((await directory.collections(ACME)).size).toBe(0);
		// Another process's feed and cache hear of it through the hub alone.
		for (const name of ["one", "two"]) await hub.createCollection(ACME, newCollection(name));
		const positions = await Promise.all([feed.catchUp(), feed.catchUp(), feed.catchUp()]);
		expect(new Set(positions)).toEqual(new Set([cursor + 2]));
		expect([...(await directory.collections(ACME)).keys()].sort()).toEqual(["one", "two"]);
	});

	test("nobody waits for a hub that fails, or for a feed that does not run", async () => {
		let isAway = false;
		const feed = await startFeed({
			hub: {
				changes: async (...args) => {
					if (isAway) throw new HiveError("HUB_UNAVAILABLE", "away");
					return directory.hub.changes(...args);
				},
			},
		});
		const known = await feed.catchUp();
		isAway = true;
		expect(await feed.catchUp()).toBe(known!);
		const waiting = feed.catchUp();
		await feed.stop();
		expect(await waiting).toBe(known!);
		expect(await feed.catchUp()).toBe(known!);
	});
});

/** Waits for what no event tells of. */
async function until(condition: () => boolean): Promise<void> {
	while (!condition()) await Bun.sleep(2);
}
