import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { getEnvironmentData, setEnvironmentData } from "node:worker_threads";

/**
 * Native addons inside the compiled binary: they are embedded as plain files, unpacked once into the data folder under
 * their hash, and loaded from there. The runtime's own way unpacks them into the temporary folder on each start, which fails where
 * that is read-only or `noexec`. Under `bun run` and `bun test` the packages' own loaders are in use, and nothing here is.
 */

// A worker thread loads its addons while its modules are evaluated, before any message can reach it: what was set here it
// has from its first instant.
const FOLDER_KEY = "hive-vector native folder";

/** Where this process and its workers unpack their addons. To be called before anything imports one. */
export function useNativeFolder(folder: string): void {
	setEnvironmentData(FOLDER_KEY, folder);
}

/**
 * What `scripts/build.ts` puts in the place of a package's own loader.
 *
 * @param embeddedPath the addon inside the binary
 * @param sha256       of the addon, lower-case hex
 * @returns            what the addon exports
 * @throws Error       when no folder was named, or the folder can't be written or forbids loading code
 */
export function loadEmbeddedAddon(embeddedPath: string, sha256: string): unknown {
	const folder = getEnvironmentData(FOLDER_KEY);
	if (typeof folder !== "string") throw new Error("a native addon is needed before its folder was named");
	const target = join(folder, `${sha256}.node`);
	if (!hasContent(target, sha256)) unpack(embeddedPath, folder, target);
	const addon = { exports: {} };
	process.dlopen(addon, target);
	return addon.exports;
}

function hasContent(path: string, sha256: string): boolean {
	try {
		return new Bun.CryptoHasher("sha256").update(readFileSync(path)).digest("hex") === sha256;
	} catch {
		return false;
	}
}

function unpack(embeddedPath: string, folder: string, target: string): void {
	mkdirSync(folder, { recursive: true, mode: 0o700 });
	// Several workers, or several starts, may unpack at once: each writes its own file, and the last rename wins with the same bytes.
	const temporary = `${target}.${process.pid}.${crypto.randomUUID()}.tmp`;
	try {
		const file = openSync(temporary, "wx", 0o700);
		try {
			writeFileSync(file, readFileSync(embeddedPath));
			fsyncSync(file);
		} finally {
			closeSync(file);
		}
		renameSync(temporary, target);
	} catch (error) {
		rmSync(temporary, { force: true });
		throw error;
	}
}
