import { afterAll, beforeAll, expect, test } from "bun:test";
import { createHmac, generateKeyPairSync } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RedisClient } from "bun";
import { CapturedProcess } from "../../scripts/attacks/captured-process.ts";
import { RawClient, type RawRequest } from "../../scripts/attacks/raw-http.ts";
import { freePort } from "../../scripts/free-port.ts";
import { type RedisRig, startRedis } from "../hub/redis-rig.ts";

/** Files whose whole content is a secret that the binary itself made, readable by its owner alone. */
const SECRET_FILES = /(?:^|\/)(?:admin\.key|service\.key|cluster\.secret)$/;
const POSTGRES_PASSWORD = "pgPassw0rdThatNobodyMaySee";
const REDIS_PASSWORD = "redisPassw0rdThatNobodyMaySee";
const METRICS_TOKEN = "metrics-token-that-nobody-may-see";
const WEBHOOK_KEY = Buffer.from("a webhook secret of 32 bytes .....").toString("base64");
const SERVICE_KEY = `svc_${"ServiceKeyThatNobodyMaySee".padEnd(40, "0")}`;
const wrongKey = (index: number): string => `hh_live_${`WrongKeyThatNobodyMaySee${index}`.padEnd(32, "z")}`;

/** By what each secret is. */
const secrets = new Map<string, string>([
	["PostgreSQL's password", POSTGRES_PASSWORD],
	["Redis's password", REDIS_PASSWORD],
	["metrics token", METRICS_TOKEN],
	["webhook secret", WEBHOOK_KEY],
	["service key of the settings", SERVICE_KEY],
]);
/** What anybody but the keys' owners may get to read, by where it stood. */
const exhibits = new Map<string, string>();
const statuses = new Set<number>();
const codes = new Set<string>();

let redis: RedisRig;
let folder = "";
let dataDir = "";
let hubDir = "";
const running = new Set<CapturedProcess>();

function start(
	name: string,
	args: readonly string[],
	env: Record<string, string> = {},
	stdin?: string,
): CapturedProcess {
	const started = new CapturedProcess(args, { folder, name, env, ...(stdin === undefined ? {} : { stdin }) });
	running.add(started);
	return started;
}

/** A server of the binary, once it answers. */
async function serve(name: string, args: readonly string[], readyUrl: string, env = {}): Promise<CapturedProcess> {
	const started = start(name, args, env);
	await started.answersAt(readyUrl);
	exhibits.set(`command line of ${name}`, started.commandLine());
	return started;
}

async function end(name: string, program: CapturedProcess, signal: NodeJS.Signals): Promise<void> {
	await program.stop(signal);
	running.delete(program);
	exhibits.set(`output of ${name}`, program.output());
}

/** Runs to its end. */
async function run(name: string, args: readonly string[], env: Record<string, string> = {}, stdin = ""): Promise<void> {
	const program = start(name, args, env, stdin);
	await program.ended();
	running.delete(program);
	exhibits.set(`output of ${name}`, program.output());
}

// biome-ignore lint/suspicious/noExplicitAny: answers are held against expectations, not typed
type Body = any;

/** One call, whose answer is an exhibit unless it shows a key to the one who made it. */
async function call(
	url: string,
	headers: Record<string, string>,
	method: string,
	path: string,
	body?: unknown,
): Promise<Body> {
	const answer = await fetch(`${url}${path}`, {
		method,
		headers: { ...(body === undefined ? {} : { "content-type": "application/json" }), ...headers },
		...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
	});
	const text = await answer.text();
	const parsed = text.startsWith("{") ? JSON.parse(text) : text;
	statuses.add(answer.status);
	if (parsed.code !== undefined) codes.add(parsed.code);
	if (parsed.api_key !== undefined) secrets.set(`key ${parsed.api_key_id}`, parsed.api_key);
	else exhibits.set(`answer ${exhibits.size} to ${method} ${path}`, `${JSON.stringify([...answer.headers])}\n${text}`);
	return parsed;
}

const bearer = (key: string): Record<string, string> => ({ authorization: `Bearer ${key}` });

/** RFC 9421, hmac-sha256 over method and address. */
function signature(key: string, method: string, url: string, nonce: string): Record<string, string> {
	const input = `("@method" "@target-uri");created=${Math.floor(Date.now() / 1000)};nonce="${nonce}"`;
	const base = `"@method": ${method}\n"@target-uri": ${url}\n"@signature-params": ${input}`;
	const mac = createHmac("sha256", key).update(base).digest("base64");
	return { "signature-input": `sig=${input}`, signature: `sig=:${mac}:` };
}

