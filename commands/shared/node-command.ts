import { existsSync } from "node:fs";
import { Flags } from "@oclif/core";
import { findApiKey, isLoopback } from "./api-key.ts";
import { BaseCommand } from "./base-command.ts";
import { CommandFailure, EXIT, usageFailure } from "./failure.ts";
import { NodeClient } from "./node-client.ts";
import { confirm } from "./prompt.ts";
import { parseDurationMs } from "./units.ts";

export const DEFAULT_URL = "http://127.0.0.1:7801";

export interface ConnectionFlags {
	readonly url: string;
	readonly "api-key"?: string | undefined;
	readonly "data-dir"?: string | undefined;
	readonly tenant?: string | undefined;
	readonly timeout: number;
}

/** For commands that act inside one tenant. */
export const tenantFlag = {
	tenant: Flags.string({ description: "the tenant to act in; for admin keys", helpValue: "<tenant>" }),
};

/** For commands that destroy something. */
export const yesFlag = { yes: Flags.boolean({ char: "y", description: "don't ask" }) };

/** A command that talks to a node over its API. */
export abstract class NodeCommand extends BaseCommand {
	static override baseFlags = {
		url: Flags.string({
			description: "address of the node",
			env: "HIVE_VECTOR_URL",
			default: DEFAULT_URL,
			helpGroup: "NODE",
			helpValue: "<url>",
		}),
		"api-key": Flags.string({
			description: "the key: @file, or - for stdin; without it HIVE_VECTOR_API_KEY, then the local node's admin.key",
			helpGroup: "NODE",
			helpValue: "@<file>|-",
		}),
		"data-dir": Flags.string({
			description: "data folder of the local node, where its admin.key is",
			env: "HIVE_VECTOR_DATA_DIR",
			helpGroup: "NODE",
			helpValue: "<folder>",
		}),
		timeout: Flags.custom<number>({
			description: "how long to wait for an answer",
			default: 60_000,
			defaultHelp: async () => "60s",
			parse: async (text) => parseDurationMs(text),
			helpGroup: "NODE",
			helpValue: "<duration>",
		})(),
	};

	protected async connect(flags: ConnectionFlags): Promise<NodeClient> {
		const url = parseUrl(flags.url);
		const apiKey = await this.findKey(flags, url);
		return new NodeClient({
			url,
			apiKey,
			tenant: flags.tenant,
			timeoutMs: flags.timeout,
			userAgent: `${this.config.bin}/${this.config.version}`,
		});
	}

	protected async findKey(flags: ConnectionFlags, url: URL): Promise<string | undefined> {
		return await findApiKey({
			flag: flags["api-key"],
			environment: process.env.HIVE_VECTOR_API_KEY,
			dataDir: flags["data-dir"] ?? (isLoopback(url) ? await localDataDir() : undefined),
			readStdin: () => this.readStdin("--api-key"),
			warn: (message) => this.note(`warning: ${message}`),
		});
	}

	/** Goes on only if the user says so, or said so with `--yes`. */
	protected async confirmed(
		question: string,
		typed: string | undefined,
		flags: { readonly yes: boolean },
	): Promise<void> {
		if (flags.yes) return;
		if (await confirm(question, typed, { input: process.stdin, output: process.stderr })) return;
		throw new CommandFailure("CANCELLED", EXIT.failed, "nothing was changed");
	}
}

/** The data folder of a node started from the current folder. */
async function localDataDir(): Promise<string> {
	if (!existsSync("hive-vector.yml")) return "data";
	const { loadSettings } = await import("../../src/node/settings.ts");
	try {
		return loadSettings({ folder: process.cwd(), env: process.env }).values.data_dir;
	} catch {
		// What is wrong with the file is the business of `serve` and `config check`; here it only means no key was found.
		return "data";
	}
}

export function parseUrl(text: string): URL {
	const url = URL.canParse(text) ? new URL(text) : undefined;
	if (url === undefined || (url.protocol !== "http:" && url.protocol !== "https:")) {
		throw usageFailure(`"${text}" is not an address`, `for instance ${DEFAULT_URL}`);
	}
	if (url.username !== "" || url.password !== "")
		throw usageFailure("an address with a password in it is seen in ps", "use --api-key @file");
	url.search = "";
	url.hash = "";
	return url;
}
