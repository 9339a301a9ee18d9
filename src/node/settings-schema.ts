import { CLUSTER_PORT, isListenAddress, isPlace, parseClusterAddress } from "../base/cluster-address.ts";
import { API_KEY_PATTERN, SERVICE_KEY_PATTERN } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { isNetwork } from "../base/network.ts";

/** One setting: what it takes, in words and in code. */
export interface Leaf<T> {
	readonly leaf: true;
	/** Completes "expected …". */
	readonly expected: string;
	readonly initial: T;
	/** A value as YAML gave it; undefined when it is not `expected`. */
	fromValue(value: unknown): T | undefined;
	/** A value as an environment variable or a flag gives it: always text. */
	fromText(text: string): T | undefined;
	/** The part of a value that makes it another than `expected`, where one can be named. */
	readonly offender?: (value: unknown) => string | undefined;
	/** What `config show` may print of it. Absent: all. */
	readonly mask?: (value: T) => string;
}

export type SettingsTree = { readonly [key: string]: Leaf<never> | SettingsTree };
type Values<S> = S extends Leaf<infer T> ? T : { readonly [K in keyof S]: Values<S[K]> };

/** Dotted paths of all leaves: `server.port`. */
type Paths<S, P extends string = ""> = {
	[K in keyof S & string]: S[K] extends { readonly leaf: true } ? `${P}${K}` : Paths<S[K], `${P}${K}.`>;
}[keyof S & string];

const MASK = "********";

function leaf<T>(
	initial: T,
	expected: string,
	fromValue: (value: unknown) => T | undefined,
	fromText: (text: string) => T | undefined,
): Leaf<T> {
	return { leaf: true, expected, initial, fromValue, fromText };
}

function number(initial: number, min: number, max: number): Leaf<number> {
	const fromValue = (value: unknown) =>
		typeof value === "number" && Number.isSafeInteger(value) && value >= min && value <= max ? value : undefined;
	return leaf(initial, `an integer from ${min} to ${max}`, fromValue, (text) =>
		/^-?\d{1,16}$/.test(text) ? fromValue(Number(text)) : undefined,
	);
}

function numberOrAuto(min: number, max: number): Leaf<number | "auto"> {
	const inner = number(min, min, max);
	return leaf<number | "auto">(
		"auto",
		`auto, or ${inner.expected}`,
		(value) => (value === "auto" ? value : inner.fromValue(value)),
		(text) => (text === "auto" ? text : inner.fromText(text)),
	);
}

const textToFlag = (text: string) =>
	/^(true|1|yes|on)$/i.test(text) ? true : /^(false|0|no|off)$/i.test(text) ? false : undefined;

function flag(initial: boolean): Leaf<boolean> {
	return leaf(
		initial,
		"true or false",
		(value) => (typeof value === "boolean" ? value : undefined),
		(text) => textToFlag(text),
	);
}

const flagOrAuto: Leaf<boolean | "auto"> = leaf<boolean | "auto">(
	"auto",
	"auto, true or false",
	(value) => (value === "auto" || typeof value === "boolean" ? value : undefined),
	(text) => (text === "auto" ? text : textToFlag(text)),
);

function oneOf<const T extends string>(initial: T, choices: readonly T[]): Leaf<T> {
	const pick = (value: unknown) => choices.find((choice) => choice === value);
	const expected =
		choices.length === 2 ? choices.join(" or ") : `${choices.slice(0, -1).join(", ")} or ${choices.at(-1)}`;
	return leaf(initial, choices.length === 1 ? choices[0]! : expected, pick, pick);
}

function text(initial: string, expected: string, isValid: (text: string) => boolean): Leaf<string> {
	const fromValue = (value: unknown) => (typeof value === "string" && isValid(value) ? value : undefined);
	return leaf(initial, expected, fromValue, fromValue);
}

