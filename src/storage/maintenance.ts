import { HiveError } from "../base/errors.ts";
import type { PayloadIndexType } from "../base/schemas.ts";
import type { LexicalSettings } from "../base/text-settings.ts";
import { parsePayload } from "./documents.ts";
import { versionMs } from "./hybrid-clock.ts";
import type { IndexDefinition } from "./index-definitions.ts";
import {
	documentKey,
	encodeMeta,
	keyId,
	keyTombstone,
	metaKey,
	PREFIX,
	prefixEnd,
	readDocument,
	tombstoneKey,
} from "./keyspace.ts";
import type { Row } from "./level-store.ts";
import { fieldPostings, postingKeys } from "./payload-index.ts";
import type { ShardState } from "./shard-state.ts";
import { WordIndexBuilder } from "./word-index-builder.ts";
import { type WriteCommand, writeResult } from "./write-commands.ts";
import type { RowChange } from "./write-draft.ts";
import type { Writer } from "./writer.ts";

export const DEFINITIONS_KEY = metaKey("indexes");
/** Rows handled by one command, so that requests needn't wait long behind it. */
const CHUNK_ROWS = 500;
const NOTHING = new Uint8Array(0);
const PURGE_INTERVAL_MS = 60 * 60 * 1000;

/** What is done to a shard beside answering requests, through its writer: indexes built and dropped, tombstones purged. */
export class Maintenance {
	readonly #state: ShardState;
	readonly #writer: Writer;
	readonly #tombstoneRetentionMs: number;
	readonly #isReplicated: () => boolean;
	readonly #wordIndex: WordIndexBuilder;
	/** One change of the indexes at a time. */
	#indexing: Promise<void> = Promise.resolve();
	#purge: Promise<void> | undefined;
	#purgedMs = Number.NEGATIVE_INFINITY;
	/** All copies have heard of what was deleted before. Not on disk: after a start it has to be said again. */
	#heardEverywhereMs = 0;
	/** Old enough were more than may go yet. */
	#isHeldBack = false;
	#isStopped = false;

	/** @param isReplicated whether tombstones must wait for `allowPurge` besides. */
	constructor(state: ShardState, writer: Writer, tombstoneRetentionMs: number, isReplicated: () => boolean) {
		this.#state = state;
		this.#writer = writer;
		this.#tombstoneRetentionMs = tombstoneRetentionMs;
		this.#isReplicated = isReplicated;
		this.#wordIndex = new WordIndexBuilder(state, writer, () => this.#isStopped);
	}

