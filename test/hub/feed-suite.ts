import { expect, test } from "bun:test";
import { API_KEY_PATTERN, systemRandom } from "../../src/base/ids.ts";
import { HUB_LIMITS } from "../../src/hub/hub-limits.ts";
import { bootstrapHub, mintAdminKeyIfAbsent } from "../../src/hub/server/hub-bootstrap.ts";
import { HubDatabase } from "../../src/hub/server/hub-database.ts";
import { type Json, newCollection, rejectionOf, SERVICE_KEY } from "./hub-rig.ts";
import type { OpenSuite } from "./open-suite.ts";

/** Usage, topology, the feed, transactions and restarts, on whatever database `on` stands for. */
export function testFeed(on: OpenSuite): void {
	const entry = (more: object = {}) => ({
		tenant_id: "acme",
		requests: 10,
		vectors_written: 5,
		searches: 3,
		storage_bytes: 1_000,
		vectors: 50,
		period_start: "2030-01-01T00:00:00Z",
		period_end: "2030-01-01T00:05:00Z",
		...more,
	});
	const usageOf = async (tenant: string) => (await on.hub.ask("GET", `/usage?tenant_id=${tenant}`)).body.usage[0];

	test("a usage report counts once, however often and in whatever order it comes", async () => {
		await on.makeTenant();
		expect(await usageOf("acme")).toMatchObject({
			requests: 0,
			storage_bytes: 0,
			period_start: null,
			period_end: null,
		});
		const later = entry({ period_start: "2030-01-01T00:05:00Z", period_end: "2030-01-01T00:10:00Z", vectors: 60 });
		const reports = [
			{ node_id: "n1", sequence: 2, entries: [later] },
			{ node_id: "n1", sequence: 1, entries: [entry()] },
			{ node_id: "n2", sequence: 1, entries: [entry({ storage_bytes: 7 }), entry({ tenant_id: "gone" })] },
		];
		const sent = await Promise.all(
			[...reports, ...reports, ...reports].map((report) => on.hub.ask("POST", "/usage", report)),
		);
		expect(sent.map((answer) => answer.status)).toEqual(Array(9).fill(200));
		expect(sent.filter((answer) => !answer.body.duplicate)).toHaveLength(3);
		expect(await usageOf("acme")).toEqual({
			tenant_id: "acme",
			requests: 30,
			vectors_written: 15,
			searches: 9,
			storage_bytes: 1_007,
			vectors: 110,
			period_start: "2030-01-01T00:00:00.000Z",
			period_end: "2030-01-01T00:10:00.000Z",
		});
		await on.expectRefusal(on.hub.ask("GET", "/usage?tenant_id=gone"), "TENANT_NOT_FOUND");
		const page = (await on.hub.ask("GET", "/usage?limit=1")).body;
		expect(page).toMatchObject({ usage: [{ tenant_id: "acme" }], next: "acme" });
		expect((await on.hub.ask("GET", `/usage?limit=1&after=${page.next}`)).body).toMatchObject({
			usage: [{ tenant_id: "system" }],
			next: null,
		});
	});

	test("a sequence so old that the hub forgot it counts as seen", async () => {
		await on.makeTenant();
		const last = HUB_LIMITS.usageSequencesKept + 5;
		await on.hub.ask("POST", "/usage", { node_id: "n1", sequence: last, entries: [entry()] });
		expect((await on.hub.ask("POST", "/usage", { node_id: "n1", sequence: 5, entries: [entry()] })).body).toEqual({
			duplicate: true,
		});
		expect((await on.hub.ask("POST", "/usage", { node_id: "n1", sequence: 6, entries: [entry()] })).body).toEqual({
			duplicate: false,
		});
		expect((await usageOf("acme")).requests).toBe(20);
	});

	test("what was counted for a tenant that is gone is not counted for the next of its name", async () => {
		const { created_at } = await on.makeTenant();
		const report = (sequence: number, tenant_created_at: string) =>
			on.hub.ask("POST", "/usage", { node_id: "n1", sequence, entries: [entry({ tenant_created_at })] });
		expect((await report(1, created_at)).status).toBe(200);
		await on.hub.ask("DELETE", "/tenants/acme");
		on.hub.clock.advanceSeconds(1);
		const again = await on.makeTenant();
		// On its way since before, and, from a node that has not heard yet, of both.
		expect((await report(2, created_at)).body).toEqual({ duplicate: false });
		expect((await usageOf("acme")).requests).toBe(0);
		await report(3, again.created_at);
		expect((await usageOf("acme")).requests).toBe(10);
		await on.expectRefusal(report(4, "yesterday"), "VALIDATION_FAILED");
	});

	test("what a node held that has left the cluster counts no more, what happened on it does", async () => {
		await on.makeTenant();
		const members = [
			{ node_id: "n1", peer_id: "p1", state: "active", addresses: [] },
			{ node_id: "n2", peer_id: "p2", state: "draining", addresses: [] },
		];
		const report = (node_id: string, sequence: number, more: object = {}) =>
			on.hub.ask("POST", "/usage", { node_id, sequence, entries: [entry(more)] });
		await on.hub.ask("PUT", "/topology", { version: 1, members });
		await report("n1", 1);
		await report("n2", 1, { storage_bytes: 900 });
		const before = await usageOf("acme");
		expect(before).toMatchObject({
			requests: 20,
			vectors_written: 10,
			searches: 6,
			storage_bytes: 1_900,
			vectors: 100,
		});
		const retired = [{ node_id: "n2", peer_id: "p2" }];
		await on.hub.ask("PUT", "/topology", { version: 2, members: members.slice(0, 1), retired });
		expect(await usageOf("acme")).toEqual({ ...before, storage_bytes: 1_000, vectors: 50 });
		// Its last report, on its way since before.
		await report("n2", 2, { period_end: "2030-01-01T00:10:00Z" });
		expect(await usageOf("acme")).toMatchObject({ requests: 30, searches: 9, storage_bytes: 1_000, vectors: 50 });
		// Another change of the topology leaves the others alone.
		await on.hub.ask("PUT", "/topology", { version: 3, members: members.slice(0, 1), retired });
		expect(await usageOf("acme")).toMatchObject({ requests: 30, storage_bytes: 1_000, vectors: 50 });
	});

	test("a report says when keys were last used, and the latest time stays", async () => {
		await on.makeTenant();
		const { api_key, record } = await on.makeKey();
		const used = (sequence: number, at: string) =>
			on.hub.ask("POST", "/usage", {
				node_id: "n1",
				sequence,
				entries: [],
				keys: [{ api_key_id: record.api_key_id, last_used_at: at }],
			});
		await used(1, "2030-01-01T00:03:00Z");
		await used(2, "2030-01-01T00:02:00Z");
		expect((await on.validate(api_key)).body.key).toEqual({ ...record, last_used_at: "2030-01-01T00:03:00.000Z" });
	});

	test("log entries are handed on", async () => {
		const entries = [{ level: "info", message: "hello" }, { level: "warn" }];
		expect((await on.hub.ask("POST", "/logs", { entries })).body).toEqual({ accepted: 2 });
		expect(on.hub.logs).toEqual(entries);
	});

	test("the topology changes by compare-and-set", async () => {
		const nothing = { version: 0, members: [], replica_counts: [], retired: [] };
		expect((await on.hub.ask("GET", "/topology")).body).toEqual(nothing);
		const topology = { version: 1, members: [{ node_id: "n1", state: "active", addresses: ["/ip4/127.0.0.1"] }] };
		const answers = await Promise.all([1, 2, 3].map(() => on.hub.ask("PUT", "/topology", topology)));
		expect(answers.map((answer) => answer.status).sort()).toEqual([200, 409, 409]);
		const stored = {
			version: 1,
			members: [{ ...topology.members[0], peer_id: "", serves_hub: false }],
			replica_counts: [],
			retired: [],
		};
		expect(answers.find((answer) => answer.status === 200)!.body).toEqual(stored);
		expect((await on.hub.ask("GET", "/topology")).body).toEqual(stored);
		await on.expectRefusal(on.hub.ask("PUT", "/topology", { version: 3, members: [] }), "CONFLICT");
		const { changes } = (await on.hub.ask("GET", "/changes?cursor=0")).body;
		expect(changes.at(-1)).toMatchObject({ kind: "topology", version: 1 });
	});

	test("a topology in the bare form changes neither identities nor who has left", async () => {
		const member = { node_id: "n1", peer_id: "p1", state: "joining", addresses: [], serves_hub: true };
		const full = {
			version: 1,
			members: [member],
			replica_counts: [{ tenant_id: "acme", collection_id: "col_a", from: 1, to: 3 }],
			retired: [{ node_id: "n0", peer_id: "p0" }],
		};
		expect((await on.hub.ask("PUT", "/topology", full)).body).toEqual(full);
		const bare = [
			{ node_id: "n1", state: "active", addresses: ["/dns/n1/tcp/7802"] },
			{ node_id: "n2", state: "removed", addresses: [] },
		];
		const answered = await on.hub.ask("PUT", "/topology", { version: 2, members: bare });
		expect(answered.body).toEqual({
			version: 2,
			members: [
				{ ...member, ...bare[0] },
				{ ...bare[1], peer_id: "", serves_hub: false },
			],
			replica_counts: full.replica_counts,
			retired: full.retired,
		});
		const emptied = {
			version: 3,
			members: [{ ...member, state: "draining", serves_hub: false }],
			replica_counts: [],
			retired: [],
		};
		expect((await on.hub.ask("PUT", "/topology", emptied)).body).toEqual(emptied);
	});

	test("of the nodes that have left the newest are kept", async () => {
		const retired = Array.from({ length: HUB_LIMITS.retiredMembersMax + 2 }, (_, index) => ({
			node_id: `n${index}`,
			peer_id: `p${index}`,
		}));
		const { body } = await on.hub.ask("PUT", "/topology", { version: 1, members: [], retired });
		expect(body.retired).toEqual(retired.slice(2));
		expect((await on.hub.ask("GET", "/topology")).body).toEqual(body);
	});

	test("the feed gives every change once, in order, under rising cursors", async () => {
		await Promise.all(Array.from({ length: 20 }, (_, index) => on.makeTenant(`tenant-${index}`)));
		const { body } = await on.hub.ask("GET", "/changes?cursor=0");
		const cursors = body.changes.map((change: Json) => change.cursor);
		expect(cursors).toEqual(Array.from({ length: 21 }, (_, index) => index + 1));
		expect(body).toMatchObject({ cursor: 21, reset: false });
		for (const change of body.changes) {
			expect(change.record.revision).toBe(change.cursor);
			expect((await on.hub.ask("GET", `/tenants/${change.tenant_id}`)).body).toEqual(change.record);
		}
		expect((await on.hub.ask("GET", "/changes?cursor=20")).body.changes).toEqual(body.changes.slice(-1));
		expect((await on.hub.ask("GET", "/changes")).body).toEqual({ changes: [], cursor: 21, reset: false });
	});

	test("a long poll ends with the change it waited for", async () => {
		const { cursor } = (await on.hub.ask("GET", "/changes")).body;
		const waiting = [1, 2, 3].map(() => on.hub.ask("GET", `/changes?cursor=${cursor}&wait=30`));
		await on.makeTenant();
		for (const { body } of await Promise.all(waiting)) {
			expect(body.changes).toHaveLength(1);
			expect(body.changes[0].record.id).toBe("acme");
		}
	});

	test("a long poll ends empty when its time is over, its asker gone or the hub closing", async () => {
		const { cursor } = (await on.hub.ask("GET", "/changes")).body;
		const empty = { changes: [], cursor, reset: false };
		expect((await on.hub.ask("GET", `/changes?cursor=${cursor}&wait=1`)).body).toEqual(empty);
		const controller = new AbortController();
		const gone = on.hub.server.handle(
			new Request(`http://hub.test/api/v1/changes?cursor=${cursor}&wait=60`, {
				headers: { authorization: `Bearer ${SERVICE_KEY}` },
				signal: controller.signal,
			}),
		);
		const closing = on.hub.ask("GET", `/changes?cursor=${cursor}&wait=60`);
		controller.abort();
		expect(await (await gone).json()).toEqual(empty);
		await Promise.all([on.hub.server.close(), on.hub.server.close()]);
		expect((await closing).body).toEqual(empty);
		await on.expectRefusal(on.hub.ask("GET", "/health"), "HUB_UNAVAILABLE");
	});

	test("pages of the feed are bounded and meet", async () => {
		const count = HUB_LIMITS.changePageMax + 10;
		await on.hub.database.write(async (transaction) => {
			for (let index = 0; index < count; index++) {
				await transaction.change(() => ({ kind: "topology", version: index }));
			}
		});
		const first = (await on.hub.ask("GET", "/changes?cursor=1")).body;
		expect(first.changes).toHaveLength(HUB_LIMITS.changePageMax);
		const second = (await on.hub.ask("GET", `/changes?cursor=${first.cursor}`)).body;
		expect(second.changes[0].cursor).toBe(first.cursor + 1);
		expect(second).toMatchObject({ cursor: count + 1, reset: false });
	});

	test("a cursor that the feed does not reach is told to start over", async () => {
		const { cursor } = (await on.hub.ask("GET", "/changes")).body;
		// As if the database had been brought back from a backup made before the cursor.
		expect((await on.hub.ask("GET", `/changes?cursor=${cursor + 5}&wait=60`)).body).toEqual({
			changes: [],
			cursor,
			reset: true,
		});
		const pruned = HUB_LIMITS.changesPrunedEvery;
		const head = HUB_LIMITS.changesKept + pruned;
		await on.hub.database.write(async ({ sql }) => {
			await sql`UPDATE hub_state SET value = ${head - 1} WHERE name = 'revision'`;
		});
		await on.makeTenant();
		expect((await on.hub.ask("GET", `/changes?cursor=${pruned - 1}`)).body).toEqual({
			changes: [],
			cursor: head,
			reset: true,
		});
		expect((await on.hub.ask("GET", `/changes?cursor=${pruned}`)).body).toMatchObject({
			changes: [{ cursor: head, kind: "tenant" }],
			reset: false,
		});
	});

	test("a restart keeps everything", async () => {
		await on.makeTenant("acme", { metadata: { a: 1 } });
		const { api_key, record } = await on.makeKey();
		await on.hub.ask("POST", "/tenants/acme/collections", newCollection("docs"));
		await on.hub.ask("PUT", "/topology", { version: 1, members: [] });
		await on.hub.ask("POST", "/usage", { node_id: "n1", sequence: 1, entries: [entry()] });
		await on.hub.ask("POST", `/keys/${record.api_key_id}/revoke`);
		const look = async () => [
			(await on.hub.ask("GET", "/tenants")).body,
			(await on.validate(api_key)).body,
			(await on.hub.ask("GET", "/tenants/acme/keys")).body,
			(await on.hub.ask("GET", "/tenants/acme/collections")).body,
			(await on.hub.ask("GET", "/topology")).body,
			(await on.hub.ask("GET", "/usage")).body,
			(await on.hub.ask("GET", "/changes?cursor=0")).body,
		];
		const before = await look();
		await on.hub.server.close();
		await on.reopen();
		expect(await look()).toEqual(before);
	});

	test("bootstrapping twice makes one admin key, and another only when none works", async () => {
		const { database, clock } = on.hub;
		await bootstrapHub(database, clock, { defaultTenant: true });
		expect((await on.hub.ask("GET", "/tenants/default")).body).toMatchObject({ id: "default", rate_limits: null });
		expect((await on.hub.ask("GET", "/tenants/system")).body.rate_limits).toEqual({
			requests_per_minute: 100_000,
			requests_per_hour: 1_000_000,
			mcp_requests_per_minute: 10_000,
		});
		const failing = mintAdminKeyIfAbsent(database, clock, systemRandom, () => Promise.reject(new Error("disk full")));
		expect(String(await rejectionOf(failing))).toContain("disk full");
		expect((await on.hub.ask("GET", "/tenants/system/keys")).body.keys).toEqual([]);
		const kept: string[] = [];
		const keep = async (apiKey: string) => void kept.push(apiKey);
		const minted = await mintAdminKeyIfAbsent(database, clock, systemRandom, keep);
		expect(kept).toEqual([minted!]);
		expect((await on.validate(minted!)).body.key.permissions).toEqual(["ADMIN"]);
		expect(await mintAdminKeyIfAbsent(database, clock, systemRandom, keep)).toBeUndefined();
		const { api_key_id } = (await on.validate(minted!)).body.key;
		await on.hub.ask("POST", `/keys/${api_key_id}/revoke`);
		expect(await mintAdminKeyIfAbsent(database, clock, systemRandom)).toMatch(API_KEY_PATTERN);
	});

	test("a database of a newer version is left alone", async () => {
		await on.hub.database.write(async ({ sql }) => {
			await sql`UPDATE hub_state SET value = 99 WHERE name = 'schema_version'`;
		});
		expect(await rejectionOf(HubDatabase.open(on.address))).toMatchObject({ code: "CONFLICT" });
	});

	test("a write that fails leaves nothing, and the next one goes on", async () => {
		expect(
			String(
				await rejectionOf(
					on.hub.database.write(async (transaction) => {
						await transaction.change(() => ({ kind: "topology", version: 7 }));
						throw new Error("changed my mind");
					}),
				),
			),
		).toContain("changed my mind");
		expect((await on.hub.ask("GET", "/changes?cursor=0")).body.changes).toHaveLength(1);
		await on.makeTenant();
		expect((await on.hub.ask("GET", "/changes?cursor=0")).body.cursor).toBe(2);
	});

	test("a reader never sees a write that isn't committed", async () => {
		const written = Promise.withResolvers<void>();
		const commit = Promise.withResolvers<void>();
		const writing = on.hub.database.write(async ({ sql }) => {
			await sql`UPDATE tenants SET name = 'half done'`;
			written.resolve();
			await commit.promise;
		});
		await written.promise;
		expect((await on.hub.ask("GET", "/tenants/system")).body.name).toBe("System");
		commit.resolve();
		await writing;
		expect((await on.hub.ask("GET", "/tenants/system")).body.name).toBe("half done");
	});
}
