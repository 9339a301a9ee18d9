import type { NodeId } from "../../base/ids.ts";
import { type HintRecord, hintLine } from "./hint-record.ts";
import type { HintStorage } from "./hint-storage.ts";

/** Lines of a log that may say nothing any more, beside as many that do. */
const DEAD_LINES_MAX = 1_000;

export interface HintLogParts {
	readonly nodeId: NodeId;
	readonly storage: HintStorage;
	/** All that the log has to say. */
	readonly content: () => readonly HintRecord[];
	/** How many records that is. */
	readonly count: () => number;
	/** What the log holds already. */
	readonly lineCount: number;
	/** Its end can't be written behind. */
	readonly isBroken: boolean;
}

/** One node's log of hints: lines that wait together are synced together, and it is written anew when most of it is past. */
export class HintLog {
	readonly #parts: HintLogParts;
	#queued: string[] = [];
	#upcoming: Promise<void> | undefined;
	/** Never rejects. */
	#last: Promise<void> = Promise.resolve();
	#lineCount: number;
	#mustReplace: boolean;

	constructor(parts: HintLogParts) {
		this.#parts = parts;
		this.#lineCount = parts.lineCount;
		this.#mustReplace = parts.isBroken;
	}

	/** Goes along with the next write: losing it costs a comparison. */
	note(record: HintRecord): void {
		this.#queued.push(hintLine(record));
		if (this.#queued.length > DEAD_LINES_MAX || this.#parts.count() === 0) {
			// What fails here is tried again with the next write.
			this.flush().catch(() => undefined);
		}
	}

	/** On disk when it settles. @throws what the storage says */
	write(record: HintRecord): Promise<void> {
		this.#queued.push(hintLine(record));
		return this.flush();
	}

	/** The log says nothing but its content from now on, once it is on disk. @throws what the storage says */
	rewrite(): Promise<void> {
		this.#mustReplace = true;
		return this.flush();
	}

	/** What was noted so far is on disk when it settles. @throws what the storage says */
	flush(): Promise<void> {
		this.#upcoming ??= this.#last.then(() => this.#flush());
		return this.#upcoming;
	}

	async #flush(): Promise<void> {
		const { nodeId, storage, content, count } = this.#parts;
		this.#last = this.#upcoming!.catch(() => undefined);
		this.#upcoming = undefined;
		const lines = this.#queued;
		this.#queued = [];
		const liveCount = count();
		const mustReplace = this.#mustReplace;
		this.#mustReplace = false;
		try {
			if (liveCount === 0) {
				await storage.remove(nodeId);
				this.#lineCount = 0;
			} else if (mustReplace || this.#lineCount + lines.length > 2 * liveCount + DEAD_LINES_MAX) {
				await storage.replace(nodeId, content().map(hintLine).join(""));
				this.#lineCount = liveCount;
			} else if (lines.length > 0) {
				await storage.append(nodeId, lines.join(""));
				this.#lineCount += lines.length;
			}
		} catch (error) {
			this.#mustReplace = true;
			throw error;
		}
	}
}
