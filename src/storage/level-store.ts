import { ClassicLevel } from "classic-level";
import { HiveError } from "../base/errors.ts";
import { seal } from "./keyspace.ts";
import type { StorageLog } from "./storage-log.ts";

const ENCODING = { keyEncoding: "buffer", valueEncoding: "buffer" } as const;
/** Small enough that an iterator's chunk is worked off within a slice of time, large enough to spare round trips. */
const CHUNK_BYTES = 256 * 1024;
const CHUNK_ROWS_MAX = 2_000;
/** A quarter of LevelDB's default: each open shard takes file descriptors of its own. */
const OPEN_FILES_MAX = 256;
const FILE_BYTES_MAX = 8 * 1024 * 1024;

type Level = ClassicLevel<Buffer, Buffer>;
/** A state of the database that reads are made from, until a newer one has taken its place and its last iterator ended. */
interface View {
	readonly snapshot: ReturnType<Level["snapshot"]>;
	readonly getOptions: object;
	iteratorCount: number;
	isCurrent: boolean;
}
export type Row = [key: Buffer, value: Buffer];

export interface RowRange {
	readonly gte?: Uint8Array;
	readonly gt?: Uint8Array;
	readonly lt: Uint8Array;
}

/** Rows to write together. What is put is copied at once, so its buffers may be reused. */
export interface RowBatch {
	/** Seals the value. */
	put(key: Uint8Array, body: Uint8Array): void;
	del(key: Uint8Array): void;
	/** Resolves when all of it is on disk. */
	write(): Promise<void>;
	/** Forget it. */
	discard(): Promise<void>;
}

/**
 * One LevelDB: the only door to it. Reads see the state of the last `settle`, not what a write under way may have brought
 * already, so that they always agree with what the shard holds in memory.
 */
export class LevelStore {
	readonly #folder: string;
	readonly #log: StorageLog;
	#level: Level;
	#view: View;

	private constructor(folder: string, level: Level, log: StorageLog) {
		this.#folder = folder;
		this.#log = log;
		this.#level = level;
		this.#view = newView(level);
	}

	/** @throws HiveError INTERNAL when there is one already. */
	static async create(folder: string, log: StorageLog): Promise<LevelStore> {
		return new LevelStore(folder, await openLevel(folder, { createIfMissing: true, errorIfExists: true }), log);
	}

	/** @throws HiveError INTERNAL when it is missing, damaged beyond opening, or in use. */
	static async open(folder: string, log: StorageLog): Promise<LevelStore> {
		return new LevelStore(folder, await openLevel(folder, { createIfMissing: false, errorIfExists: false }), log);
	}

	/** The sealed value, as of the last `settle`. */
	get(key: Buffer): Buffer | undefined {
		try {
			return this.#level.getSync(key, this.#view.getOptions);
		} catch (cause) {
			throw unreadable(cause);
		}
	}

	/** Rows in key order, in chunks, as of the last `settle` before the first chunk is asked for. */
	async *rows(range: RowRange, chunkRowCount = CHUNK_ROWS_MAX): AsyncGenerator<Row[], void> {
		const view = this.#view;
		view.iteratorCount++;
		const iterator = this.#level.iterator({
			...range,
			...ENCODING,
			snapshot: view.snapshot,
			highWaterMarkBytes: CHUNK_BYTES,
		} as Parameters<Level["iterator"]>[0]);
		try {
			for (;;) {
				const chunk = (await iterator.nextv(chunkRowCount).catch((cause) => {
					throw unreadable(cause);
				})) as Row[];
				if (chunk.length === 0) return;
				yield chunk;
			}
		} finally {
			await iterator.close();
			view.iteratorCount--;
			this.#releaseView(view);
		}
	}

	/** The last key before `lt` and not before `gte`, as of the last `settle`. */
	async lastKey(range: { readonly gte: Uint8Array; readonly lt: Uint8Array }): Promise<Buffer | undefined> {
		const options = { ...range, ...ENCODING, snapshot: this.#view.snapshot, reverse: true, limit: 1 };
		const keys = this.#level.keys(options as Parameters<Level["keys"]>[0]);
		try {
			return (await keys.next().catch((cause) => {
				throw unreadable(cause);
			})) as Buffer | undefined;
		} finally {
			await keys.close();
		}
	}

	batch(): RowBatch {
		const batch = this.#level.batch();
		return {
			put: (key, body) => void batch.put(key as Buffer, seal(key, body), ENCODING),
			del: (key) => void batch.del(key as Buffer, ENCODING),
			write: () => batch.write({ sync: true }),
			discard: () => batch.close(),
		};
	}

	/** From now on reads see everything written so far. */
	settle(): void {
		const former = this.#view;
		this.#view = newView(this.#level);
		former.isCurrent = false;
		this.#releaseView(former);
	}

	/** Whether it can be read: not when `reopen` has failed. */
	get isOpen(): boolean {
		return this.#level.status === "open";
	}

	/**
	 * Closes and opens again: LevelDB refuses all writes after a failed one, and its log ends in a torn record.
	 * When opening fails, so does every call until a later `reopen` succeeds.
	 */
	async reopen(): Promise<void> {
		await this.#level.close();
		this.#level = await openLevel(this.#folder, { createIfMissing: false, errorIfExists: false });
		this.#view = newView(this.#level);
	}

	async close(): Promise<void> {
		await this.#level.close();
	}

	#releaseView(view: View): void {
		if (view.isCurrent || view.iteratorCount > 0) return;
		view.snapshot.close().catch((error) => this.#log("closing a database snapshot failed", { error }));
	}
}

function unreadable(cause: unknown): HiveError {
	return new HiveError("INTERNAL", "the shard's database can't be read", undefined, { cause });
}

function newView(level: Level): View {
	const snapshot = level.snapshot();
	return { snapshot, getOptions: { ...ENCODING, snapshot }, iteratorCount: 0, isCurrent: true };
}

async function openLevel(
	folder: string,
	options: { readonly createIfMissing: boolean; readonly errorIfExists: boolean },
): Promise<Level> {
	const level: Level = new ClassicLevel(folder, ENCODING);
	try {
		await level.open({ ...options, maxOpenFiles: OPEN_FILES_MAX, maxFileSize: FILE_BYTES_MAX });
		return level;
	} catch (cause) {
		const code = ((cause as Error).cause as NodeJS.ErrnoException | undefined)?.code;
		if (code === "LEVEL_LOCKED") throw new HiveError("CONFLICT", "the shard is open elsewhere", undefined, { cause });
		throw new HiveError("INTERNAL", "the shard's database can't be opened", undefined, { cause });
	}
}
