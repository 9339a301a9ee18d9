import { closeSync, fsyncSync, openSync, renameSync, writeSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Replaces a small file whole: after a crash it holds the old text or the new one. Mode 0600. Errors are the file
 * system's own.
 */
export function writeFileDurably(path: string, text: string): void {
	const temporary = `${path}.new`;
	const file = openSync(temporary, "w", 0o600);
	try {
		writeSync(file, text);
		fsyncSync(file);
	} finally {
		closeSync(file);
	}
	renameSync(temporary, path);
	// The rename itself is in the folder, which is synced apart from the file.
	const folder = openSync(dirname(path), "r");
	try {
		fsyncSync(folder);
	} finally {
		closeSync(folder);
	}
}
