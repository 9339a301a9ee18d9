import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { availableParallelism } from "node:os";
import { resolve } from "node:path";
import { HiveError } from "../base/errors.ts";
import { isLoopback } from "../base/loopback.ts";
import { readProcessLimits } from "./process-limits.ts";
import { type Assignment, readSettingsText, type SourceReading } from "./settings-file.ts";
import {
	type AnyLeaf,
	environmentName,
	isLeaf,
	MEMORY_BUDGET_MIN,
	nearestName,
	SETTINGS_SCHEMA,
	type SettingPath,
	type SettingsValues,
	settingLeaves,
} from "./settings-schema.ts";

/** The settings file that is read where none is named. */
export const SETTINGS_FILE_NAME = "hive-vector.yml";

/** Variables with our prefix that belong to the command line and set nothing in a node. */
const COMMAND_LINE_VARIABLES: ReadonlySet<string> = new Set(["HIVE_VECTOR_URL", "HIVE_VECTOR_API_KEY"]);

/** Flags of `serve` and `hub` that set something, and what. */
const FLAG_PATHS = {
	"data-dir": "data_dir",
	host: "server.host",
	port: "server.port",
	cluster: "cluster.enabled",
	join: "cluster.join",
	listen: "cluster.listen",
} as const satisfies Record<string, SettingPath>;

export type SettingsFlags = {
	readonly [F in keyof typeof FLAG_PATHS]?: string | number | boolean | readonly string[] | undefined;
};

export interface SettingsSources {
	/** The current folder: relative paths start here. */
	readonly folder: string;
	/** `--config`; without it `hive-vector.yml` of the current folder, if there is one. */
	readonly configPath?: string | undefined;
	readonly env: Readonly<Record<string, string | undefined>>;
	readonly flags?: SettingsFlags;
	/** `--insecure-open`: a node without keys may be reached from other machines. */
	readonly insecureOpen?: boolean | undefined;
	/** What the settings are for; a hub of its own always asks for keys. */
	readonly purpose?: "node" | "hub";
	/** Whether logs go to a terminal: what `log.format: auto` asks. */
	readonly isTerminal?: boolean;
}

/** The values a node runs with: `auto` resolved, `data_dir` absolute. */
export type EffectiveSettings = Omit<SettingsValues, "server" | "auth" | "log"> & {
	readonly server: Omit<SettingsValues["server"], "workers" | "memory_budget_bytes"> & {
		readonly workers: number;
		readonly memory_budget_bytes: number;
	};
	readonly auth: Omit<SettingsValues["auth"], "required"> & { readonly required: boolean };
	readonly log: Omit<SettingsValues["log"], "format"> & { readonly format: "json" | "pretty" };
};

/** One line of `config show --origins`. */
export interface SettingOrigin {
	readonly path: string;
	/** Secrets masked. */
	readonly value: unknown;
	/** `default`, `hive-vector.yml:4`, `HIVE_VECTOR_LOG_LEVEL`, `--port`. */
	readonly origin: string;
}

/** A node's settings, checked, each knowing where it came from. */
export class Settings {
	constructor(
		readonly values: EffectiveSettings,
		private readonly origins: ReadonlyMap<string, string>,
	) {}

	/** Whether a file, the environment or a flag gave it, be it the default's own value. */
	explicitlySet(path: SettingPath): boolean {
		return this.origins.has(path);
	}

	/** Every setting with where it came from, secrets masked, in the order of the file. */
	listOrigins(): readonly SettingOrigin[] {
		return [...settingLeaves()].map(([path, leaf]) => ({
			path,
			value: masked(leaf, valueAt(this.values, path)),
			origin: this.origins.get(path) ?? "default",
		}));
	}

	/** The effective settings in the file's shape, secrets masked; what is not set is left out. */
	toMasked(): Record<string, unknown> {
		return tree((path, leaf) => masked(leaf, valueAt(this.values, path))) as Record<string, unknown>;
	}
}

/**
 * Reads, merges and checks the settings: file, then environment, then flags; later wins.
 *
 * @throws HiveError VALIDATION_FAILED naming every problem found, one a line, each with file and line, variable or flag.
 */
