import { Database } from "bun:sqlite";
import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { HiveError } from "../../src/base/errors.ts";
import { systemRandom, type TenantId } from "../../src/base/ids.ts";
import { HubOverPeers } from "../../src/cluster/hub-over-peers.ts";
import { TopologyFile } from "../../src/cluster/membership/topology-file.ts";
import { type DataFolder, openDataFolder } from "../../src/node/data-folder.ts";
import { openHubLink, usesHubOfMember } from "../../src/node/hub-link.ts";
import { NodeState } from "../../src/node/node-state.ts";
import { EventLoopLag, systemEvery } from "../../src/observe/event-loop-lag.ts";
import { Metrics } from "../../src/observe/metrics.ts";
import { HubWire } from "../cluster/hub-wire.ts";
import { Workshop } from "./node-fixture.ts";

const workshop = new Workshop();
let folder: DataFolder;
beforeEach(() => {
	folder = openDataFolder(workshop.newDataDir(), systemRandom);
});
afterAll(() => workshop.clear());

describe("whose hub a node uses", () => {
	const uses = (env: Record<string, string>): boolean =>
		usesHubOfMember(workshop.settings(folder.path, { HIVE_VECTOR_CLUSTER_ENABLED: "true", ...env }), folder);
	const join_ = { HIVE_VECTOR_CLUSTER_JOIN: "10.0.0.1:7802" };

	test("is its own when it joins nobody, shares a database, or has a remote one", () => {
		expect(uses({})).toBe(false);
		expect(uses({ ...join_, HIVE_VECTOR_HUB_DATABASE: "postgres://hub@10.0.0.9/hive" })).toBe(false);
		const remote = {
			HIVE_VECTOR_HUB_MODE: "remote",
			HIVE_VECTOR_HUB_API_URL: "https://hub.example",
			HIVE_VECTOR_HUB_SERVICE_API_KEY: `svc_${"a".repeat(40)}`,
		};
		expect(uses({ ...join_, ...remote })).toBe(false);
	});

	test("is a member's when it joins, or was given a secret and looks for others", () => {
		expect(uses(join_)).toBe(true);
		expect(uses({ HIVE_VECTOR_CLUSTER_MDNS: "true" })).toBe(false);
		folder.writeSecret("clusterSecret", "a secret that was copied here");
		expect(uses({ HIVE_VECTOR_CLUSTER_MDNS: "true" })).toBe(true);
	});

	test("stays its own for the node that was the first, also when it is told to join", () => {
		folder.writeSecret("clusterSecret", "the secret that it made itself");
		const database = new Database(folder.hubDatabasePath);
		database.run("CREATE TABLE topology (version BIGINT NOT NULL)");
		database.run("INSERT INTO topology (version) VALUES (0)");
		expect(() => uses(join_)).toThrow("this data folder was used by a single-tenant node");
		database.run("UPDATE topology SET version = 1");
		database.close();
		expect(uses(join_)).toBe(false);
	});

	test("is in doubt where a single-tenant node has been, which is refused", () => {
		writeFileSync(folder.hubDatabasePath, "");
		expect(() => uses(join_)).toThrow("this data folder was used by a single-tenant node");
		expect(uses({})).toBe(false);
		folder.writeSecret("clusterSecret", "a secret that was copied here");
		expect(() => uses(join_)).toThrow("this data folder was used by a single-tenant node");
		writeFileSync(folder.clusterStatePath, "{}");
		expect(uses(join_)).toBe(false);
	});

	test("is no new one where a hub was, or is elsewhere: what is stored would be nobody's", () => {
		mkdirSync(join(folder.path, "tenants", "acme"), { recursive: true });
		expect(() => uses({})).toThrow("no hub.db that names them");
		expect(() => uses({ HIVE_VECTOR_CLUSTER_ENABLED: "false" })).toThrow("no hub.db that names them");
		expect(uses(join_)).toBe(true);
		writeFileSync(folder.clusterStatePath, "{}");
		expect(() => uses({})).toThrow("the hub is not here");
		expect(uses(join_)).toBe(true);
		writeFileSync(folder.hubDatabasePath, "");
		expect(uses({})).toBe(false);
		const alone = { HIVE_VECTOR_CLUSTER_ENABLED: "false" };
		expect(() => uses(alone)).toThrow("start it in cluster mode");
		const member = { node_id: folder.nodeId, peer_id: "p", state: "active", addresses: [], serves_hub: true } as const;
		const state = new TopologyFile(folder.clusterStatePath, () => {});
		state.save({ version: 3, members: [member, { ...member, node_id: "node_bbbbbbbbbbbbbbbb" }], retired: [] });
		expect(() => uses(alone)).toThrow("start it in cluster mode");
		// One that never had company may as well go back.
		state.save({ version: 1, members: [member], retired: [] });
		expect(uses(alone)).toBe(false);
	});
});

