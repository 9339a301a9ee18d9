import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { join } from "node:path";
import fc from "fast-check";
import { Webhook } from "standardwebhooks";
import type { HiveError } from "../../src/base/errors.ts";
import { type ApiKeyId, hashKey, systemRandom } from "../../src/base/ids.ts";
import { ChangeFeed } from "../../src/hub/change-feed.ts";
import type { HubClient } from "../../src/hub/hub-client-types.ts";
import { CachedHubDirectory } from "../../src/hub/hub-directory.ts";
import { HubWebhooks, type HubWebhooksOptions, type WebhookDelivery } from "../../src/hub/hub-webhook.ts";
import type { MintedKey, NewKey } from "../../src/hub/models.ts";
import { ACME, type HubRig, newClient, openHub, rejectionOf, TestClock, temporaryFolder } from "./hub-rig.ts";

const SECRET = `whsec_${Buffer.alloc(24, 7).toString("base64")}`;
const OTHER_SECRET = `whsec_${Buffer.alloc(24, 8).toString("base64")}`;
const newKey: NewKey = { name: "ci", permissions: ["READ_WRITE"], environment: "live", expires_at: null };

/** Follows the system's clock, as the library does, until it is set. */
class SettableClock {
	offsetSeconds = 0;
	nowMs = (): number => Date.now() + this.offsetSeconds * 1_000;
}

interface Draft {
	readonly id?: string;
	/** Seconds from now. */
	readonly agoSeconds?: number;
	readonly secret?: string;
	readonly body?: string;
}

const push = (type: string, data: unknown): string =>
	JSON.stringify({ type, timestamp: new Date().toISOString(), data });

let sentCount = 0;
function delivery({ id = `msg_${sentCount++}`, agoSeconds = 0, secret = SECRET, body = "{}" }: Draft): WebhookDelivery {
	const sent = new Date((Math.floor(Date.now() / 1_000) - agoSeconds) * 1_000);
	return {
		id,
		timestamp: String(sent.getTime() / 1_000),
		signature: new Webhook(secret).sign(id, sent, body),
		body,
	};
}

/** Who is told does nothing but take notes. */
function openWebhooks(options: Partial<HubWebhooksOptions> = {}) {
	const told: string[] = [];
	const webhooks = new HubWebhooks({
		secret: SECRET,
		clock: new SettableClock(),
		news: {
			hashOf: (id) => (id === "key_cached0000000000" ? "b".repeat(64) : undefined),
			keyForgotten: (hash) => void told.push(`forgotten ${hash[0]}`),
			keyMinted: (hash) => void told.push(`minted ${hash[0]}`),
			keyUnsure: (id) => void told.push(`unsure ${id}`),
			tenantUnsure: (id) => void told.push(`tenant unsure ${id}`),
			tenantDeleted: (id) => void told.push(`tenant dropped ${id}`),
		},
		nudge: () => void told.push("nudge"),
		...options,
	});
	return { webhooks, told };
}

function refusal(webhooks: HubWebhooks, sent: WebhookDelivery): HiveError {
	try {
		webhooks.take(sent);
	} catch (error) {
		return error as HiveError;
	}
	throw new Error("it was not refused");
}