function webhookHeaders(id: string, body: string, key = WEBHOOK_KEY): Record<string, string> {
	const timestamp = String(Math.floor(Date.now() / 1000));
	const mac = createHmac("sha256", Buffer.from(key, "base64")).update(`${id}.${timestamp}.${body}`).digest("base64");
	return { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": `v1,${mac}` };
}

beforeAll(async () => {
	redis = await startRedis();
	folder = mkdtempSync(join(tmpdir(), "hive-vector-secrets-"));
	dataDir = join(folder, "data");
	hubDir = join(folder, "hub");
	const config = join(folder, "node.yml");
	const port = freePort();
	const url = `http://127.0.0.1:${port}`;
	writeFileSync(
		config,
		JSON.stringify({
			data_dir: dataDir,
			server: { port },
			cluster: { enabled: true },
			hub: { webhook_secret: `whsec_${WEBHOOK_KEY}`, cache: { redis: `redis://:${REDIS_PASSWORD}@127.0.0.1:1/0` } },
			metrics: { token: METRICS_TOKEN },
			log: { level: "trace", format: "json" },
		}),
		{ mode: 0o600 },
	);
	let node = await serve("node", ["serve", "--config", config], `${url}/ready`);
	secrets.set("operator's key", readFileSync(join(dataDir, "admin.key"), "utf8").trim());
	secrets.set("cluster secret", readFileSync(join(dataDir, "cluster.secret"), "utf8").trim());
	const collection = await liveOn(url, secrets.get("operator's key")!);
	await useCommands(url, secrets.get("operator's key")!, config);
	await beRefused(url, collection);
	await end("node", node, "SIGKILL");

	for (const path of filesIn(join(dataDir, "tenants")).filter((each) => /\.(ldb|log)$/.test(each))) flipAByte(path);
	node = await serve("node after damage", ["serve", "--config", config], `${url}/ready`);
	await call(url, bearer(collection.key), "GET", `/api/v1/collections/${collection.name}/vectors/1`);
	// The crash report is part of its output.
	await end("node after damage", node, "SIGSEGV");

	await failToStart();
	await liveWithAHub();
	for (const root of [dataDir, hubDir, join(folder, "remote")]) {
		for (const path of filesIn(root)) {
			if (!SECRET_FILES.test(path)) exhibits.set(path, readFileSync(path, "latin1"));
		}
	}
}, 120_000);

afterAll(async () => {
	for (const program of running) await program.stop("SIGKILL");
	if (redis.available) await redis.stop();
	rmSync(folder, { recursive: true, force: true });
});

function filesIn(root: string): string[] {
	return readdirSync(root, { recursive: true })
		.map((name) => join(root, String(name)))
		.filter((path) => statSync(path).isFile());
}

function flipAByte(path: string): void {
	const bytes = readFileSync(path);
	if (bytes.length === 0) return;
	const place = bytes.length >> 1;
	bytes[place] = bytes[place]! ^ 0xff;
	writeFileSync(path, bytes);
}

/** Everything that keys are made for, used and refused. */
async function liveOn(url: string, admin: string): Promise<{ name: string; key: string }> {
	const asAdmin = bearer(admin);
	const tenants = "/api/v1/tenants";
	const mint = (tenant: string, fields: object): Promise<Body> =>
		call(url, asAdmin, "POST", `${tenants}/${tenant}/keys`, { permissions: ["READ_WRITE"], ...fields });
	await call(url, asAdmin, "POST", tenants, { id: "acme", name: "Acme" });
	await call(url, asAdmin, "POST", tenants, {
		id: "tiny",
		quota: { max_vectors: 1 },
		rate_limits: { requests_per_minute: 6 },
	});
	const { api_key: key } = await mint("acme", {});
	const { api_key: reader } = await mint("acme", { permissions: ["READ_ONLY"] });
	const { api_key: elsewhere } = await mint("acme", { allowed_ips: ["203.0.113.0/24"] });
	const { api_key: signing } = await mint("acme", { signing_required: true });
	const pair = generateKeyPairSync("ed25519");
	const publicPem = pair.publicKey.export({ type: "spki", format: "pem" }).toString();
	await mint("acme", { signing_required: true, signing_public_key: publicPem });
	const rotated = await mint("acme", {});
	await call(url, asAdmin, "POST", `${tenants}/acme/keys/${rotated.api_key_id}/rotate`, { grace_seconds: 60 });
	await call(url, asAdmin, "GET", `${tenants}/acme/keys`);
	await call(url, bearer(rotated.api_key), "GET", "/api/v1/usage");

	const collections = "/api/v1/collections";
	await call(url, bearer(key), "POST", collections, { name: "docs", dimension: 2 });
	const vectors = Array.from({ length: 500 }, (_, id) => ({
		id,
		vector: [1, id + 1],
		payload: { text: "x".repeat(50) },
	}));
	await call(url, bearer(key), "POST", `${collections}/docs/vectors`, { vectors });
	await call(url, { "x-api-key": key }, "POST", `${collections}/docs/search`, { vector: [1, 1] });
	await call(url, bearer(key), "POST", collections, { name: "docs", dimension: 2 });
	await call(url, bearer(key), "POST", collections, `{"name":"${key}`);
	await call(url, bearer(key), "GET", `${collections}/none`);
	await call(url, bearer(key), "PUT", collections);
	await call(url, { ...bearer(key), accept: "text/csv" }, "GET", collections);
	await call(url, { ...bearer(key), "content-type": "text/plain" }, "POST", collections, key);
	await call(url, bearer(reader), "POST", collections, { name: "mine", dimension: 2 });
	await call(url, bearer(elsewhere), "GET", collections);
	await call(url, bearer(signing), "GET", collections);
	const signed = signature(signing, "GET", `${url}${collections}`, "nonce-1");
	expect(await call(url, { ...bearer(signing), ...signed }, "GET", collections)).toHaveProperty("collections");
	await call(url, { ...bearer(signing), ...signed }, "GET", collections);
	await call(url, { ...bearer(key), "x-tenant-id": "tiny" }, "GET", collections);

	const { api_key: tiny } = await mint("tiny", {});
	await call(url, bearer(tiny), "POST", collections, { name: "few", dimension: 2 });
	await call(url, bearer(tiny), "POST", `${collections}/few/vectors`, { vectors: vectors.slice(0, 2) });
	for (let request = 0; request < 6; request++) await call(url, bearer(tiny), "GET", collections);
	await call(url, asAdmin, "PATCH", `${tenants}/tiny`, { active: false });
	await call(url, bearer(tiny), "GET", collections);

	const event = JSON.stringify({
		type: "tenant.updated",
		timestamp: new Date().toISOString(),
		data: { tenant_id: "acme" },
	});
	expect(await call(url, webhookHeaders("msg_1", event), "POST", "/api/v1/hub/webhooks", event)).toMatchObject({
		accepted: true,
	});
	const forged = webhookHeaders("msg_2", event, Buffer.from("another secret").toString("base64"));
	await call(url, forged, "POST", "/api/v1/hub/webhooks", event);
	await call(url, bearer(METRICS_TOKEN), "GET", "/metrics");
	await call(url, asAdmin, "GET", "/api/v1/cluster/health");
	await call(url, asAdmin, "GET", "/api/v1/audit");
	return { name: "docs", key };
}

async function useCommands(url: string, admin: string, config: string): Promise<void> {
	const asAdmin = { HIVE_VECTOR_URL: url, HIVE_VECTOR_API_KEY: admin };
	await run("tenant list", ["tenant", "list"], asAdmin);
	await run("key list", ["key", "list", "acme", "--json"], asAdmin);
	await run("audit list", ["audit", "list", "--json"], asAdmin);
	await run("key validate", ["key", "validate"], { HIVE_VECTOR_URL: url }, admin);
	await run("tenant show of none", ["tenant", "show", "nobody"], asAdmin);
	await run("doctor", ["doctor"], asAdmin);
	const other = join(folder, "other.yml");
	writeFileSync(
		other,
		JSON.stringify({
			hub: {
				database: `postgres://hive:${POSTGRES_PASSWORD}@db.example/hive`,
				webhook_secret: `whsec_${WEBHOOK_KEY}`,
				service_api_key: SERVICE_KEY,
				cache: { redis: `rediss://user:${REDIS_PASSWORD}@cache.example/1` },
			},
			metrics: { token: METRICS_TOKEN },
		}),
	);
	for (const path of [config, other]) {
		await run("config show", ["config", "show", "--config", path]);
		await run("config show --json", ["config", "show", "--config", path, "--json"]);
		await run("config show --origins", ["config", "show", "--config", path, "--origins"]);
		await run("config check", ["config", "check", "--config", path]);
	}
	const broken = join(folder, "broken.yml");
	writeFileSync(broken, `hub:\n  service_api_key: ${SERVICE_KEY}x\n  webhook_secret: ${WEBHOOK_KEY}\n`);
	await run("config check of bad secrets", ["config", "check", "--config", broken]);
	await run("serve with bad secrets", ["serve", "--config", broken, "--data-dir", join(folder, "unused")]);
	await run("config show of the environment", ["config", "show"], {
		HIVE_VECTOR_METRICS_TOKEN: METRICS_TOKEN,
		HIVE_VECTOR_HUB_SERVICE_API_KEY: SERVICE_KEY,
	});
}

/** Credentials that do not hold, in every place where one might put them; at last the address is shut out. */
async function beRefused(url: string, { key }: { readonly key: string }): Promise<void> {
	const collections = "/api/v1/collections";
	await call(url, {}, "GET", collections);
	const inAddress = await fetch(`${url}${collections}?api_key=${key}`);
	exhibits.set("answer to a key in the address", await inAddress.text());
	await call(url, { authorization: `Bearer ${key}tail` }, "GET", collections);
	await call(url, { authorization: `Basic ${Buffer.from(`user:${key}`).toString("base64")}` }, "GET", collections);
	secrets.set("key in a Basic header", Buffer.from(`user:${key}`).toString("base64"));
	await call(url, {}, "POST", "/api/v1/cluster/keys/validate", { api_key: key });
	await call(url, {}, "POST", "/api/v1/cluster/keys/validate", { api_key: wrongKey(0) });
	const oversized: RawRequest = {
		method: "POST",
		target: "/api/v1/collections/docs/vectors",
		headers: [
			["authorization", `Bearer ${key}`],
			["content-length", "999999999"],
		],
	};
	const client = new RawClient("127.0.0.1", Number(new URL(url).port));
	const refused = await client.send(oversized);
	statuses.add(refused.status);
	exhibits.set("answer to an oversized body", refused.body.toString());
	client.close();
	for (let attempt = 0; attempt < 7; attempt++) {
		secrets.set(`wrong key ${attempt}`, wrongKey(attempt));
		await call(url, { "x-api-key": wrongKey(attempt) }, "GET", collections);
	}
	await run("a command with a wrong key", ["collection", "list", "--tenant", "acme"], {
		HIVE_VECTOR_URL: url,
		HIVE_VECTOR_API_KEY: wrongKey(6),
	});
}

async function failToStart(): Promise<void> {
	const common = { HIVE_VECTOR_LOG_LEVEL: "trace", HIVE_VECTOR_SERVER_PORT: "0" };
	const postgres = { ...common, HIVE_VECTOR_HUB_DATABASE: `postgres://hive:${POSTGRES_PASSWORD}@127.0.0.1:1/hive` };
	await run("hub without its database", ["hub", "--data-dir", join(folder, "no-hub")], postgres);
	await run("serve without its database", ["serve", "--cluster", "--data-dir", join(folder, "no-node")], postgres);
}

/** A hub and a node as two processes, the service key between them. */
async function liveWithAHub(): Promise<void> {
	const [hubPort, nodePort] = [freePort(), freePort()];
	const trace = { HIVE_VECTOR_LOG_LEVEL: "trace", HIVE_VECTOR_LOG_FORMAT: "json" };
	const hubUrl = `http://127.0.0.1:${hubPort}`;
	const hubArgs = ["hub", "--data-dir", hubDir, "--port", String(hubPort)];
	const hub = await serve("hub", hubArgs, `${hubUrl}/api/v1/health`, trace);
	const serviceKey = readFileSync(join(hubDir, "service.key"), "utf8").trim();
	const admin = readFileSync(join(hubDir, "admin.key"), "utf8").trim();
	secrets.set("the hub's service key", serviceKey);
	secrets.set("the hub's operator's key", admin);
	await call(hubUrl, bearer(SERVICE_KEY), "GET", "/api/v1/tenants");
	await call(hubUrl, bearer(serviceKey), "GET", "/api/v1/tenants");
	await call(hubUrl, bearer(serviceKey), "POST", "/api/v1/keys/validate", { key_hash: admin });

	const nodeDir = join(folder, "remote");
	const url = `http://127.0.0.1:${nodePort}`;
	const nodeArgs = ["serve", "--cluster", "--data-dir", nodeDir, "--port", String(nodePort)];
	const node = await serve("remote node", nodeArgs, `${url}/ready`, {
		...trace,
		HIVE_VECTOR_HUB_CACHE_REDIS: await lockedRedis(),
		HIVE_VECTOR_HUB_MODE: "remote",
		HIVE_VECTOR_HUB_API_URL: hubUrl,
		HIVE_VECTOR_HUB_SERVICE_API_KEY: serviceKey,
		HIVE_VECTOR_HUB_USAGE_REPORT_INTERVAL: "1",
	});
	await call(url, bearer(admin), "POST", "/api/v1/tenants", { id: "remote" });
	const { api_key: key } = await call(url, bearer(admin), "POST", "/api/v1/tenants/remote/keys", {
		permissions: ["READ_WRITE"],
	});
	await call(url, bearer(key), "GET", "/api/v1/collections");
	await end("hub", hub, "SIGKILL");
	await call(url, bearer(wrongKey(8)), "GET", "/api/v1/collections");
	secrets.set("wrong key while the hub is away", wrongKey(8));
	await end("remote node", node, "SIGTERM");
	if (redis.available) exhibits.set("what Redis holds", await everythingIn(redis.client));
}

/** The address of a Redis that asks for a password; of none that answers, where there is none. */
async function lockedRedis(): Promise<string> {
	if (!redis.available) return `redis://:${REDIS_PASSWORD}@127.0.0.1:1/0`;
	await redis.client.send("CONFIG", ["SET", "requirepass", REDIS_PASSWORD]);
	return redis.url.replace("redis://", `redis://:${REDIS_PASSWORD}@`);
}

async function everythingIn(client: RedisClient): Promise<string> {
	const keys = (await client.send("KEYS", ["*"])) as string[];
	const values = await Promise.all(keys.map((key) => client.send("DUMP", [key])));
	return keys.map((key, index) => `${key} ${String(values[index])}`).join("\n");
}

test("the run met every kind of refusal, and what it wrote was looked at", () => {
	for (const status of [200, 201, 400, 401, 403, 404, 405, 406, 409, 413, 415, 429, 500, 503]) {
		expect([...statuses]).toContain(status);
	}
	for (const code of [
		"AUTH_MISSING",
		"AUTH_INVALID_FORMAT",
		"AUTH_INVALID",
		"AUTH_SIGNATURE_INVALID",
		"AUTH_IP_DENIED",
		"AUTH_RATE_LIMIT",
		"TENANT_SUSPENDED",
		"QUOTA_EXCEEDED",
		"RATE_LIMITED",
		"FORBIDDEN",
		"TENANT_NOT_FOUND",
		"HUB_UNAVAILABLE",
		"INTERNAL",
	]) {
		expect([...codes]).toContain(code);
	}
	expect(exhibits.get("output of node")).toContain('"level"');
	expect(exhibits.get("output of node after damage")).toContain("Segmentation fault");
	expect(exhibits.get("command line of node")).toContain("serve");
	if (redis.available) expect(exhibits.get("what Redis holds")).not.toBe("");
	const written = [...exhibits].filter(([place]) => place.startsWith(dataDir));
	expect(written.some(([place, text]) => /audit.*\.jsonl$/.test(place) && text.includes("acme"))).toBe(true);
	// The same reading of the files does find what belongs there.
	expect(written.some(([place, text]) => place.includes("hub.db") && text.includes("acme"))).toBe(true);
	expect(secrets.size).toBeGreaterThan(20);
});

test("no secret stands in any log, answer, metric, setting shown, command line or file but its own", () => {
	const found: string[] = [];
	for (const [name, secret] of secrets) {
		expect(secret.length, name).toBeGreaterThan(15);
		for (const [place, text] of exhibits) {
			if (!text.includes(secret)) continue;
			const at = text.indexOf(secret);
			found.push(`${name} in ${place.replace(folder, "")}: ${JSON.stringify(text.slice(Math.max(0, at - 100), at))}`);
		}
	}
	expect(found).toEqual([]);
});

test("the files of secrets are for their owner alone", () => {
	const paths = filesIn(folder).filter((path) => SECRET_FILES.test(path));
	expect(paths.length).toBeGreaterThan(3);
	for (const path of paths) expect(statSync(path).mode & 0o077, path).toBe(0);
});