describe("a node that joins the one that was first", () => {
	test("has no hub, tenant or key of its own, and sees through its hub what the first one's hub decides", async () => {
		const parts = await workshop.parts();
		const lag = new EventLoopLag(() => 0, systemEvery);
		const metrics = new Metrics(10, new NodeState(lag));
		const clustered = { HIVE_VECTOR_CLUSTER_ENABLED: "true" };
		const joining = { ...clustered, HIVE_VECTOR_CLUSTER_JOIN: "10.0.0.1:7802" };
		const [firstDir, secondDir] = [workshop.newDataDir(), workshop.newDataDir()];
		const [firstFolder, secondFolder] = [firstDir, secondDir].map((dir) => openDataFolder(dir, systemRandom)) as [
			DataFolder,
			DataFolder,
		];
		const first = await openHubLink(workshop.settings(firstDir, clustered), firstFolder, parts, metrics);
		const settings = workshop.settings(secondDir, joining);
		expect(usesHubOfMember(settings, secondFolder)).toBe(true);
		const { transport } = new HubOverPeers({
			calls: new HubWire(first.memberHandler!),
			hubNode: () => firstFolder.nodeId,
			timeoutSeconds: 5,
		});
		const second = await openHubLink(settings, secondFolder, parts, metrics, { overPeers: transport });
		expect([second.memberHandler, second.adminKeyPath]).toEqual([undefined, undefined]);
		await second.directory.hub.createTenant({ id: "acme" as TenantId, name: "Acme" });
		expect((await first.directory.hub.getTenant("acme" as TenantId))?.name).toBe("Acme");
		await second.close();
		expect(readdirSync(secondDir).sort()).toEqual(["lock", "lock.pid", "node.id"]);
		await first.close();
		const gone = await second.directory.hub.health().catch((error: unknown) => (error as HiveError).code);
		expect(gone).toBe("HUB_UNAVAILABLE");
		for (const folder of [firstFolder, secondFolder]) folder.release();
		lag.stop();
	});

	test("takes nothing from a hub that knows less of the cluster than it does, until that has caught up", async () => {
		const parts = await workshop.parts();
		const lag = new EventLoopLag(() => 0, systemEvery);
		const dataDir = workshop.newDataDir();
		const hubFolder = openDataFolder(dataDir, systemRandom);
		const settings = workshop.settings(dataDir, { HIVE_VECTOR_CLUSTER_ENABLED: "true" });
		const link = await openHubLink(settings, hubFolder, parts, new Metrics(10, new NodeState(lag)), {
			knownTopologyVersion: () => 1,
		});
		const { hub } = link.directory;
		const feedFrom = (cursor?: number) => hub.changes(cursor, 0, new AbortController().signal);
		const codeOf = (asked: Promise<unknown>) =>
			asked.then(
				() => "",
				(error: HiveError) => error.code,
			);
		expect(await codeOf(feedFrom())).toBe("HUB_UNAVAILABLE");
		expect(await codeOf(feedFrom(1_000))).toBe("HUB_UNAVAILABLE");
		expect(await codeOf(hub.createTenant({ id: "acme" as TenantId, name: "Acme" }))).toBe("HUB_UNAVAILABLE");
		expect(await codeOf(link.confirm())).toBe("HUB_UNAVAILABLE");
		expect(link.directory.connected).toBe(false);
		await hub.putTopology({ version: 1, members: [], retired: [] });
		expect((await feedFrom(0)).reset).toBe(false);
		expect(link.directory.connected).toBe(true);
		await link.confirm();
		expect(await hub.getTenant("acme" as TenantId)).toBeUndefined();
		await link.close();
		hubFolder.release();
		lag.stop();
	});
});
