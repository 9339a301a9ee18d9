import { mkdirSync } from "node:fs";
import { type FileHandle, open, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import type { NodeId } from "../../base/ids.ts";
import { isMissing, syncFolder } from "../../shards/data-folder.ts";

/** Where a `HintBook` keeps one log a node. Calls for the same node come one after the other. */
export interface HintStorage {
	/** Of which there is a log. */
	nodes(): Promise<readonly NodeId[]>;
	read(nodeId: NodeId): Promise<string>;
	/** On disk when it settles. What a failure leaves behind the log's end is anything. */
	append(nodeId: NodeId, text: string): Promise<void>;
	/** The whole log, durably: after a failure or a crash it is the old or the new one. */
	replace(nodeId: NodeId, text: string): Promise<void>;
	remove(nodeId: NodeId): Promise<void>;
	close(): Promise<void>;
}

const LOG_NAME = /^(node_[a-z0-9]{16})\.log$/;

/** Hints in a folder, one file a node. */
export class HintFolder implements HintStorage {
	readonly #folder: string;
	readonly #files = new Map<NodeId, FileHandle>();

	/** @param folder is made when it is not there */
	constructor(folder: string) {
		this.#folder = folder;
		mkdirSync(folder, { recursive: true, mode: 0o700 });
	}

	async nodes(): Promise<readonly NodeId[]> {
		const names = await readdir(this.#folder);
		return names.map((name) => LOG_NAME.exec(name)?.[1]).filter((name) => name !== undefined) as NodeId[];
	}

	async read(nodeId: NodeId): Promise<string> {
		try {
			return await readFile(this.#pathOf(nodeId), "utf8");
		} catch (error) {
			if (isMissing(error)) return "";
			throw error;
		}
	}

	async append(nodeId: NodeId, text: string): Promise<void> {
		let file = this.#files.get(nodeId);
		const isNew = file === undefined;
		if (file === undefined) {
			file = await open(this.#pathOf(nodeId), "a", 0o600);
			this.#files.set(nodeId, file);
		}
		await file.appendFile(text);
		await file.datasync();
		if (isNew) await syncFolder(this.#folder);
	}

	async replace(nodeId: NodeId, text: string): Promise<void> {
		await this.#release(nodeId);
		const path = this.#pathOf(nodeId);
		const fresh = await open(`${path}.new`, "w", 0o600);
		try {
			await fresh.writeFile(text);
			await fresh.sync();
		} finally {
			await fresh.close();
		}
		await rename(`${path}.new`, path);
		await syncFolder(this.#folder);
	}

	async remove(nodeId: NodeId): Promise<void> {
		await this.#release(nodeId);
		await rm(this.#pathOf(nodeId), { force: true });
	}

	async close(): Promise<void> {
		for (const nodeId of [...this.#files.keys()]) await this.#release(nodeId);
	}

	async #release(nodeId: NodeId): Promise<void> {
		const file = this.#files.get(nodeId);
		this.#files.delete(nodeId);
		await file?.close();
	}

	#pathOf(nodeId: NodeId): string {
		if (!LOG_NAME.test(`${nodeId}.log`)) throw new Error(`not a node id: ${JSON.stringify(nodeId)}`);
		return join(this.#folder, `${nodeId}.log`);
	}
}