/** May be left out; then undefined. */
function optionalText(expected: string, isValid: (text: string) => boolean): Leaf<string | undefined> {
	const fromValue = (value: unknown) => (typeof value === "string" && isValid(value) ? value : undefined);
	return leaf<string | undefined>(undefined, expected, fromValue, fromValue);
}

function optionalNumber(min: number, max: number): Leaf<number | undefined> {
	const inner = number(min, min, max);
	return leaf<number | undefined>(undefined, inner.expected, inner.fromValue, inner.fromText);
}

function textList(
	expected = "a list of texts",
	isValid: (item: string) => boolean = (item) => item !== "",
): Leaf<readonly string[]> {
	const fromValue = (value: unknown) =>
		Array.isArray(value) && value.every((item) => typeof item === "string" && isValid(item)) ? value : undefined;
	const fromText = (csv: string) => fromValue(splitList(csv).filter((item) => item !== ""));
	const offender = (value: unknown) =>
		Array.isArray(value) ? value.find((item): item is string => typeof item === "string" && !isValid(item)) : undefined;
	return { ...leaf<readonly string[]>([], expected, fromValue, fromText), offender };
}

const secret = (setting: Leaf<string | undefined>): Leaf<string | undefined> => ({ ...setting, mask: () => MASK });

const isFilled = (value: string) => value.trim() !== "" && !value.includes("\0");

function isHttpUrl(value: string): boolean {
	const url = URL.parse(value);
	return url !== null && (url.protocol === "http:" || url.protocol === "https:") && url.hash === "";
}

function isDatabase(value: string): boolean {
	return value === "sqlite" || /^postgres(ql)?:\/\/./.test(value);
}

const isBearerToken = (value: string) => /^[\x21-\x7e]{1,4096}$/.test(value);

const MODEL_NAME_LENGTH_MAX = 200;

const isRedisAddress = (value: string) => /^(redis|rediss|valkey|valkeys):\/\/./.test(value) && URL.canParse(value);

function isWebhookSecret(value: string): boolean {
	const base64 = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(value)?.[1];
	if (base64 === undefined) return false;
	const { length } = Buffer.from(base64, "base64");
	return length >= 24 && length <= 64;
}

/** Scheme, host and port, as browsers send it. */
const isWebOrigin = (value: string) => URL.parse(value)?.origin === value && /^https?:/.test(value);

/** The password between `user:` and `@`. */
const maskPassword = (address: string) => address.replace(/^(\w+:\/\/[^:/@]*):.*@/, `$1:${MASK}@`);

/** Below it the shards of a single search may push each other out. */
export const MEMORY_BUDGET_MIN = 64 * 1024 * 1024;

/** Of texts such as `cluster.listen`. */
export const splitList = (text: string): readonly string[] => text.split(",").map((address) => address.trim());

const KIB = 1024;
const MIB = 1024 * KIB;
const HOUR = 3_600;
const DAY = 24 * HOUR;

