import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { HiveError } from "../../src/base/errors.ts";
import { hashKey, systemRandom, type TenantId } from "../../src/base/ids.ts";
import { ChangeFeed } from "../../src/hub/change-feed.ts";
import type { HubClient } from "../../src/hub/hub-client-types.ts";
import { CachedHubDirectory } from "../../src/hub/hub-directory.ts";
import type { HubHttpClientOptions } from "../../src/hub/hub-http-client.ts";
import { HUB_LIMITS } from "../../src/hub/hub-limits.ts";
import type { KeyLookup, NewKey } from "../../src/hub/models.ts";
import { ACME, type HubRig, newClient, newCollection, openHub, RunningClock, temporaryFolder } from "./hub-rig.ts";
import { MISDEEDS, MisbehavingHub, type Misdeed } from "./misbehaving-hub.ts";

const newKey: NewKey = { name: "ci", permissions: ["READ_WRITE"], environment: "live", expires_at: null };
const codeOf = (promise: Promise<unknown>): Promise<string> =>
	promise.then(
		() => "no error",
		(error) => (error instanceof HiveError ? error.code : String(error)),
	);

describe("a node whose hub misbehaves", () => {
	let folder: ReturnType<typeof temporaryFolder>;
	let rig: HubRig;
	let clock: RunningClock;
	let way: MisbehavingHub;
	let directory: CachedHubDirectory;
	/** Straight to the hub, as another node. */
	let elsewhere: HubClient;

	const openDirectory = (options: Partial<HubHttpClientOptions> = {}) =>
		new CachedHubDirectory({
			client: newClient(fetch, { baseUrl: way.url, clock, timeoutSeconds: 0.2, ...options }),
			clock,
			ttlSeconds: 300,
			quotaTtlSeconds: 60,
			staleTtlSeconds: 3_600,
			entriesMax: 1_000,
			staleWaitMs: 20,
		});

	beforeEach(async () => {
		folder = temporaryFolder();
		clock = new RunningClock();
		rig = await openHub({ sqlitePath: join(folder.path, "hub.db") }, clock);
		way = new MisbehavingHub((request) => rig.server.handle(request));
		directory = openDirectory();
		elsewhere = rig.client();
		await elsewhere.createTenant({ id: ACME, name: "Acme" });
	});

	afterEach(async () => {
		await way.leave();
		await rig.server.close();
		folder.remove();
	});

	const mint = async () => {
		const { api_key, record } = await elsewhere.createKey(ACME, newKey);
		return { hash: hashKey(api_key), record };
	};
	/** What CONTRACT section 6 promises while the hub is of no use, and that a hub that is back serves again. */
	const expectSection6 = async (spoil: () => unknown, mend: () => unknown) => {
		const known = await mint();
		const unknown = await mint();
		await directory.lookupKey(known.hash);
		await directory.collections(ACME);
		await spoil();
		expect(directory.cachedKey(known.hash)?.key).toEqual(known.record);
		clock.advanceSeconds(400);
		expect((await directory.lookupKey(known.hash))?.key).toEqual(known.record);
		expect((await directory.tenant(ACME))?.id).toBe(ACME);
		expect((await directory.collections(ACME)).size).toBe(0);
		const refused: Promise<unknown>[] = [
			directory.lookupKey(unknown.hash),
			directory.tenant("globex" as TenantId),
			directory.hub.createCollection(ACME, newCollection("docs")),
			directory.hub.createTenant({ id: "globex" as TenantId, name: "Globex" }),
			directory.hub.createKey(ACME, newKey),
		];
		expect(await Promise.all(refused.map(codeOf))).toEqual(refused.map(() => "HUB_UNAVAILABLE"));
		clock.advanceSeconds(3_600);
		expect(await codeOf(directory.lookupKey(known.hash))).toBe("HUB_UNAVAILABLE");
		expect(await codeOf(directory.tenant(ACME))).toBe("HUB_UNAVAILABLE");
		expect(directory.connected).toBe(false);

		await mend();
		clock.advanceSeconds(HUB_LIMITS.breakerPauseMaxMs / 1_000);
		expect((await directory.lookupKey(unknown.hash))?.key).toEqual(unknown.record);
		expect((await directory.lookupKey(known.hash))?.key).toEqual(known.record);
		expect(await codeOf(directory.hub.createCollection(ACME, newCollection("docs")))).toBe("no error");
		expect(directory.connected).toBe(true);
	};

	for (const [name, misdeed] of Object.entries(MISDEEDS)) {
		test(`what is cached goes on and nothing else is let through while the hub ${name}`, async () => {
			await expectSection6(
				() => {
					way.misdeed = misdeed;
				},
				() => {
					way.misdeed = () => undefined;
				},
			);
		});
	}

	test("what is cached goes on and nothing else is let through while the hub is gone", async () => {
		await expectSection6(
			() => way.leave(),
			() => way.comeBack(),
		);
	});

	/** The hub answers this call as it would have before what has happened since. */
	const oldAnswer = (path: string, answer: unknown): Misdeed => {
		const text = JSON.stringify(answer);
		return (request) => (new URL(request.url).pathname.endsWith(path) ? new Response(text) : undefined);
	};

	test("a revoked key that was not cached is not revived by an older answer, nor is a suspended tenant", async () => {
		const { hash, record } = await mint();
		const before = (await elsewhere.validateKey(hash)) as KeyLookup;
		const { cursor } = await directory.hub.changes(undefined, 0, new AbortController().signal);
		await elsewhere.revokeKey(record.api_key_id);
		await elsewhere.updateTenant(ACME, { active: false });
		const page = await directory.hub.changes(cursor, 0, new AbortController().signal);
		for (const change of page.changes) directory.apply(change);
		way.misdeed = oldAnswer("/keys/validate", before);
		const found = await directory.lookupKey(hash);
		expect([found?.key.rotation_status, found?.tenant.active]).toEqual(["revoked", false]);
		expect(directory.cachedKey(hash)).toEqual(found);
		// A gap in the feed is no reason to believe it either.
		directory.clear();
		const again = await directory.lookupKey(hash);
		expect([again?.key.rotation_status, again?.tenant.active]).toEqual(["revoked", false]);
		way.misdeed = oldAnswer(`/tenants/${ACME}`, before.tenant);
		directory.clear();
		expect((await directory.tenant(ACME))?.active).toBe(false);
	});

	test("a key revoked here whose hash was never seen here is not revived by an older answer", async () => {
		const { hash, record } = await mint();
		const before = await elsewhere.validateKey(hash);
		await directory.hub.revokeKey(record.api_key_id);
		way.misdeed = oldAnswer("/keys/validate", before);
		expect((await directory.lookupKey(hash))?.key.rotation_status).toBe("revoked");
	});

	test("a key that ended with its tenant is not revived by an older answer", async () => {
		const { hash } = await mint();
		const before = await elsewhere.validateKey(hash);
		const { cursor } = await directory.hub.changes(undefined, 0, new AbortController().signal);
		await elsewhere.deleteTenant(ACME);
		const page = await directory.hub.changes(cursor, 0, new AbortController().signal);
		for (const change of page.changes) directory.apply(change);
		way.misdeed = oldAnswer("/keys/validate", before);
		expect(await directory.lookupKey(hash)).toBeUndefined();
		expect(directory.cachedKey(hash)).toBeUndefined();
	});

	test("an answer that was on its way when the key was revoked lets nobody in", async () => {
		const { hash, record } = await mint();
		const { cursor } = await directory.hub.changes(undefined, 0, new AbortController().signal);
		const made = Promise.withResolvers<void>();
		const gate = Promise.withResolvers<void>();
		way.misdeed = async (request) => {
			const response = await rig.server.handle(request);
			made.resolve();
			await gate.promise;
			return response;
		};
		const answered = directory.lookupKey(hash);
		await made.promise;
		way.misdeed = () => undefined;
		await elsewhere.revokeKey(record.api_key_id);
		const page = await directory.hub.changes(cursor, 0, new AbortController().signal);
		for (const change of page.changes) directory.apply(change);
		gate.resolve();
		expect((await answered)?.key.rotation_status).toBe("revoked");
	});

	test("whoever fails is not believed in what it says no to, and its status is told", async () => {
		const client = newClient(fetch, { baseUrl: way.url });
		const refuse = (status: number, body: string) => {
			way.misdeed = () => new Response(body, { status });
			return client.validateKey("a".repeat(64)).catch((error: unknown) => error);
		};
		const notFound = JSON.stringify({ error: "no such key", code: "KEY_NOT_FOUND" });
		expect(await refuse(404, notFound)).toBeUndefined();
		expect(await refuse(500, notFound)).toMatchObject({ code: "HUB_UNAVAILABLE", details: { status: 500 } });
		expect(await refuse(502, "<h1>Bad Gateway</h1>")).toMatchObject({ message: "the hub answered with status 502" });
		expect(await refuse(403, "<h1>Forbidden</h1>")).toMatchObject({
			message: "the hub refuses this node's service key",
		});
	});

	test("a poll that nobody answers is given up soon after its time, however long calls may take", async () => {
		way.misdeed = MISDEEDS["hangs before the answer"]!;
		const client = newClient(fetch, { baseUrl: way.url, timeoutSeconds: 0.05 });
		const failure = await client.changes(1, 0.05, new AbortController().signal).catch((error: unknown) => error);
		expect(failure).toMatchObject({
			code: "HUB_UNAVAILABLE",
			message: expect.stringContaining("did not answer within"),
		});
	});

	test("that the hub is back is told whenever it answers after it did not", async () => {
		let backCount = 0;
		directory.whenHubIsBack(() => {
			backCount += 1;
		});
		await directory.tenant(ACME);
		expect(backCount).toBe(0);
		way.misdeed = MISDEEDS["fails with 500"]!;
		await codeOf(directory.hub.health());
		await codeOf(directory.hub.health());
		expect(backCount).toBe(0);
		way.misdeed = () => undefined;
		await directory.hub.health();
		await directory.hub.health();
		expect(backCount).toBe(1);
	});

	test("an answer to another question is none", async () => {
		const { hash } = await mint();
		await elsewhere.createTenant({ id: "globex" as TenantId, name: "Globex" });
		const globex = await elsewhere.getTenant("globex" as TenantId);
		const found = await elsewhere.validateKey(hash);
		const theirs = {
			...newCollection("theirs"),
			id: "c".repeat(20),
			tenant_id: "globex",
			created_at: "x",
			revision: 1,
		};
		way.misdeed = (request) => {
			const { pathname } = new URL(request.url);
			if (pathname.endsWith("/keys/validate")) return Response.json({ ...found, tenant: globex });
			return Response.json(pathname.endsWith("/collections") ? { collections: [theirs] } : globex);
		};
		expect(await codeOf(directory.lookupKey(hash))).toBe("HUB_UNAVAILABLE");
		expect(await codeOf(directory.tenant(ACME))).toBe("HUB_UNAVAILABLE");
		expect(await codeOf(directory.collections(ACME))).toBe("HUB_UNAVAILABLE");
	});

	test("an answer without end is cut off", async () => {
		const chunk = new Uint8Array(4 * 1024 * 1024).fill(32);
		way.misdeed = () =>
			new Response(new ReadableStream({ pull: (controller) => controller.enqueue(chunk) }), {
				headers: { "content-type": "application/json" },
			});
		const client = newClient(fetch, { baseUrl: way.url, timeoutSeconds: 15 });
		const failure = await client.getTenant(ACME).catch((error: unknown) => error);
		expect(failure).toMatchObject({ code: "HUB_UNAVAILABLE", message: expect.stringContaining("longer than") });
	});

	test("however many wait for a key the hub is asked once, and each of them gets the answer or the failure", async () => {
		const { hash, record } = await mint();
		const answers = await Promise.all(Array.from({ length: 200 }, () => directory.lookupKey(hash)));
		expect(new Set(answers.map((answer) => answer?.key))).toEqual(new Set([record]));
		expect(way.asked).toEqual(["POST /keys/validate"]);
		way.misdeed = MISDEEDS["hangs before the answer"]!;
		const stuck = await mint();
		const failures = await Promise.all(Array.from({ length: 200 }, () => codeOf(directory.lookupKey(stuck.hash))));
		expect(new Set(failures)).toEqual(new Set(["HUB_UNAVAILABLE"]));
		expect(way.asked).toHaveLength(2);
	});

	test("calls share a few connections, and no more than allowed are open", async () => {
		directory = openDirectory({ maxConcurrent: 3, timeoutSeconds: 10 });
		for (let index = 0; index < 10; index++) await directory.lookupKey((await mint()).hash);
		expect(way.connections.size).toBe(1);
		const minted = await Promise.all(Array.from({ length: 30 }, mint));
		await Promise.all(minted.map(({ hash }) => directory.lookupKey(hash)));
		expect(way.connections.size).toBeLessThanOrEqual(3);
	});

	test("questions are asked again until their time is over, and what changes something is sent once", async () => {
		let leftToFail = 2;
		way.misdeed = () => (leftToFail-- > 0 ? new Response("Bad Gateway", { status: 502 }) : undefined);
		directory = openDirectory({ retries: 3, timeoutSeconds: 10 });
		const { hash, record } = await mint();
		expect((await directory.lookupKey(hash))?.key).toEqual(record);
		expect(way.asked).toHaveLength(3);
		leftToFail = 1;
		expect(await codeOf(directory.hub.createCollection(ACME, newCollection("docs")))).toBe("HUB_UNAVAILABLE");
		expect(way.asked.slice(3)).toEqual(["POST /tenants/acme/collections"]);
	});

	test("a hub that was gone is used again as soon as the feed gets an answer, and the feed goes on where it was", async () => {
		const feedDirectory = openDirectory();
		const seen: number[] = [];
		const polls: (number | undefined)[] = [];
		const failing = Promise.withResolvers<void>();
		const heard = Promise.withResolvers<void>();
		const cached = await mint();
		await feedDirectory.lookupKey(cached.hash);
		const { cursor } = await elsewhere.changes(undefined, 0, new AbortController().signal);
		const feed = new ChangeFeed({
			hub: {
				changes: (from, wait, signal) => {
					polls.push(from);
					return feedDirectory.hub.changes(from, wait, signal);
				},
			},
			directory: feedDirectory,
			cursors: { load: async () => cursor, save: async () => {} },
			subscribers: [
				{
					onChange(change) {
						seen.push(change.cursor);
						if (change.kind === "tenant" && change.record?.name === "Back") heard.resolve();
					},
				},
			],
			waitSeconds: 30,
			random: systemRandom,
			onFailure: () => failing.resolve(),
		});
		await feed.start();
		await way.leave();
		await failing.promise;
		for (let index = 0; index < HUB_LIMITS.breakerFailuresMax; index++) {
			await codeOf(feedDirectory.lookupKey(hashKey(`hh_live_${index}`)));
		}
		// While nobody hears of it.
		await elsewhere.revokeKey(cached.record.api_key_id);
		await elsewhere.updateTenant(ACME, { name: "Back" });
		way.comeBack();
		await heard.promise;
		// The clock has not moved: it is not the pause that is over.
		expect((await feedDirectory.lookupKey((await mint()).hash))?.tenant.name).toBe("Back");
		expect(feedDirectory.cachedKey(cached.hash)?.key.rotation_status).toBe("revoked");
		await feed.stop();
		expect(polls[1]).toBe(cursor);
		expect(seen).toEqual([...seen].sort((one, other) => one - other));
		expect(new Set(seen).size).toBe(seen.length);
		expect(seen[0]).toBe(cursor + 1);
	});

	test("in steady state more than 99 of 100 requests touch no hub", async () => {
		const keys: string[] = [];
		for (let tenantIndex = 0; tenantIndex < 10; tenantIndex++) {
			const id = `tenant-${tenantIndex}` as TenantId;
			await elsewhere.createTenant({ id, name: id });
			for (let keyIndex = 0; keyIndex < 2; keyIndex++) {
				keys.push(hashKey((await elsewhere.createKey(id, newKey)).api_key));
			}
		}
		let requestCount = 0;
		const runSeconds = async (seconds: number) => {
			for (let second = 0; second < seconds; second++) {
				clock.advanceSeconds(1);
				// Five requests a second of each key; each looks its key up, and its tenant's collections.
				for (let request = 0; request < 5; request++) {
					for (const hash of keys) {
						const found = directory.cachedKey(hash) ?? (await directory.lookupKey(hash));
						await directory.collections(found!.tenant.id);
						requestCount += 1;
					}
				}
			}
		};
		directory = openDirectory({ timeoutSeconds: 10 });
		await runSeconds(60);
		requestCount = 0;
		way.asked.length = 0;
		await runSeconds(600);
		expect(requestCount).toBe(60_000);
		expect(way.asked.length / requestCount).toBeLessThan(0.01);
	});
});
