import { cpSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";

/**
 * What a killed process leaves behind: the files of an open shard as they are at one moment. LevelDB compacts on a thread
 * of its own, so the copy is taken again until nothing changed while it was made.
 */
export function crashCopy(folder: string, copy: string): void {
	for (;;) {
		const before = listing(folder);
		try {
			cpSync(folder, copy, { recursive: true, filter: (name) => !name.endsWith("LOCK") });
			if (before !== undefined && before === listing(folder)) return;
		} catch (error) {
			if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
		}
		rmSync(copy, { recursive: true, force: true });
	}
}

/** Names, sizes and times of all files; undefined when one went away meanwhile. */
function listing(folder: string): string | undefined {
	try {
		return readdirSync(folder, { recursive: true })
			.map((name) => {
				const { size, mtimeMs } = statSync(join(folder, String(name)));
				return `${name} ${size} ${mtimeMs}`;
			})
			.sort()
			.join("\n");
	} catch {
		return undefined;
	}
}