/** Every setting of CONTRACT section 7, with its default. Names and nesting are those of the file. */
export const SETTINGS_SCHEMA = {
	data_dir: text("./data", "a folder", isFilled),
	server: {
		host: text("127.0.0.1", "a host name or an IP address", (value) => /^[A-Za-z0-9.:_%-]{1,253}$/.test(value)),
		port: number(7801, 0, 65_535),
		tls: {
			cert: optionalText("the path of a PEM file", isFilled),
			key: optionalText("the path of a PEM file", isFilled),
		},
		max_body_bytes: number(LIMITS.requestBodyBytesMax, 1_024, 1024 * 1024 * 1024),
		workers: numberOrAuto(1, 256),
		/** Proxies whose `X-Forwarded-For` is believed. */
		trusted_proxies: textList("a list of IP addresses and networks such as 10.0.0.0/8", isNetwork),
		cors: {
			allowed_origins: textList("a list of origins such as https://app.example.com", isWebOrigin),
		},
		/** For one request, streams excepted. */
		request_timeout_seconds: number(120, 1, HOUR),
		/** What open shards may take together, in bytes; auto: half of what the machine or the container has. */
		memory_budget_bytes: numberOrAuto(MEMORY_BUDGET_MIN, Number.MAX_SAFE_INTEGER),
	},
	auth: {
		required: flagOrAuto,
		brute_force: {
			failures: number(5, 1, 1_000_000),
			window_seconds: number(60, 1, DAY),
			block_seconds: number(300, 1, 30 * DAY),
		},
	},
	hub: {
		mode: oneOf("embedded", ["embedded", "remote"]),
		database: { ...text("sqlite", "sqlite, or a postgres:// address", isDatabase), mask: maskPassword },
		api_url: optionalText("an http:// or https:// address", isHttpUrl),
		service_api_key: secret(
			optionalText('a service key: "svc_" and 40 letters or digits', (value) => SERVICE_KEY_PATTERN.test(value)),
		),
		timeout_seconds: number(30, 1, HOUR),
		retries: number(3, 0, 10),
		stale_ttl_seconds: number(HOUR, 0, 30 * DAY),
		cache: {
			ttl_seconds: number(300, 1, DAY),
			quota_ttl_seconds: number(60, 1, DAY),
			max_entries: number(100_000, 100, 10_000_000),
			redis: {
				...optionalText("a redis:// or rediss:// address", isRedisAddress),
				mask: (address: string | undefined) => maskPassword(address ?? ""),
			},
		},
		connection_pool: { max_per_host: number(10, 1, 1_000) },
		usage_report_interval: number(300, 1, DAY),
		/** Lets HiveHub push changes to `POST /hub/webhooks`; without it that address answers 404. */
		webhook_secret: secret(
			optionalText('a Standard Webhooks secret: "whsec_" and base64 of 24 to 64 bytes', isWebhookSecret),
		),
	},
	cluster: {
		enabled: flag(false),
		/** Several are written with commas. */
		listen: text(`/ip4/0.0.0.0/tcp/${CLUSTER_PORT}`, "multiaddresses such as /ip4/0.0.0.0/tcp/7802", (value) =>
			splitList(value).every(isListenAddress),
		),
		/** What other nodes are told instead of the addresses listened at: for containers and address translation. */
		advertise: textList("a list of addresses such as /ip4/10.0.0.1/tcp/7802 or node1.example.com:7802", isPlace),
		/** Addresses of members; a node without them is the first of its cluster. */
		join: textList(
			"a list of addresses such as /ip4/10.0.0.1/tcp/7802, node1.example.com:7802 or dns:nodes.example.com",
			(item) => parseClusterAddress(item) !== undefined,
		),
		secret_file: optionalText("the path of a file", isFilled),
		replicas: number(3, 1, LIMITS.replicaCountMax),
		mdns: flag(false),
		write_consistency: oneOf("quorum", ["one", "quorum", "all"]),
		read_consistency: oneOf("one", ["one", "quorum", "all"]),
		/** How often each shard's copies are compared. */
		repair_interval_seconds: number(600, 1, 7 * DAY),
		/** What one node takes in of shards that move to it. */
		move_bytes_per_second: number(64 * MIB, 64 * KIB, 1024 * 1024 * MIB),
	},
	rate_limits: {
		requests_per_minute: number(1_000, 1, 1_000_000_000),
		requests_per_hour: number(10_000, 1, 1_000_000_000),
		mcp_requests_per_minute: number(100, 1, 1_000_000_000),
	},
	mcp: {
		enabled: flag(true),
		/** At one node. */
		max_concurrent_requests_per_tenant: number(10, 1, 10_000),
		/** For one call. */
		timeout_seconds: number(300, 1, DAY),
	},
	graphql: {
		enabled: flag(true),
		/** Whether clients may ask for the schema. */
		introspection: flag(true),
		max_depth: number(10, 1, 100),
		/** A field that runs an operation costs 10, each object that may be answered a tenth. */
		max_cost: number(1_000, 1, 1_000_000),
	},
	embedding: {
		/** `onnx` is known by name, and refused. */
		provider: oneOf("none", ["none", "openai", "onnx"]),
		/** Of the API, as clients of OpenAI take it: `/embeddings` is added. */
		url: {
			...optionalText("an http:// or https:// address", isHttpUrl),
			mask: (address: string | undefined) => maskPassword(address ?? ""),
		},
		model: optionalText("the name of a model", (value) => isFilled(value) && value.length <= MODEL_NAME_LENGTH_MAX),
		/** Sent as a bearer token. */
		api_key: secret(optionalText("a key of printable ASCII characters without spaces", isBearerToken)),
		/** Of the model's vectors; the provider is asked once where it is left out. */
		dimension: optionalNumber(1, LIMITS.dimensionMax),
	},
	audit: {
		enabled: flag(true),
		retention_days: number(365, 1, 36_500),
	},
	metrics: {
		public: flag(false),
		token: secret(
			optionalText(
				"a token of 16 to 512 printable ASCII characters without spaces, and not an API key",
				(value) => /^[\x21-\x7e]{16,512}$/.test(value) && !API_KEY_PATTERN.test(value),
			),
		),
		max_tenant_series: number(1_000, 0, 1_000_000),
	},
	log: {
		level: oneOf("info", ["trace", "debug", "info", "warn", "error", "fatal"]),
		format: oneOf("auto", ["auto", "json", "pretty"]),
	},
} as const;