	/** Resolves when the index holds every document. Again for an index that is there: done at once. */
	createIndex(field: string, type: PayloadIndexType): Promise<void> {
		return this.#inTurn(async () => {
			const existing = this.#state.definitions.get(field);
			if (existing?.type === type && existing.isComplete) return;
			if (existing?.type !== type) {
				await this.#dropIndex(field);
				await this.#define(field, { type, isComplete: false });
			}
			await this.#backfill(field, type);
			await this.#define(field, { type, isComplete: true });
		});
	}

	dropIndex(field: string): Promise<void> {
		return this.#inTurn(() => this.#dropIndex(field));
	}

	/** Resolves when the index of words is as the settings want it, and holds every document. At once when it is. */
	buildWordIndex(settings: LexicalSettings): Promise<void> {
		return this.#inTurn(() => this.#wordIndex.build(settings));
	}

	/**
	 * Never goes back, and never ahead of what may go by its age now: a clock that is wrong must not speak for deletions to come.
	 *
	 * @param beforeMs unix milliseconds: all copies have heard of what was deleted before
	 */
	allowPurge(beforeMs: number): void {
		const boundedMs = Math.min(beforeMs, this.#state.clock.nowMs() - this.#tombstoneRetentionMs);
		if (boundedMs <= this.#heardEverywhereMs) return;
		this.#heardEverywhereMs = boundedMs;
		if (this.#isHeldBack) this.#purgedMs = Number.NEGATIVE_INFINITY;
		this.purgeWhenDue();
	}

	/** Remove what was deleted longer ago than the retention, at most once an hour; nobody waits for it. */
	purgeWhenDue(): void {
		const nowMs = this.#state.clock.monotonicMs();
		if (this.#isStopped || this.#purge !== undefined || nowMs - this.#purgedMs < PURGE_INTERVAL_MS) return;
		this.#purgedMs = nowMs;
		this.#purge = this.#purgeTombstones()
			.catch((error) => this.#state.log("purging deleted documents failed", { error }))
			.finally(() => {
				this.#purge = undefined;
			});
	}

	/** Ends what goes on at the next chunk. What is half done goes on when the shard is opened again. */
	async close(): Promise<void> {
		this.#isStopped = true;
		await this.#indexing;
		await this.#purge;
	}

	#inTurn(work: () => Promise<void>): Promise<void> {
		const done = this.#indexing.then(work);
		this.#indexing = done.catch(() => undefined);
		return done;
	}

	async #dropIndex(field: string): Promise<void> {
		if (this.#state.definitions.get(field) !== undefined) await this.#define(field, undefined);
		// Also without a definition: an interrupted drop may have left postings, which a new index must not inherit.
		const changes: RowChange[] = [];
		for await (const rows of this.#state.store.rows(fieldPostings(field))) {
			for (const [key] of rows) changes.push({ key });
			if (changes.length >= CHUNK_ROWS) await this.#writeRows(changes.splice(0));
		}
		if (changes.length > 0) await this.#writeRows(changes);
	}

	async #define(field: string, definition: IndexDefinition | undefined): Promise<void> {
		await this.#writer.submit({
			rowCount: 1,
			byteCount: 0,
			plan: async (draft) => {
				const definitions = this.#state.definitions.with(field, definition);
				draft.row({ key: DEFINITIONS_KEY, body: encodeMeta(definitions) });
				draft.onApplied(() => this.#state.definitions.replace(definitions));
				return writeResult(draft, 0);
			},
		});
	}

	async #backfill(field: string, type: PayloadIndexType): Promise<void> {
		const range = { gte: PREFIX.document, lt: prefixEnd(PREFIX.document) };
		for await (const rows of this.#state.store.rows(range, CHUNK_ROWS)) {
			if (this.#isStopped) throw new HiveError("OVERLOADED", "the shard is closing");
			await this.#writer.submit(this.#backfillCommand(field, type, rows));
		}
	}

	#backfillCommand(field: string, type: PayloadIndexType, rows: readonly Row[]): WriteCommand {
		return {
			rowCount: rows.length,
			byteCount: 0,
			plan: async (draft) => {
				for (const [key] of rows) {
					// A document that this very commit changes gets its postings with the change.
					const row = draft.findUntouched(keyId(key));
					if (row === undefined) continue;
					for (const posting of postingKeys(field, type, parsePayload(row.payloadText), row.slot)) {
						draft.row({ key: posting, body: NOTHING });
					}
				}
				return writeResult(draft, 0);
			},
		};
	}

	async #purgeTombstones(): Promise<void> {
		const oldMs = Math.floor(this.#state.clock.nowMs() - this.#tombstoneRetentionMs);
		const endMs = this.#isReplicated() ? Math.min(oldMs, Math.floor(this.#heardEverywhereMs)) : oldMs;
		this.#isHeldBack = endMs < oldMs;
		if (endMs <= 0) return;
		const range = { gte: PREFIX.tombstone, lt: tombstoneKey(endMs, NOTHING) };
		for await (const rows of this.#state.store.rows(range, CHUNK_ROWS)) {
			if (this.#isStopped) return;
			await this.#writer.submit(this.#purgeCommand(rows.map(([key]) => key)));
		}
	}

	#purgeCommand(keys: readonly Buffer[]): WriteCommand {
		return {
			rowCount: keys.length,
			byteCount: 0,
			plan: async (draft) => {
				for (const key of keys) {
					draft.row({ key });
					const { deletedMs, encodedId } = keyTombstone(key);
					const document = documentKey(encodedId);
					// In the meantime the id may live again, or have been deleted again.
					const value = this.#state.store.get(document);
					if (value === undefined) continue;
					const row = readDocument(document, value);
					if (row.isTombstone && versionMs(row.version) === deletedMs) draft.row({ key: document });
				}
				return writeResult(draft, 0);
			},
		};
	}

	async #writeRows(changes: readonly RowChange[]): Promise<void> {
		await this.#writer.submit({
			rowCount: changes.length,
			byteCount: 0,
			plan: async (draft) => {
				for (const change of changes) draft.row(change);
				return writeResult(draft, 0);
			},
		});
	}
}