export function loadSettings(sources: SettingsSources): Settings {
	const leaves = settingLeaves();
	const readings = [
		readFile(sources, [...leaves.keys()]),
		readEnvironment(sources.env, leaves),
		readFlags(sources.flags ?? {}),
	];
	const problems = readings.flatMap((reading) => reading.problems);
	const values = new Map<string, unknown>([...leaves].map(([path, leaf]) => [path, leaf.initial]));
	const origins = new Map<string, string>();
	for (const assignment of readings.flatMap((reading) => reading.assignments)) {
		const leaf = leaves.get(assignment.path)!;
		const value = assignment.value === undefined ? leaf.initial : parsed(leaf, assignment);
		if (value === undefined && assignment.value !== undefined) {
			problems.push(
				`${assignment.origin}: ${assignment.path}: expected ${leaf.expected}, found ${found(leaf, assignment.value)}`,
			);
		} else {
			values.set(assignment.path, value);
			origins.set(assignment.path, assignment.origin);
		}
	}
	if (problems.length > 0) throw settingsError(problems);

	const given = tree((path) => values.get(path)) as SettingsValues;
	const settings = effective(given, sources);
	const say = (path: SettingPath) => `${origins.has(path) ? `${origins.get(path)}: ` : ""}${path}`;
	const conflicts = [...crossChecks(settings, given, sources, say)];
	if (conflicts.length > 0) throw settingsError(conflicts);
	return new Settings(settings, origins);
}

function settingsError(problems: readonly string[]): HiveError {
	const title =
		problems.length === 1 ? "the settings are not right" : `the settings are not right in ${problems.length} places`;
	return new HiveError("VALIDATION_FAILED", `${title}:\n  ${problems.join("\n  ")}`, { problems });
}

function readFile(sources: SettingsSources, allPaths: readonly string[]): SourceReading {
	const name = sources.configPath ?? SETTINGS_FILE_NAME;
	let text: string;
	try {
		text = readFileSync(resolve(sources.folder, name), "utf8");
	} catch (cause) {
		const code = (cause as NodeJS.ErrnoException).code;
		if (code === "ENOENT" && sources.configPath === undefined) return { assignments: [], problems: [] };
		const why = code === "ENOENT" ? "there is no such file" : `the file cannot be read (${code})`;
		return { assignments: [], problems: [`${name}: ${why}`] };
	}
	return readSettingsText(name, text, allPaths);
}

function readEnvironment(
	env: Readonly<Record<string, string | undefined>>,
	leaves: ReadonlyMap<string, AnyLeaf>,
): SourceReading {
	const paths = new Map([...leaves.keys()].map((path) => [environmentName(path), path]));
	const assignments: Assignment[] = [];
	const problems: string[] = [];
	for (const [name, text] of Object.entries(env)) {
		if (!name.startsWith("HIVE_VECTOR_") || COMMAND_LINE_VARIABLES.has(name)) continue;
		const path = paths.get(name);
		if (path === undefined) {
			const nearest = nearestName(name, paths.keys());
			problems.push(`${name}: unknown setting${nearest === undefined ? "" : `; did you mean ${nearest}?`}`);
		} else if (text !== undefined && text !== "") {
			// An empty variable is how compose files and shells say "not set".
			assignments.push({ path, value: text, origin: name });
		}
	}
	return { assignments, problems };
}

function readFlags(flags: SettingsFlags): SourceReading {
	const assignments: Assignment[] = [];
	for (const [flag, path] of Object.entries(FLAG_PATHS)) {
		const value = flags[flag as keyof SettingsFlags];
		if (value === undefined) continue;
		assignments.push({ path, value: Array.isArray(value) ? value.join(",") : String(value), origin: `--${flag}` });
	}
	return { assignments, problems: [] };
}

/** From a file a value has its type already; variables and flags are text. */
function parsed(leaf: AnyLeaf, assignment: Assignment): unknown {
	const isText = assignment.origin.startsWith("HIVE_VECTOR_") || assignment.origin.startsWith("--");
	return isText ? leaf.fromText(assignment.value as string) : leaf.fromValue(assignment.value);
}

function found(leaf: AnyLeaf, value: unknown): string {
	if (Array.isArray(value)) {
		const offender = leaf.offender?.(value);
		return offender === undefined ? "a list" : `a list with "${offender}"`;
	}
	if (typeof value === "object") return "a section";
	// What was typed may be a secret with a slip in it.
	if (leaf.mask !== undefined) return typeof value === "string" ? "another text" : `a ${typeof value}`;
	return typeof value === "string" ? `"${value}"` : String(value);
}

function masked(leaf: AnyLeaf, value: unknown): unknown {
	return value === undefined || leaf.mask === undefined ? value : leaf.mask(value);
}

function valueAt(values: unknown, path: string): unknown {
	return path.split(".").reduce((node, key) => (node as Record<string, unknown>)[key], values);
}

/** A tree in the file's shape with a value for every setting; undefined values are left out. */
function tree(valueFor: (path: string, leaf: AnyLeaf) => unknown): unknown {
	const build = (schema: object, prefix: string): Record<string, unknown> => {
		const node: Record<string, unknown> = {};
		for (const [key, child] of Object.entries(schema)) {
			const value = isLeaf(child) ? valueFor(`${prefix}${key}`, child) : build(child, `${prefix}${key}.`);
			if (value !== undefined) node[key] = value;
		}
		return node;
	};
	return build(SETTINGS_SCHEMA, "");
}