/** The tree of values, `auto` not yet resolved. */
export type SettingsValues = Values<typeof SETTINGS_SCHEMA>;
export type SettingPath = Paths<typeof SETTINGS_SCHEMA>;
export type AnyLeaf = Leaf<unknown>;

export const isLeaf = (node: unknown): node is AnyLeaf =>
	typeof node === "object" && node !== null && "leaf" in node && node.leaf === true;

/** Every setting by its dotted path, in the order of the file. */
export function settingLeaves(): ReadonlyMap<string, AnyLeaf> {
	const leaves = new Map<string, AnyLeaf>();
	const walk = (tree: object, prefix: string): void => {
		for (const [key, node] of Object.entries(tree)) {
			if (isLeaf(node)) leaves.set(`${prefix}${key}`, node);
			else walk(node, `${prefix}${key}.`);
		}
	};
	walk(SETTINGS_SCHEMA, "");
	return leaves;
}

/** `server.tls.cert` → `HIVE_VECTOR_SERVER_TLS_CERT`. */
export const environmentName = (path: string): string => `HIVE_VECTOR_${path.toUpperCase().replaceAll(".", "_")}`;

/** The known name that `unknown` was probably meant to be, if one is close. */
export function nearestName(unknown: string, known: Iterable<string>): string | undefined {
	let best: string | undefined;
	let bestDistance = Math.max(2, Math.floor(unknown.length / 4)) + 1;
	for (const name of known) {
		const distance = editDistance(unknown.toLowerCase(), name.toLowerCase(), bestDistance);
		if (distance < bestDistance) {
			best = name;
			bestDistance = distance;
		}
	}
	return best;
}

/** Levenshtein's distance with swaps of neighbours; anything from `limit` on may come out as `limit`. */
function editDistance(from: string, to: string, limit: number): number {
	if (Math.abs(from.length - to.length) >= limit) return limit;
	let beforeLast: number[] = [];
	let last = Array.from({ length: to.length + 1 }, (_, index) => index);
	for (let row = 1; row <= from.length; row++) {
		const current = [row];
		for (let column = 1; column <= to.length; column++) {
			const same = from[row - 1] === to[column - 1];
			let distance = Math.min(last[column]! + 1, current[column - 1]! + 1, last[column - 1]! + (same ? 0 : 1));
			if (row > 1 && column > 1 && from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1]) {
				distance = Math.min(distance, beforeLast[column - 2]! + 1);
			}
			current.push(distance);
		}
		beforeLast = last;
		last = current;
	}
	return last[to.length]!;
}