describe("a delivery of HiveHub", () => {
	const quotaUpdated = push("quota.updated", { tenant_id: "acme" });

	test("says which record is no longer to be trusted, and that the hub is to be asked", () => {
		const { webhooks, told } = openWebhooks();
		const hash = "a".repeat(64);
		const outcomes = (
			[
				["key.revoked", { key_hash: hash }],
				["key.revoked", { api_key_id: "key_cached0000000000" }],
				["key.revoked", { api_key_id: "key_elsewhere0000000", tenant_id: "acme" }],
				["key.revoked", { key_hash: hash, api_key_id: "key_cached0000000000" }],
				["key.rotated", { api_key_id: "key_cached0000000000" }],
				["key.updated", { key_hash: hash, api_key_id: "key_cached0000000000" }],
				["key.updated", { key_hash: hash }],
				["tenant.updated", { tenant_id: "acme" }],
				["quota.updated", { tenant_id: "acme", quota: { max_vectors: 10 ** 9 } }],
				["tenant.suspended", { tenant_id: "acme" }],
				["tenant.deleted", { tenant_id: "acme" }],
			] as const
		).map(([type, data]) => {
			told.push(type);
			return webhooks.take(delivery({ body: push(type, data) }));
		});
		expect(new Set(outcomes)).toEqual(new Set(["taken"]));
		expect(
			told
				.join(", ")
				.split(", nudge")
				.join("")
				.split(/, (?=(?:key|tenant|quota)\.)/),
		).toEqual([
			"key.revoked, forgotten a",
			"key.revoked, forgotten b",
			"key.revoked, unsure key_elsewhere0000000",
			"key.revoked, forgotten a, forgotten b",
			"key.rotated, unsure key_cached0000000000",
			"key.updated, unsure key_cached0000000000, minted a",
			"key.updated, forgotten a, minted a",
			"tenant.updated, tenant unsure acme",
			"quota.updated, tenant unsure acme",
			"tenant.suspended, tenant dropped acme",
			"tenant.deleted, tenant dropped acme",
		]);
		expect(told.filter((line) => line === "nudge")).toHaveLength(outcomes.length);
	});

	test("of a type that is not known is taken and ignored", () => {
		const { webhooks, told } = openWebhooks();
		expect(webhooks.take(delivery({ body: push("invoice.paid", { amount: 3 }) }))).toBe("ignored");
		expect(told).toEqual([]);
	});

	test("has an effect once, however often it comes", () => {
		const { webhooks, told } = openWebhooks();
		const sent = delivery({ body: quotaUpdated });
		expect([webhooks.take(sent), webhooks.take(sent), webhooks.take(sent)]).toEqual([
			"taken",
			"duplicate",
			"duplicate",
		]);
		expect(webhooks.take(delivery({ id: sent.id!, agoSeconds: -200, body: quotaUpdated }))).toBe("duplicate");
		expect(told).toEqual(["tenant unsure acme", "nudge"]);
	});

	test("is refused unless all of it was signed with the secret, and refusing remembers nothing", () => {
		const { webhooks, told } = openWebhooks({ idCountMax: 1 });
		const sent = delivery({ body: quotaUpdated });
		const forgeries: WebhookDelivery[] = [
			delivery({ body: quotaUpdated, secret: OTHER_SECRET }),
			{ ...sent, body: `${sent.body} ` },
			{ ...sent, id: "msg_other" },
			{ ...sent, timestamp: String(Number(sent.timestamp) + 1) },
			{ ...sent, signature: sent.signature!.replace("v1,", "v1a,") },
			{ ...sent, signature: "v1" },
			{ ...sent, signature: "" },
			{ ...sent, signature: `${"v1,AAAA ".repeat(600)}${sent.signature}` },
			{ ...sent, timestamp: `${sent.timestamp}.0` },
			{ ...sent, timestamp: ` ${sent.timestamp}` },
			{ ...sent, timestamp: "soon" },
			{ ...sent, timestamp: "" },
			{ ...sent, id: undefined },
			{ ...sent, timestamp: undefined },
			{ ...sent, signature: undefined },
			{ id: undefined, timestamp: undefined, signature: undefined, body: "" },
		];
		expect(forgeries.map((forgery) => refusal(webhooks, forgery).code)).toEqual(
			Array(forgeries.length).fill("AUTH_SIGNATURE_INVALID"),
		);
		expect(told).toEqual([]);
		// There was room for one.
		expect(webhooks.take(sent)).toBe("taken");
	});

	test("with one bit changed anywhere is refused", () => {
		const { webhooks } = openWebhooks();
		const sent = delivery({ body: quotaUpdated });
		const fields = ["id", "timestamp", "signature", "body"] as const;
		fc.assert(
			fc.property(fc.constantFrom(...fields), fc.nat(), fc.integer({ min: 0, max: 6 }), (field, at, bit) => {
				const text = sent[field]!;
				const index = at % text.length;
				const flipped = String.fromCharCode(text.charCodeAt(index) ^ (1 << bit));
				const forged = { ...sent, [field]: text.slice(0, index) + flipped + text.slice(index + 1) };
				return refusal(webhooks, forged).code === "AUTH_SIGNATURE_INVALID";
			}),
			{ numRuns: 300 },
		);
		expect(webhooks.take(sent)).toBe("taken");
	});

	test("may carry several signatures, as while a secret is replaced", () => {
		const { webhooks } = openWebhooks();
		const sent = delivery({ body: quotaUpdated });
		const other = new Webhook(OTHER_SECRET).sign(sent.id!, new Date(Number(sent.timestamp) * 1_000), sent.body);
		expect(webhooks.take({ ...sent, signature: `${other} ${sent.signature}` })).toBe("taken");
	});

	test("is taken within five minutes of being sent, either way, and not beyond", () => {
		const { webhooks } = openWebhooks();
		const sentAgo = (agoSeconds: number) => delivery({ agoSeconds, body: quotaUpdated });
		expect(webhooks.take(sentAgo(290))).toBe("taken");
		expect(webhooks.take(sentAgo(-290))).toBe("taken");
		expect(refusal(webhooks, sentAgo(310)).code).toBe("AUTH_SIGNATURE_INVALID");
		expect(refusal(webhooks, sentAgo(-310)).code).toBe("AUTH_SIGNATURE_INVALID");
	});

	test("whose id could hide a dot of what is signed is refused", () => {
		const { webhooks } = openWebhooks();
		for (const id of ["a.b", "a b", "", "é", "x".repeat(257)]) {
			expect(refusal(webhooks, delivery({ id, body: quotaUpdated })).code).toBe("AUTH_SIGNATURE_INVALID");
		}
	});

	test("that is signed but makes no sense is refused by the field at fault, and may be sent again mended", () => {
		const { webhooks, told } = openWebhooks();
		const faults = [
			["", "body"],
			["nonsense", "body"],
			["[]", "body"],
			['{"data":{}}', "type"],
			[push("", {}), "type"],
			[push("key.revoked", {}), "data.key_hash"],
			[push("key.revoked", undefined), "data"],
			[push("key.revoked", { key_hash: "hh_live_abc" }), "data.key_hash"],
			[push("key.updated", { api_key_id: 7 }), "data.api_key_id"],
			[push("tenant.updated", { tenant_id: "NOT ONE" }), "data.tenant_id"],
			[push("tenant.deleted", null), "data"],
		] as const;
		for (const [body, field] of faults) {
			const { code, details } = refusal(webhooks, delivery({ id: "msg_same", body }));
			expect([code, details]).toEqual(["VALIDATION_FAILED", { field }]);
		}
		expect(told).toEqual([]);
		expect(webhooks.take(delivery({ id: "msg_same", body: quotaUpdated }))).toBe("taken");
	});

	test("of more than 64 KiB is refused before anything is computed", () => {
		const { webhooks } = openWebhooks();
		const body = JSON.stringify({ type: "tenant.updated", data: { tenant_id: "acme", pad: "é".repeat(32_768) } });
		expect(refusal(webhooks, { ...delivery({}), body }).code).toBe("PAYLOAD_TOO_LARGE");
	});
});

