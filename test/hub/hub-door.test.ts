import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { hashKey, newServiceKey, systemRandom } from "../../src/base/ids.ts";
import { HUB_LIMITS } from "../../src/hub/hub-limits.ts";
import { mintAdminKeyIfAbsent } from "../../src/hub/server/hub-bootstrap.ts";
import { HubDatabase } from "../../src/hub/server/hub-database.ts";
import { type HubRig, type Json, openHub, rejectionOf, SERVICE_KEY, TestClock, temporaryFolder } from "./hub-rig.ts";

const newKey = { name: "ci", permissions: ["READ_WRITE"], environment: "live", expires_at: null };

describe("the hub's door", () => {
	let folder: ReturnType<typeof temporaryFolder>;
	let hub: HubRig;

	beforeEach(async () => {
		folder = temporaryFolder();
		hub = await openHub({ sqlitePath: join(folder.path, "hub.db") }, new TestClock());
	});

	afterEach(async () => {
		await hub.server.close();
		folder.remove();
	});

	const knock = async (headers: Record<string, string>, path = "/api/v1/tenants", method = "GET") => {
		const response = await hub.server.handle(new Request(`http://hub.test${path}`, { headers, method }));
		return { status: response.status, headers: response.headers, body: (await response.json()) as Json };
	};

	test("only a known service key comes in, and nobody else learns which paths exist", async () => {
		for (const path of ["/api/v1/tenants", "/api/v1/nothing", "/", "/api/v1/keys/validate"]) {
			expect((await knock({}, path)).body.code).toBe("AUTH_MISSING");
			for (const header of ["Bearer", "Basic abc", "Bearer hh_live_x", `Bearer ${SERVICE_KEY}x`, SERVICE_KEY]) {
				expect((await knock({ authorization: header }, path)).body.code).toBe("AUTH_INVALID_FORMAT");
			}
			const stranger = await knock({ authorization: `Bearer ${newServiceKey(systemRandom)}` }, path);
			expect(stranger.status).toBe(401);
			expect(stranger.body.code).toBe("AUTH_INVALID");
			expect(stranger.headers.get("www-authenticate")).toBe("Bearer");
		}
		expect((await knock({ authorization: `bearer ${SERVICE_KEY}` })).status).toBe(200);
	});

	test("health is for everyone", async () => {
		const { status, body } = await knock({}, "/api/v1/health");
		expect(status).toBe(200);
		expect(body).toEqual({ status: "ok", version: "1.2.3" });
	});

	test("an unknown path is 404 and a wrong method 405 with what is allowed", async () => {
		const authorization = `Bearer ${SERVICE_KEY}`;
		expect((await knock({ authorization }, "/api/v1/nothing")).body.code).toBe("NOT_FOUND");
		const wrong = await knock({ authorization }, "/api/v1/topology", "DELETE");
		expect(wrong.status).toBe(405);
		expect(wrong.headers.get("allow")).toBe("GET, PUT");
	});

	test("the request's id comes back, in a failure's body too", async () => {
		const { body, headers } = await knock({ "x-request-id": "mine-1" });
		expect(headers.get("x-request-id")).toBe("mine-1");
		expect(body.request_id).toBe("mine-1");
		expect((await knock({})).body.request_id).toMatch(/^req_[a-z0-9]{20}$/);
	});

	test("a body past the limit is refused while it arrives", async () => {
		const { status, body } = await hub.ask("POST", "/logs", "x".repeat(HUB_LIMITS.requestBodyBytesMax + 1));
		expect(status).toBe(413);
		expect(body.code).toBe("PAYLOAD_TOO_LARGE");
	});

	test("a defect answers INTERNAL, tells the asker nothing and the owner everything", async () => {
		await hub.database.write(async ({ sql }) => {
			await sql`DROP TABLE topology`;
		});
		const { status, body } = await hub.ask("GET", "/topology");
		expect(status).toBe(500);
		expect(body).toEqual({ code: "INTERNAL", error: expect.any(String), request_id: expect.any(String) });
		expect(JSON.stringify(body)).not.toContain("topology");
		expect(String(hub.defects[0])).toContain("no such table");
	});

	test("no key's text is on disk, and the file is its owner's alone", async () => {
		await hub.ask("POST", "/tenants", { id: "acme", name: "Acme" });
		const { api_key, record } = (await hub.ask("POST", "/tenants/acme/keys", newKey)).body;
		const rotated = (await hub.ask("POST", `/keys/${record.api_key_id}/rotate`, { grace_seconds: 5 })).body;
		const admin = await mintAdminKeyIfAbsent(hub.database, hub.clock, systemRandom);
		const files = readdirSync(folder.path);
		expect(files).toContain("hub.db-wal");
		const look = (secret: string) => files.some((file) => readFileSync(join(folder.path, file)).includes(secret));
		expect(look(hashKey(api_key))).toBe(true);
		for (const secret of [api_key, rotated.api_key, admin!, SERVICE_KEY]) {
			expect(look(secret)).toBe(false);
			expect(look(secret.split("_").at(-1)!)).toBe(false);
		}
		for (const file of files) expect(statSync(join(folder.path, file)).mode & 0o077).toBe(0);
	});

	test("a database that is away is HUB_UNAVAILABLE", async () => {
		expect(await rejectionOf(HubDatabase.open({ sqlitePath: join(folder.path, "no", "hub.db") }))).toMatchObject({
			code: "HUB_UNAVAILABLE",
		});
		expect(await rejectionOf(HubDatabase.open({ postgresUrl: "postgres://hub@127.0.0.1:1/hub" }))).toMatchObject({
			code: "HUB_UNAVAILABLE",
		});
		const broken = join(folder.path, "broken.db");
		await Bun.write(broken, "this is no database, and never was one".repeat(100));
		expect(await rejectionOf(HubDatabase.open({ sqlitePath: broken }))).toMatchObject({ code: "HUB_UNAVAILABLE" });
		await hub.database.close();
		expect((await hub.ask("GET", "/tenants")).body.code).toBe("HUB_UNAVAILABLE");
	});
});
