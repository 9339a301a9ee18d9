import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HiveError } from "../../src/base/errors.ts";
import { isLoopback } from "../../src/base/loopback.ts";
import { loadSettings, type Settings, type SettingsSources } from "../../src/node/settings.ts";
import { environmentName, settingLeaves } from "../../src/node/settings-schema.ts";

const root = mkdtempSync(join(tmpdir(), "hive-settings-"));
let folderCount = 0;
let folder = "";

beforeEach(() => {
	folder = join(root, String(folderCount++));
	mkdirSync(folder);
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

type Sources = Partial<SettingsSources> & { readonly file?: string };

function load({ file, ...sources }: Sources = {}): Settings {
	if (file !== undefined) writeFileSync(join(folder, "hive-vector.yml"), file);
	return loadSettings({ folder, env: {}, ...sources });
}

/** The problems that stop the start, one text each. */
function problemsOf(sources: Sources): readonly string[] {
	try {
		load(sources);
	} catch (error) {
		if (!(error instanceof HiveError) || error.code !== "VALIDATION_FAILED") throw error;
		const problems = error.details?.problems as string[];
		for (const problem of problems) expect(error.message).toContain(problem);
		return problems;
	}
	return [];
}

const SERVICE_KEY = `svc_${"Ab3".repeat(13)}z`;

test("without a file, variables or flags every setting has the contract's default", () => {
	const { values } = load();
	expect(values.data_dir).toBe(join(folder, "data"));
	expect(values.server).toMatchObject({ host: "127.0.0.1", port: 7801, max_body_bytes: 67_108_864 });
	expect(values.server.workers).toBeGreaterThanOrEqual(1);
	expect(values.auth).toEqual({
		required: false,
		brute_force: { failures: 5, window_seconds: 60, block_seconds: 300 },
	});
	expect(values.hub).toMatchObject({
		mode: "embedded",
		database: "sqlite",
		timeout_seconds: 30,
		retries: 3,
		stale_ttl_seconds: 3600,
		cache: { ttl_seconds: 300, quota_ttl_seconds: 60, max_entries: 100_000 },
		connection_pool: { max_per_host: 10 },
		usage_report_interval: 300,
	});
	expect(values.cluster).toMatchObject({
		enabled: false,
		listen: "/ip4/0.0.0.0/tcp/7802",
		join: [],
		replicas: 3,
		mdns: false,
		write_consistency: "quorum",
		read_consistency: "one",
	});
	expect(values.rate_limits).toEqual({
		requests_per_minute: 1000,
		requests_per_hour: 10_000,
		mcp_requests_per_minute: 100,
	});
	expect(values.mcp).toEqual({ enabled: true, max_concurrent_requests_per_tenant: 10, timeout_seconds: 300 });
	expect(values.graphql).toEqual({ enabled: true, introspection: true, max_depth: 10, max_cost: 1000 });
	expect(values.embedding.provider).toBe("none");
	expect(values.audit).toEqual({ enabled: true, retention_days: 365 });
	expect(values.metrics).toMatchObject({ public: false, max_tenant_series: 1000 });
	expect(values.log).toEqual({ level: "info", format: "json" });
});

test("auto becomes what it stands for", () => {
	expect(load({ file: "cluster: { enabled: true }" }).values.auth.required).toBe(true);
	expect(load({ file: "server: { workers: 3 }" }).values.server.workers).toBe(3);
	expect(load({ file: "log: { format: auto }", isTerminal: true }).values.log.format).toBe("pretty");
	expect(load({ file: "log: { format: json }", isTerminal: true }).values.log.format).toBe("json");
	expect(load({ file: "auth: { required: true }" }).values.auth.required).toBe(true);
});

test("the environment overrides the file, and a flag overrides both", () => {
	const file = "server:\n  host: localhost\n  port: 1001\nlog:\n  level: warn\n";
	const env = { HIVE_VECTOR_SERVER_PORT: "1002", HIVE_VECTOR_LOG_LEVEL: "error", PATH: "/bin" };
	const settings = load({ file, env, flags: { port: 1003 } });
	expect(settings.values.server.host).toBe("localhost");
	expect(settings.values.log.level).toBe("error");
	expect(settings.values.server.port).toBe(1003);
	const origins = new Map(settings.listOrigins().map(({ path, origin }) => [path, origin]));
	expect(origins.get("server.host")).toBe("hive-vector.yml:2");
	expect(origins.get("log.level")).toBe("HIVE_VECTOR_LOG_LEVEL");
	expect(origins.get("server.port")).toBe("--port");
	expect(origins.get("hub.mode")).toBe("default");
});

test("every setting has a variable of its own", () => {
	const names = [...settingLeaves().keys()].map(environmentName);
	expect(new Set(names).size).toBe(names.length);
	for (const name of [
		"HIVE_VECTOR_DATA_DIR",
		"HIVE_VECTOR_HUB_CACHE_TTL_SECONDS",
		"HIVE_VECTOR_SERVER_TLS_CERT",
		"HIVE_VECTOR_AUTH_BRUTE_FORCE_FAILURES",
	]) {
		expect(names).toContain(name);
	}
});

test("variables are read as the type of their setting", () => {
	const { values } = load({
		env: {
			HIVE_VECTOR_DATA_DIR: "elsewhere",
			HIVE_VECTOR_HUB_CACHE_TTL_SECONDS: "7",
			HIVE_VECTOR_CLUSTER_ENABLED: "true",
			HIVE_VECTOR_CLUSTER_JOIN: " , ",
			HIVE_VECTOR_AUTH_REQUIRED: "auto",
			HIVE_VECTOR_METRICS_PUBLIC: "on",
			HIVE_VECTOR_SERVER_WORKERS: "auto",
			HIVE_VECTOR_EMBEDDING_DIMENSION: "",
			HIVE_VECTOR_URL: "http://127.0.0.1:1",
			HIVE_VECTOR_API_KEY: "hh_live_whatever",
		},
	});
	expect(values.data_dir).toBe(join(folder, "elsewhere"));
	expect(values.hub.cache.ttl_seconds).toBe(7);
	expect(values.cluster.enabled).toBe(true);
	expect(values.auth.required).toBe(true);
	expect(values.metrics.public).toBe(true);
});

test("a setting given at its default's value counts as explicitly set", () => {
	const settings = load({ file: "rate_limits:\n  requests_per_minute: 1000\n" });
	expect(settings.explicitlySet("rate_limits.requests_per_minute")).toBe(true);
	expect(settings.explicitlySet("rate_limits.requests_per_hour")).toBe(false);
});

test("--config names the file, and a named file must be there", () => {
	writeFileSync(join(folder, "other.yml"), "log: { level: debug }");
	writeFileSync(join(folder, "hive-vector.yml"), "log: { level: fatal }");
	expect(load({ configPath: "other.yml" }).values.log.level).toBe("debug");
	expect(load({ configPath: join(folder, "other.yml") }).values.log.level).toBe("debug");
	expect(problemsOf({ configPath: "gone.yml" })).toEqual(["gone.yml: there is no such file"]);
	expect(problemsOf({ configPath: "." })).toEqual([".: the file cannot be read (EISDIR)"]);
});

describe("a file that is right", () => {
	for (const [what, file] of [
		["is empty", ""],
		["holds comments only", "# nothing\n"],
		["has an empty section", "server:\nlog:\n  level: debug\n"],
		["leaves an optional setting empty", "server:\n  tls:\n    cert:\n    key: null\n"],
		["uses an anchor", "hub: &h { retries: &n 1, cache: { ttl_seconds: *n } }\n"],
		["names later settings at their default", "cluster: { listen: /ip4/0.0.0.0/tcp/7802, join: [], mdns: false }\n"],
		[
			"switches off what is not there",
			"mcp: { enabled: false }\ngraphql: { enabled: false, introspection: false }\naudit: { enabled: false }\n",
		],
		["leaves later secrets empty", "hub: { cache: { redis: } }\nembedding: { api_key: }\n"],
	] as const) {
		test(what, () => expect(problemsOf({ file })).toEqual([]));
	}
});

describe("a file that is wrong stops the start:", () => {
	const cases: readonly (readonly [string, string, readonly string[]])[] = [
		[
			"a typo in a key",
			"server:\n  prot: 80\n",
			["hive-vector.yml:2: unknown setting server.prot; did you mean server.port?"],
		],
		["a typo in a section", "sever:\n  port: 80\n", ["hive-vector.yml:1: unknown setting sever; did you mean server?"]],
		[
			"a key outside its section",
			"max_body_bytes: 80\n",
			["hive-vector.yml:1: unknown setting max_body_bytes; did you mean server.max_body_bytes?"],
		],
		["a key like none", "log:\n  level: info\n  xylophone: 1\n", ["hive-vector.yml:3: unknown setting log.xylophone"]],
		["a name every object has", "constructor: 1\n", ["hive-vector.yml:1: unknown setting constructor"]],
		["a key that is a list", "? [a, b]\n: 1\n", ['hive-vector.yml:1: unknown setting ["a","b"]']],
		[
			"text for a number",
			"server:\n  port: abc\n",
			['hive-vector.yml:2: server.port: expected an integer from 0 to 65535, found "abc"'],
		],
		[
			"a number in quotes",
			'server:\n  port: "80"\n',
			['hive-vector.yml:2: server.port: expected an integer from 0 to 65535, found "80"'],
		],
		[
			"a port out of range",
			"server: { port: 65536 }\n",
			["hive-vector.yml:1: server.port: expected an integer from 0 to 65535, found 65536"],
		],
		[
			"a fraction",
			"hub: { retries: 1.5 }\n",
			["hive-vector.yml:1: hub.retries: expected an integer from 0 to 10, found 1.5"],
		],
		[
			"a list for a value",
			"server:\n  host: [a]\n",
			["hive-vector.yml:2: server.host: expected a host name or an IP address, found a list"],
		],
		[
			"a section for a value",
			"data_dir: { a: 1 }\n",
			["hive-vector.yml:1: data_dir: expected a folder, found a section"],
		],
		[
			"a value for a section",
			"server: 7801\n",
			['hive-vector.yml:1: server: expected settings as "name: value", found "7801"'],
		],
		["a list for the file", "- 1\n", ['hive-vector.yml:1: the file: expected settings as "name: value", found a list']],
		[
			"another choice",
			"log: { level: loud }\n",
			['hive-vector.yml:1: log.level: expected trace, debug, info, warn, error or fatal, found "loud"'],
		],
		[
			"text for a switch",
			"metrics: { public: maybe }\n",
			['hive-vector.yml:1: metrics.public: expected true or false, found "maybe"'],
		],
		[
			"neither auto nor a number",
			"server: { workers: some }\n",
			['hive-vector.yml:1: server.workers: expected auto, or an integer from 1 to 256, found "some"'],
		],
		[
			"neither auto nor a switch",
			"auth: { required: 1 }\n",
			["hive-vector.yml:1: auth.required: expected auto, true or false, found 1"],
		],
		[
			"another database",
			"hub: { database: 'mysql://x' }\n",
			["hive-vector.yml:1: hub.database: expected sqlite, or a postgres:// address, found another text"],
		],
		[
			"a short metrics token",
			"metrics: { token: hunter2 }\n",
			[
				"hive-vector.yml:1: metrics.token: expected a token of 16 to 512 printable ASCII characters without spaces, and not an API key, found another text",
			],
		],
		[
			"a number as a secret",
			"metrics: { token: 12345678 }\n",
			[
				"hive-vector.yml:1: metrics.token: expected a token of 16 to 512 printable ASCII characters without spaces, and not an API key, found a number",
			],
		],
		[
			"a service key of another form",
			"hub: { service_api_key: svc_x }\n",
			[
				'hive-vector.yml:1: hub.service_api_key: expected a service key: "svc_" and 40 letters or digits, found another text',
			],
		],
		[
			"joining without cluster mode",
			"cluster: { join: [/ip4/10.0.0.1/tcp/7802] }\n",
			[
				"hive-vector.yml:1: cluster.join: only a node in cluster mode joins others; set cluster.enabled: true (--cluster) too",
			],
		],
		[
			"joining what is no address",
			"cluster: { enabled: true, join: [node1:7802, node2] }\n",
			[
				'hive-vector.yml:1: cluster.join: expected a list of addresses such as /ip4/10.0.0.1/tcp/7802, node1.example.com:7802 or dns:nodes.example.com, found a list with "node2"',
			],
		],
		[
			"telling others a name that stands for many",
			"cluster: { advertise: ['dns:nodes.example.com'] }\n",
			[
				'hive-vector.yml:1: cluster.advertise: expected a list of addresses such as /ip4/10.0.0.1/tcp/7802 or node1.example.com:7802, found a list with "dns:nodes.example.com"',
			],
		],
		[
			"listening at a name",
			"cluster: { listen: /dns4/node1/tcp/7802 }\n",
			[
				'hive-vector.yml:1: cluster.listen: expected multiaddresses such as /ip4/0.0.0.0/tcp/7802, found "/dns4/node1/tcp/7802"',
			],
		],
		[
			"an embedding provider that nobody can find",
			"embedding: { provider: openai }\n",
			[
				"hive-vector.yml:1: embedding.provider: openai needs embedding.url",
				"hive-vector.yml:1: embedding.provider: openai needs embedding.model",
			],
		],
		[
			"an embedding provider that is not there",
			"embedding: { provider: onnx, model: minilm }\n",
			[
				"hive-vector.yml:1: embedding.provider: onnx is not supported by this version; serve the model with an OpenAI-compatible server, such as Ollama, and set embedding.provider: openai",
			],
		],
		[
			"a model without a provider",
			"embedding: { model: nomic-embed-text }\n",
			[
				"hive-vector.yml:1: embedding.model: has no effect while embedding.provider is none; set embedding.provider: openai, or leave it out",
			],
		],
		[
			"a key that no header can carry",
			"embedding: { provider: openai, url: 'http://127.0.0.1:1/v1', model: m, api_key: 'two words' }\n",
			[
				"hive-vector.yml:1: embedding.api_key: expected a key of printable ASCII characters without spaces, found another text",
			],
		],
		[
			"a cache that is no Redis",
			"hub: { cache: { redis: 'http://user:secret@cache' } }\n",
			["hive-vector.yml:1: hub.cache.redis: expected a redis:// or rediss:// address, found another text"],
		],
		[
			"a webhook secret that is too short",
			"hub: { webhook_secret: whsec_c2hvcnQ= }\n",
			[
				'hive-vector.yml:1: hub.webhook_secret: expected a Standard Webhooks secret: "whsec_" and base64 of 24 to 64 bytes, found another text',
			],
		],
		[
			"a webhook secret without its prefix",
			"hub: { webhook_secret: MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw }\n",
			[
				'hive-vector.yml:1: hub.webhook_secret: expected a Standard Webhooks secret: "whsec_" and base64 of 24 to 64 bytes, found another text',
			],
		],
		[
			"a proxy that is no address",
			"server: { trusted_proxies: [10.0.0.0/8, proxy.example.com] }\n",
			[
				'hive-vector.yml:1: server.trusted_proxies: expected a list of IP addresses and networks such as 10.0.0.0/8, found a list with "proxy.example.com"',
			],
		],
		[
			"a wildcard of origins",
			"server: { cors: { allowed_origins: ['*'] } }\n",
			[
				'hive-vector.yml:1: server.cors.allowed_origins: expected a list of origins such as https://app.example.com, found a list with "*"',
			],
		],
		[
			"an origin with a path",
			"server: { cors: { allowed_origins: ['https://app.example.com/'] } }\n",
			[
				'hive-vector.yml:1: server.cors.allowed_origins: expected a list of origins such as https://app.example.com, found a list with "https://app.example.com/"',
			],
		],
		[
			"the same key twice",
			"log: { level: info }\nlog: { level: warn }\n",
			["hive-vector.yml:2: not valid YAML: Map keys must be unique"],
		],
		[
			"two mistakes, both named",
			"log: { level: loud }\nprot: 1\nserver:\n  port: -1\n",
			[
				"hive-vector.yml:2: unknown setting prot",
				'hive-vector.yml:1: log.level: expected trace, debug, info, warn, error or fatal, found "loud"',
				"hive-vector.yml:4: server.port: expected an integer from 0 to 65535, found -1",
			],
		],
	];
	for (const [what, file, problems] of cases) test(what, () => expect(problemsOf({ file })).toEqual([...problems]));

	test("broken YAML, with its line", () => {
		expect(problemsOf({ file: "log:\n  level: [\n" })[0]).toMatch(/^hive-vector\.yml:\d: not valid YAML: /);
	});
});

describe("the environment and flags that are wrong stop the start:", () => {
	const cases: readonly (readonly [string, Sources, readonly string[]])[] = [
		[
			"a typo",
			{ env: { HIVE_VECTOR_SERVER_PROT: "1" } },
			["HIVE_VECTOR_SERVER_PROT: unknown setting; did you mean HIVE_VECTOR_SERVER_PORT?"],
		],
		[
			"a name like none",
			{ env: { HIVE_VECTOR_XYLOPHONE_KEYS_OF: "1" } },
			["HIVE_VECTOR_XYLOPHONE_KEYS_OF: unknown setting"],
		],
		[
			"text for a number",
			{ env: { HIVE_VECTOR_SERVER_PORT: "8e1" } },
			['HIVE_VECTOR_SERVER_PORT: server.port: expected an integer from 0 to 65535, found "8e1"'],
		],
		[
			"text for a switch",
			{ env: { HIVE_VECTOR_CLUSTER_ENABLED: "si" } },
			['HIVE_VECTOR_CLUSTER_ENABLED: cluster.enabled: expected true or false, found "si"'],
		],
		[
			"a list of peers that are none",
			{ env: { HIVE_VECTOR_CLUSTER_JOIN: "a, b" } },
			[
				'HIVE_VECTOR_CLUSTER_JOIN: cluster.join: expected a list of addresses such as /ip4/10.0.0.1/tcp/7802, node1.example.com:7802 or dns:nodes.example.com, found "a, b"',
			],
		],
		[
			"a port",
			{ flags: { port: "99999" } },
			['--port: server.port: expected an integer from 0 to 65535, found "99999"'],
		],
		[
			"joining without cluster mode",
			{ flags: { join: ["/ip4/10.0.0.1/tcp/7802"] } },
			["--join: cluster.join: only a node in cluster mode joins others; set cluster.enabled: true (--cluster) too"],
		],
	];
	for (const [what, sources, problems] of cases) test(what, () => expect(problemsOf(sources)).toEqual([...problems]));
});

describe("settings that are each right but not together stop the start:", () => {
	test("a single-tenant node without keys on an address others can reach", () => {
		const problem =
			"--host: server.host: 0.0.0.0 can be reached from other machines, and a single-tenant node asks for no key; " +
			"set auth.required: true, or cluster.enabled: true, or start with --insecure-open if anyone who can reach it may read and delete everything";
		expect(problemsOf({ flags: { host: "0.0.0.0" } })).toEqual([problem]);
		expect(problemsOf({ flags: { host: "0.0.0.0" }, insecureOpen: true })).toEqual([]);
		expect(problemsOf({ flags: { host: "0.0.0.0" }, purpose: "hub" })).toEqual([]);
		expect(problemsOf({ flags: { host: "0.0.0.0" }, file: "auth: { required: true }" })).toEqual([]);
		expect(problemsOf({ flags: { host: "0.0.0.0", cluster: true }, file: "" })).toEqual([]);
	});
	test("a multi-tenant node without keys", () => {
		expect(problemsOf({ file: "cluster: { enabled: true }\nauth: { required: false }\n" })).toEqual([
			"hive-vector.yml:2: auth.required: cannot be false while cluster.enabled is true: a node of several tenants always asks for a key",
		]);
	});
	test("a remote hub without address or key, and an address without a remote hub", () => {
		expect(problemsOf({ file: "hub: { mode: remote }" })).toEqual([
			"hive-vector.yml:1: hub.mode: remote needs cluster.enabled: true; a single-tenant node has a hub of its own",
			"hive-vector.yml:1: hub.mode: remote needs hub.api_url",
			"hive-vector.yml:1: hub.mode: remote needs hub.service_api_key",
		]);
		const remote = `hub:\n  mode: remote\n  api_url: http://127.0.0.1:9\n  service_api_key: ${SERVICE_KEY}\n`;
		expect(problemsOf({ file: remote, flags: { cluster: true } })).toEqual([]);
		expect(problemsOf({ file: remote, purpose: "hub" })).toEqual([
			"hive-vector.yml:2: hub.mode: a hub of its own cannot be remote; leave it at embedded",
		]);
		expect(problemsOf({ file: "hub: { api_url: 'https://hub.example' }" })).toEqual([
			"hive-vector.yml:1: hub.api_url: has no effect while hub.mode is embedded; set hub.mode: remote, or leave it out",
		]);
	});
	test("TLS with a part missing or unreadable", () => {
		writeFileSync(join(folder, "cert.pem"), "x");
		mkdirSync(join(folder, "key.pem"));
		expect(problemsOf({ file: "server: { tls: { cert: cert.pem } }" })).toEqual([
			"hive-vector.yml:1: server.tls.cert: TLS also needs server.tls.key",
		]);
		expect(problemsOf({ file: "server:\n  tls:\n    cert: gone.pem\n    key: key.pem\n" })).toEqual([
			`hive-vector.yml:3: server.tls.cert: ${join(folder, "gone.pem")}: there is no such file`,
			`hive-vector.yml:4: server.tls.key: ${join(folder, "key.pem")}: not a file`,
		]);
	});
});

test("addresses of a cluster come as multiaddresses, hosts with ports, and names of groups", () => {
	const { values } = load({
		file: "cluster: { enabled: true, join: ['dns:nodes'], advertise: ['node1:7802'], move_bytes_per_second: 65536 }\n",
		flags: {
			join: ["/ip6/::1/tcp/7802", "dns:nodes.example.com:7900"],
			listen: "/ip4/127.0.0.1/tcp/0, /ip6/::1/tcp/1",
		},
	});
	expect(values.cluster).toMatchObject({
		join: ["/ip6/::1/tcp/7802", "dns:nodes.example.com:7900"],
		listen: "/ip4/127.0.0.1/tcp/0, /ip6/::1/tcp/1",
		advertise: ["node1:7802"],
		repair_interval_seconds: 600,
		move_bytes_per_second: 65_536,
	});
});

test("the secret's file is looked for from the current folder, and has to be there", () => {
	const file = "cluster: { enabled: true, secret_file: the.secret }\n";
	expect(problemsOf({ file })).toEqual([
		`hive-vector.yml:1: cluster.secret_file: ${join(folder, "the.secret")}: there is no such file`,
	]);
	writeFileSync(join(folder, "the.secret"), "0123456789abcdef");
	expect(load({ file }).values.cluster.secret_file).toBe(join(folder, "the.secret"));
});

test("secrets are masked in what is shown", () => {
	const settings = load({
		file: `hub:\n  database: postgres://hive:pass:w@rd@db.example/hive\n  service_api_key: ${SERVICE_KEY}\nmetrics:\n  token: a-very-secret-token\n`,
	});
	expect(settings.values.metrics.token).toBe("a-very-secret-token");
	const shown = settings.toMasked();
	expect(shown.metrics).toEqual({ public: false, token: "********", max_tenant_series: 1000 });
	expect(shown.hub).toMatchObject({
		database: "postgres://hive:********@db.example/hive",
		service_api_key: "********",
	});
	expect(shown.server).not.toHaveProperty("tls.cert");
	const everything = JSON.stringify([shown, settings.listOrigins()]);
	for (const secret of [SERVICE_KEY, "a-very-secret-token", "pass:w@rd"]) expect(everything).not.toContain(secret);
});

test("only addresses of this machine are loopback", () => {
	for (const host of ["127.0.0.1", "127.1.2.3", "localhost", "::1"]) expect(isLoopback(host)).toBe(true);
	for (const host of ["0.0.0.0", "::", "10.0.0.1", "127.0.0.1.example", "localhost.example"]) {
		expect(isLoopback(host)).toBe(false);
	}
});
