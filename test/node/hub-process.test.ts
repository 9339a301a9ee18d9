import { afterAll, expect, test } from "bun:test";
import { mkdirSync, readFileSync, rmdirSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { startHub } from "../../src/node/hub-process.ts";
import { refusal, Workshop } from "./node-fixture.ts";

const workshop = new Workshop();
afterAll(() => workshop.clear());

const read = (path: string) => readFileSync(path, "utf8").trim();

test("a hub of its own writes its keys once, for the owner alone, and answers to the service key", async () => {
	const dataDir = workshop.newDataDir();
	const settings = workshop.settings(dataDir, {}, "hub");
	const first = await startHub(settings, await workshop.parts());
	expect([first.adminKeyPath, first.serviceKeyPath]).toEqual([
		join(dataDir, "admin.key"),
		join(dataDir, "service.key"),
	]);
	for (const path of [first.adminKeyPath!, first.serviceKeyPath!]) expect(statSync(path).mode & 0o777).toBe(0o600);
	const serviceKey = read(first.serviceKeyPath!);
	const tenants = (url: string, key: string) =>
		fetch(`${url}/api/v1/tenants`, { headers: { authorization: `Bearer ${key}` } });
	const answer = await tenants(first.url, serviceKey);
	expect(((await answer.json()) as { tenants: { id: string }[] }).tenants.map((tenant) => tenant.id)).toEqual([
		"system",
	]);
	expect((await tenants(first.url, `svc_${"x".repeat(40)}`)).status).toBe(401);
	expect((await fetch(`${first.url}/api/v1/health`)).status).toBe(200);
	const adminKey = read(first.adminKeyPath!);
	await first.stop();
	await first.stop();

	const second = await startHub(settings, await workshop.parts());
	expect(second.adminKeyPath).toBeUndefined();
	expect(second.serviceKeyPath).toBeUndefined();
	expect((await tenants(second.url, serviceKey)).status).toBe(200);
	expect(read(join(dataDir, "admin.key"))).toBe(adminKey);
	await second.stop();
	for (const secret of [adminKey, serviceKey]) expect(workshop.logLines.join("")).not.toContain(secret);
});

test("a service key from the settings is used and written nowhere", async () => {
	const serviceKey = `svc_${"A".repeat(40)}`;
	const settings = workshop.settings(workshop.newDataDir(), { HIVE_VECTOR_HUB_SERVICE_API_KEY: serviceKey }, "hub");
	const hub = await startHub(settings, await workshop.parts());
	expect(hub.serviceKeyPath).toBeUndefined();
	const answer = await fetch(`${hub.url}/api/v1/topology`, { headers: { authorization: `Bearer ${serviceKey}` } });
	expect(answer.status).toBe(200);
	await hub.stop();
});

test("what nodes report goes to the hub's log, without keys", async () => {
	const hub = await startHub(workshop.settings(workshop.newDataDir(), {}, "hub"), await workshop.parts());
	const leaked = `hh_live_${"k".repeat(32)}`;
	const answer = await fetch(`${hub.url}/api/v1/logs`, {
		method: "POST",
		headers: { authorization: `Bearer ${read(hub.serviceKeyPath!)}` },
		body: JSON.stringify({ entries: [{ node_id: "node_x", text: `tried ${leaked}` }] }),
	});
	expect(answer.status).toBe(200);
	await hub.stop();
	const line = workshop.logLines.find((text) => text.includes("a node reported"));
	expect(line).toContain("node_x");
	expect(line).not.toContain(leaked);
});

test("stopping answers who waits for changes, and then frees the folder and the port", async () => {
	const dataDir = workshop.newDataDir();
	const settings = workshop.settings(dataDir, {}, "hub");
	const hub = await startHub(settings, await workshop.parts());
	const headers = { authorization: `Bearer ${read(hub.serviceKeyPath!)}` };
	const { cursor } = (await (await fetch(`${hub.url}/api/v1/changes`, { headers })).json()) as { cursor: number };
	const waiting = fetch(`${hub.url}/api/v1/changes?cursor=${cursor}&wait=60`, { headers });
	// The hub takes requests in order: once this one is answered, it has the one that waits.
	await fetch(`${hub.url}/api/v1/health`);
	await hub.stop();
	const answer = await waiting;
	expect([200, 503]).toContain(answer.status);
	expect(fetch(`${hub.url}/api/v1/health`)).rejects.toThrow();

	const port = new URL(hub.url).port;
	const again = await startHub(
		workshop.settings(dataDir, { HIVE_VECTOR_SERVER_PORT: port }, "hub"),
		await workshop.parts(),
	);
	expect(new URL(again.url).port).toBe(port);
	await again.stop();
});

test("a hub that cannot start says why and holds nothing back", async () => {
	const dataDir = workshop.newDataDir();
	const parts = await workshop.parts();
	const running = await startHub(workshop.settings(dataDir, {}, "hub"), parts);
	const port = new URL(running.url).port;
	const sameFolder = await refusal(startHub(workshop.settings(dataDir, {}, "hub"), parts));
	expect(sameFolder.code).toBe("CONFLICT");
	expect(sameFolder.message).toContain(`in use by process ${process.pid}`);

	const otherDir = workshop.newDataDir();
	const samePort = await refusal(
		startHub(workshop.settings(otherDir, { HIVE_VECTOR_SERVER_PORT: port }, "hub"), parts),
	);
	expect(samePort.message).toBe(`cannot listen: port ${port} of 127.0.0.1 is in use`);

	const cert = join(workshop.root, "cert.pem");
	writeFileSync(cert, "no certificate");
	const tls = { HIVE_VECTOR_SERVER_TLS_CERT: cert, HIVE_VECTOR_SERVER_TLS_KEY: cert };
	expect((await refusal(startHub(workshop.settings(otherDir, tls, "hub"), parts))).message).toBe(
		"cannot listen: the TLS certificate and key are not a matching pair of PEM files",
	);
	const elsewhere = { HIVE_VECTOR_SERVER_HOST: "192.0.2.1" };
	expect((await refusal(startHub(workshop.settings(otherDir, elsewhere, "hub"), parts))).message).toBe(
		"cannot listen: 192.0.2.1 is no address of this machine",
	);
	const noDatabase = { HIVE_VECTOR_HUB_DATABASE: "postgres://hive@127.0.0.1:1/hive" };
	expect((await refusal(startHub(workshop.settings(otherDir, noDatabase, "hub"), parts))).code).toBe("HUB_UNAVAILABLE");
	await (await startHub(workshop.settings(otherDir, {}, "hub"), parts)).stop();

	const blockedDir = workshop.newDataDir();
	mkdirSync(join(blockedDir, "admin.key"), { recursive: true });
	const blocked = await startHub(workshop.settings(blockedDir, {}, "hub"), parts).catch((cause: unknown) => cause);
	expect(String(blocked)).toContain("EISDIR");
	rmdirSync(join(blockedDir, "admin.key"));
	const unblocked = await startHub(workshop.settings(blockedDir, {}, "hub"), parts);
	expect(unblocked.adminKeyPath).toBe(join(blockedDir, "admin.key"));
	await unblocked.stop();
	await running.stop();
});