describe("the ids that were taken", () => {
	const body = push("tenant.updated", { tenant_id: "acme" });

	test("are kept within the window however many come: what does not fit is refused, and fits later", () => {
		const clock = new SettableClock();
		const { webhooks, told } = openWebhooks({ clock, idCountMax: 3 });
		const taken = [290, 0, 0].map((agoSeconds) => delivery({ agoSeconds, body }));
		for (const sent of taken) webhooks.take(sent);
		const late = delivery({ body });
		const overloaded = refusal(webhooks, late);
		expect([overloaded.code, overloaded.details]).toEqual(["OVERLOADED", { retry_after_seconds: 60 }]);
		expect(taken.map((sent) => webhooks.take(sent))).toEqual(["duplicate", "duplicate", "duplicate"]);
		expect(told).toHaveLength(6);
		clock.offsetSeconds = 20;
		expect(webhooks.take(late)).toBe("taken");
		expect(refusal(webhooks, delivery({ body })).code).toBe("OVERLOADED");
	});

	test("that were forgotten do not become new when the clock is set back", () => {
		const clock = new SettableClock();
		const { webhooks } = openWebhooks({ clock, idCountMax: 2 });
		const taken = [20, 10].map((agoSeconds) => delivery({ agoSeconds, body }));
		for (const sent of taken) webhooks.take(sent);
		clock.offsetSeconds = 3_600;
		expect(webhooks.take(delivery({ body }))).toBe("taken");
		clock.offsetSeconds = 0;
		expect(taken.map((sent) => refusal(webhooks, sent).code)).toEqual([
			"AUTH_SIGNATURE_INVALID",
			"AUTH_SIGNATURE_INVALID",
		]);
		expect(webhooks.take(delivery({ body }))).toBe("taken");
	});
});

