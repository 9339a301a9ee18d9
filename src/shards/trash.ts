import { readdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import type { RandomBytes } from "../base/ids.ts";
import { isMissing, makeFolder, syncFolder, trashFolder } from "./data-folder.ts";

/**
 * The way folders leave: renamed into `<data_dir>/trash/` in one step, then deleted. A crash in between leaves something
 * that nothing looks at, and that `empty` removes at the next start.
 */
export class Trash {
	readonly #folder: string;
	readonly #random: RandomBytes;

	constructor(dataDir: string, random: RandomBytes) {
		this.#folder = trashFolder(dataDir);
		this.#random = random;
	}

	/** Gone when the promise settles. Does nothing when there is no such folder. */
	async discard(folder: string): Promise<void> {
		await makeFolder(this.#folder);
		const grave = join(this.#folder, Buffer.from(this.#random(16)).toString("hex"));
		try {
			await rename(folder, grave);
		} catch (error) {
			if (isMissing(error)) return;
			throw error;
		}
		await syncFolder(dirname(folder));
		await rm(grave, { recursive: true, force: true });
	}

	/** Deletes what earlier runs left here; what is thrown away meanwhile is its thrower's affair. */
	async empty(): Promise<void> {
		for (const name of await this.#names()) {
			await rm(join(this.#folder, name), { recursive: true, force: true });
		}
	}

	async #names(): Promise<string[]> {
		try {
			return await readdir(this.#folder);
		} catch (error) {
			if (isMissing(error)) return [];
			throw error;
		}
	}
}
