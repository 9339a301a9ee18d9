import { closeSync, existsSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";

/** Make a file's content, or a folder's entries, survive a loss of power. */
export function syncPath(path: string): void {
	const file = openSync(path, "r");
	try {
		fsyncSync(file);
	} finally {
		closeSync(file);
	}
}

/** Write a small file so that after any interruption it is there whole, or as it was. Mode 0600. Errors are the file system's own. */
export function writeFileDurably(path: string, text: string): void {
	const temporary = `${path}.new`;
	const bytes = Buffer.from(text);
	const file = openSync(temporary, "w", 0o600);
	try {
		for (let done = 0; done < bytes.length; ) done += writeSync(file, bytes, done);
		fsyncSync(file);
	} finally {
		closeSync(file);
	}
	renameSync(temporary, path);
	// The rename itself is in the folder, which is synced apart from the file.
	syncPath(dirname(path));
}

/** One line of text and its xxHash64 beneath. Durable as `writeFileDurably`. */
export function writeSealedLine(path: string, line: string): void {
	writeFileDurably(path, `${line}\n${sealOf(line)}\n`);
}

/** @returns what `writeSealedLine` wrote; undefined when it is not there, `damaged` when it is not what was written. */
export function readSealedLine(path: string): { readonly line: string } | "damaged" | undefined {
	if (!existsSync(path)) return undefined;
	const [line, seal] = readFileSync(path, "utf8").split("\n");
	return line === undefined || sealOf(line) !== seal ? "damaged" : { line };
}

const sealOf = (line: string): string => Bun.hash.xxHash64(line).toString(16);