function effective(given: SettingsValues, sources: SettingsSources): EffectiveSettings {
	const { workers, memory_budget_bytes } = given.server;
	const { required } = given.auth;
	const { format } = given.log;
	const path = (relative: string | undefined) =>
		relative === undefined ? undefined : resolve(sources.folder, relative);
	return {
		...given,
		data_dir: resolve(sources.folder, given.data_dir),
		server: {
			...given.server,
			tls: { cert: path(given.server.tls.cert), key: path(given.server.tls.key) },
			workers: workers === "auto" ? Math.max(1, availableParallelism()) : workers,
			memory_budget_bytes:
				memory_budget_bytes === "auto"
					? Math.max(MEMORY_BUDGET_MIN, Math.floor(readProcessLimits().memoryBytes / 2))
					: memory_budget_bytes,
		},
		cluster: { ...given.cluster, secret_file: path(given.cluster.secret_file) },
		auth: { ...given.auth, required: required === "auto" ? given.cluster.enabled : required },
		log: { ...given.log, format: format === "auto" ? (sources.isTerminal === true ? "pretty" : "json") : format },
	};
}

/** What settings that are each right forbid together. */
function* crossChecks(
	settings: EffectiveSettings,
	given: SettingsValues,
	sources: SettingsSources,
	say: (path: SettingPath) => string,
): Generator<string> {
	const { server, auth, hub, cluster } = settings;
	const purpose = sources.purpose ?? "node";
	if (purpose === "node") {
		if (cluster.enabled && given.auth.required === false) {
			yield `${say("auth.required")}: cannot be false while cluster.enabled is true: a node of several tenants always asks for a key`;
		}
		if (!cluster.enabled && !auth.required && !isLoopback(server.host) && sources.insecureOpen !== true) {
			yield `${say("server.host")}: ${server.host} can be reached from other machines, and a single-tenant node asks for no key; ` +
				"set auth.required: true, or cluster.enabled: true, or start with --insecure-open if anyone who can reach it may read and delete everything";
		}
		if (!cluster.enabled && cluster.join.length > 0) {
			yield `${say("cluster.join")}: only a node in cluster mode joins others; set cluster.enabled: true (--cluster) too`;
		}
		if (hub.mode === "remote") {
			if (!cluster.enabled) {
				yield `${say("hub.mode")}: remote needs cluster.enabled: true; a single-tenant node has a hub of its own`;
			}
			for (const key of ["api_url", "service_api_key"] as const) {
				if (hub[key] === undefined) yield `${say("hub.mode")}: remote needs hub.${key}`;
			}
		} else if (hub.api_url !== undefined) {
			yield `${say("hub.api_url")}: has no effect while hub.mode is embedded; set hub.mode: remote, or leave it out`;
		}
	} else if (hub.mode === "remote") {
		yield `${say("hub.mode")}: a hub of its own cannot be remote; leave it at embedded`;
	}
	if (purpose === "node") yield* embeddingChecks(settings.embedding, say);
	if (purpose === "node" && cluster.enabled && cluster.secret_file !== undefined) {
		const unreadable = whyUnreadable(cluster.secret_file);
		if (unreadable !== undefined) yield `${say("cluster.secret_file")}: ${cluster.secret_file}: ${unreadable}`;
	}
	for (const [one, other] of [["cert", "key"] as const, ["key", "cert"] as const]) {
		const path = server.tls[one];
		if (path === undefined) continue;
		if (server.tls[other] === undefined) yield `${say(`server.tls.${one}`)}: TLS also needs server.tls.${other}`;
		const unreadable = whyUnreadable(path);
		if (unreadable !== undefined) yield `${say(`server.tls.${one}`)}: ${path}: ${unreadable}`;
	}
}

function* embeddingChecks(
	embedding: SettingsValues["embedding"],
	say: (path: SettingPath) => string,
): Generator<string> {
	if (embedding.provider === "onnx") {
		yield `${say("embedding.provider")}: onnx is not supported by this version; serve the model with an OpenAI-compatible server, ` +
			"such as Ollama, and set embedding.provider: openai";
	} else if (embedding.provider === "openai") {
		for (const key of ["url", "model"] as const) {
			if (embedding[key] === undefined) yield `${say("embedding.provider")}: openai needs embedding.${key}`;
		}
	} else {
		for (const key of ["url", "model", "api_key", "dimension"] as const) {
			if (embedding[key] !== undefined) {
				yield `${say(`embedding.${key}`)}: has no effect while embedding.provider is none; set embedding.provider: openai, or leave it out`;
			}
		}
	}
}

function whyUnreadable(path: string): string | undefined {
	try {
		accessSync(path, constants.R_OK);
		return statSync(path).isFile() ? undefined : "not a file";
	} catch (cause) {
		const code = (cause as NodeJS.ErrnoException).code;
		return code === "ENOENT" ? "there is no such file" : `the file cannot be read (${code})`;
	}
}
