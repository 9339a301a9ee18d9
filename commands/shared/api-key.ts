import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { isLoopback as isLoopbackHost } from "../../src/base/loopback.ts";
import { CommandFailure, EXIT, usageFailure } from "./failure.ts";

export interface ApiKeySources {
	/** `--api-key`: `@file`, `-` for stdin, or the key itself. */
	readonly flag: string | undefined;
	readonly environment: string | undefined;
	/** Folder of the node whose `admin.key` may be used; undefined: none. */
	readonly dataDir: string | undefined;
	/** Reads stdin to its end. */
	readStdin(): Promise<string>;
	warn(message: string): void;
}

/**
 * The key to use: `--api-key`, then HIVE_VECTOR_API_KEY, then the admin key that a node on this machine wrote.
 *
 * @returns undefined when there is none: a single-tenant node asks for none
 */
export async function findApiKey(sources: ApiKeySources): Promise<string | undefined> {
	const { flag } = sources;
	if (flag === "-") return singleLine(await sources.readStdin(), "stdin");
	if (flag?.startsWith("@") === true) return singleLine(await readKeyFile(flag.slice(1)), flag.slice(1));
	if (flag !== undefined && flag !== "") {
		sources.warn(
			"a key on the command line can be seen by everyone who may run ps; prefer HIVE_VECTOR_API_KEY or --api-key @file",
		);
		return singleLine(flag, "--api-key");
	}
	if (sources.environment !== undefined && sources.environment !== "") {
		return singleLine(sources.environment, "HIVE_VECTOR_API_KEY");
	}
	return sources.dataDir === undefined ? undefined : readAdminKey(sources.dataDir);
}

/** What the node wrote on its first start; undefined when there is no such file or it is not ours to read. */
async function readAdminKey(dataDir: string): Promise<string | undefined> {
	try {
		return singleLine(await readFile(join(dataDir, "admin.key"), "utf8"), "admin.key");
	} catch (error) {
		if (error instanceof CommandFailure) throw error;
		return undefined;
	}
}

async function readKeyFile(path: string): Promise<string> {
	try {
		return await readFile(path, "utf8");
	} catch (cause) {
		const reason = cause instanceof Error && "code" in cause ? String(cause.code) : "unreadable";
		throw new CommandFailure("FAILED", EXIT.usage, `the key file ${path} can't be read (${reason})`, {}, { cause });
	}
}

/** A key with a line break in it would end the header and begin another. */
function singleLine(text: string, source: string): string {
	const key = text.trim();
	if (!/^[\x21-\x7e]{1,512}$/.test(key))
		throw usageFailure(`${source} holds no key: one line of printable characters is expected`);
	return key;
}

/** The admin key is sent to a node on this machine only, never to whatever `--url` names. */
export function isLoopback(url: URL): boolean {
	return isLoopbackHost(url.hostname.replace(/^\[(.*)\]$/, "$1"));
}