describe("with a directory and a hub", () => {
	let folder: ReturnType<typeof temporaryFolder>;
	let rig: HubRig;
	let hub: HubClient;
	let directory: CachedHubDirectory;
	let webhooks: HubWebhooks;
	let nudgeCount: number;
	let isHubGone: boolean;
	let minted: MintedKey;
	let keyHash: string;

	beforeEach(async () => {
		folder = temporaryFolder();
		rig = await openHub({ sqlitePath: join(folder.path, "hub.db") });
		isHubGone = false;
		nudgeCount = 0;
		hub = rig.client();
		await hub.createTenant({ id: ACME, name: "Acme" });
		minted = await hub.createKey(ACME, newKey);
		keyHash = hashKey(minted.api_key);
		directory = new CachedHubDirectory({
			client: newClient(async (request) => {
				if (isHubGone) throw new Error("connection refused");
				return await rig.server.handle(request);
			}),
			clock: new TestClock(),
			ttlSeconds: 300,
			quotaTtlSeconds: 60,
			staleTtlSeconds: 3_600,
			entriesMax: 1_000,
		});
		webhooks = new HubWebhooks({
			secret: SECRET,
			clock: new SettableClock(),
			news: directory,
			nudge: () => {
				nudgeCount += 1;
			},
		});
		expect((await directory.lookupKey(keyHash))?.key.rotation_status).toBe("active");
	});

	afterEach(async () => {
		await rig.server.close();
		folder.remove();
	});

	const naming: readonly ["its hash" | "its id", () => object][] = [
		["its hash", () => ({ key_hash: keyHash })],
		["its id", () => ({ api_key_id: minted.record.api_key_id })],
	];
	for (const [by, data] of naming) {
		test(`a key whose revocation is pushed by ${by} is not served any more, the hub being gone, and refused once it is back`, async () => {
			await hub.revokeKey(minted.record.api_key_id);
			isHubGone = true;
			expect(directory.cachedKey(keyHash)).toBeDefined();
			webhooks.take(delivery({ body: push("key.revoked", data()) }));
			expect(directory.cachedKey(keyHash)).toBeUndefined();
			expect((await rejectionOf(directory.lookupKey(keyHash))).code).toBe("HUB_UNAVAILABLE");
			isHubGone = false;
			expect((await directory.lookupKey(keyHash))?.key.rotation_status).toBe("revoked");
			expect(nudgeCount).toBe(1);
		});
	}

	test("a push that the hub's records do not bear out changes nothing", async () => {
		for (const type of ["key.revoked", "key.updated", "tenant.suspended", "tenant.deleted"]) {
			const data = { api_key_id: minted.record.api_key_id, tenant_id: ACME };
			webhooks.take(delivery({ body: push(type, data) }));
			const found = await directory.lookupKey(keyHash);
			expect([found?.key.rotation_status, found?.tenant.active]).toEqual(["active", true]);
		}
	});

	test("the keys of a tenant whose suspension is pushed are not served while the hub is gone", async () => {
		await hub.updateTenant(ACME, { active: false });
		isHubGone = true;
		webhooks.take(delivery({ body: push("tenant.suspended", { tenant_id: ACME }) }));
		expect((await rejectionOf(directory.lookupKey(keyHash))).code).toBe("HUB_UNAVAILABLE");
		isHubGone = false;
		expect((await directory.lookupKey(keyHash))?.tenant.active).toBe(false);
	});

	test("a quota or a key that changed is asked for by the next to need it, and serves on while the hub is gone", async () => {
		await hub.setQuota(ACME, { max_storage_bytes: null, max_vectors: 5, max_collections: null });
		isHubGone = true;
		webhooks.take(delivery({ body: push("quota.updated", { tenant_id: ACME }) }));
		webhooks.take(delivery({ body: push("key.updated", { api_key_id: minted.record.api_key_id }) }));
		expect((await directory.lookupKey(keyHash))?.tenant.quota.max_vectors).toBeNull();
		isHubGone = false;
		directory.hubAnswered();
		expect((await directory.lookupKey(keyHash))?.tenant.quota.max_vectors).toBe(5);
	});

	test("a key that was unknown a moment ago is asked for again when news of it is pushed", async () => {
		const hashOfLater = "c".repeat(64);
		let askedCount = 0;
		const counting = new CachedHubDirectory({
			client: newClient((request) => {
				askedCount += 1;
				return rig.server.handle(request);
			}),
			clock: new TestClock(),
			ttlSeconds: 300,
			quotaTtlSeconds: 60,
			staleTtlSeconds: 3_600,
			entriesMax: 1_000,
		});
		const hooks = new HubWebhooks({ secret: SECRET, clock: new SettableClock(), news: counting, nudge: () => {} });
		await counting.lookupKey(hashOfLater);
		await counting.lookupKey(hashOfLater);
		expect(askedCount).toBe(1);
		hooks.take(delivery({ body: push("key.updated", { key_hash: hashOfLater }) }));
		await counting.lookupKey(hashOfLater);
		expect(askedCount).toBe(2);
	});

	test("a push of a key that nobody asked for here does nothing", () => {
		const data = { api_key_id: "key_0000000000000000" as ApiKeyId };
		expect(webhooks.take(delivery({ body: push("key.revoked", data) }))).toBe("taken");
		expect(directory.cachedKey(keyHash)?.key.rotation_status).toBe("active");
	});

	test("a push has the feed ask, which brings the record", async () => {
		const polled = Promise.withResolvers<void>();
		const applied = Promise.withResolvers<void>();
		const feed = new ChangeFeed({
			hub: {
				// The first poll is on a connection that died unnoticed.
				changes: (cursor, waitSeconds, signal) => {
					polled.resolve();
					if (waitSeconds === 0) return directory.hub.changes(cursor, waitSeconds, signal);
					return new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
				},
			},
			directory: {
				apply(change) {
					directory.apply(change);
					if (change.kind === "key" && change.record?.rotation_status === "revoked") applied.resolve();
				},
				clear: () => directory.clear(),
			},
			cursors: { load: async () => 0, save: async () => {} },
			subscribers: [],
			waitSeconds: 30,
			random: systemRandom,
			onFailure: (error) => applied.reject(error),
		});
		await feed.start();
		await polled.promise;
		await hub.revokeKey(minted.record.api_key_id);
		const nudging = new HubWebhooks({
			secret: SECRET,
			clock: new SettableClock(),
			news: directory,
			nudge: () => feed.nudge(),
		});
		nudging.take(delivery({ body: push("key.updated", { api_key_id: minted.record.api_key_id }) }));
		await applied.promise;
		await feed.stop();
	});
});
