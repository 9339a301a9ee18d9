import type { Clock } from "../../base/clock.ts";
import type { CollectionId, NodeId, TenantId } from "../../base/ids.ts";
import type { ShardName, ShardRef } from "../../shards/pool-types.ts";
import type { HintSink } from "../replication/replica-types.ts";
import { shardKey } from "../shard-facts.ts";
import { HintLog } from "./hint-log.ts";
import { type HintRecord, readHintLog } from "./hint-record.ts";
import type { HintStorage } from "./hint-storage.ts";
import { REPAIR_LIMITS } from "./repair-limits.ts";

/** Something that a node missed. */
interface Mark {
	readonly record: Exclude<HintRecord, { kind: "done" }>;
	/** Rises whenever it is missed again. */
	generation: number;
	/** Settles when it is on disk; undefined when that failed. */
	written: Promise<void> | undefined;
}

/** What one node missed. */
interface Missing {
	readonly marks: Map<string, Mark>;
	/** Too much to keep apart, in place of `marks`. */
	everything: Mark | undefined;
	readonly log: HintLog;
}

/** A mark as it was when it was asked for: `done` with its generation leaves one that was set again. */
export interface PendingHint {
	readonly shard: ShardName;
	readonly generation: number;
}

export interface PendingHints {
	/** Oldest first. */
	readonly shards: readonly PendingHint[];
	/** Set: all shards that the node holds, and `shards` is empty. */
	readonly everything: { readonly generation: number } | undefined;
}

export interface HintBookParts {
	readonly storage: HintStorage;
	readonly clock: Clock;
	readonly log: (message: string, facts: Readonly<Record<string, unknown>>) => void;
	readonly marksPerNodeMax?: number;
}

/**
 * Which nodes missed writes of which shards, on disk. Bounded: a node that missed too much has one mark for everything.
 */
export class HintBook implements HintSink {
	readonly #parts: HintBookParts;
	readonly #missing = new Map<NodeId, Missing>();
	readonly #listeners: (() => void)[] = [];
	#generation = 0;

	private constructor(parts: HintBookParts) {
		this.#parts = parts;
	}

	/** @throws what the storage says */
	static async open(parts: HintBookParts): Promise<HintBook> {
		const book = new HintBook(parts);
		for (const nodeId of await parts.storage.nodes()) book.#load(nodeId, await parts.storage.read(nodeId));
		return book;
	}

	/** Called when a node missed something that was not known yet. */
	onMissed(listener: () => void): void {
		this.#listeners.push(listener);
	}

	async missed(nodeId: NodeId, shard: ShardRef): Promise<void> {
		const missing = this.#missingOf(nodeId);
		const mark = missing.everything ?? missing.marks.get(shardKey(shard)) ?? this.#newMark(missing, shard);
		mark.generation = ++this.#generation;
		mark.written ??= missing.log.write(mark.record).catch((error: unknown) => {
			mark.written = undefined;
			throw error;
		});
		await mark.written;
	}

	pending(nodeId: NodeId): PendingHints {
		const missing = this.#missing.get(nodeId);
		const shards: PendingHint[] = [];
		for (const { record, generation } of missing?.marks.values() ?? []) {
			if (record.kind === "missed") shards.push({ shard: record.shard, generation });
		}
		return { shards, everything: missing?.everything && { generation: missing.everything.generation } };
	}

	/** Whether the node is known to have missed something of the shard. */
	isMissed(nodeId: NodeId, shard: ShardName): boolean {
		const missing = this.#missing.get(nodeId);
		return missing !== undefined && (missing.everything !== undefined || missing.marks.has(shardKey(shard)));
	}

	/** The node has what it missed of the shard before the mark was read. */
	done(nodeId: NodeId, { shard, generation }: PendingHint): void {
		const missing = this.#missing.get(nodeId);
		const key = shardKey(shard);
		if (missing?.marks.get(key)?.generation !== generation) return;
		missing.marks.delete(key);
		missing.log.note({ kind: "done", shard });
	}

	/** The node has everything it missed before the mark was read. */
	doneEverything(nodeId: NodeId, generation: number): void {
		const missing = this.#missing.get(nodeId);
		if (missing?.everything?.generation === generation) this.#clear(missing);
	}

	/** The node is gone for good. */
	forgetNode(nodeId: NodeId): void {
		const missing = this.#missing.get(nodeId);
		if (missing === undefined) return;
		this.#clear(missing);
	}

	/** The collection was deleted. */
	forgetCollection(tenantId: TenantId, collectionId: CollectionId): void {
		for (const [nodeId, { marks }] of this.#missing) {
			for (const { record, generation } of [...marks.values()]) {
				if (record.kind !== "missed") continue;
				const { shard } = record;
				if (shard.collectionId === collectionId && shard.tenantId === tenantId)
					this.done(nodeId, { shard, generation });
			}
		}
	}

	/** Marks a node; nodes that miss nothing are left out. */
	pendingByNode(): ReadonlyMap<NodeId, number> {
		const counts = new Map<NodeId, number>();
		for (const [nodeId, missing] of this.#missing) {
			const count = countOf(missing);
			if (count > 0) counts.set(nodeId, count);
		}
		return counts;
	}

	/** Marks of all nodes. */
	get count(): number {
		let count = 0;
		for (const marks of this.pendingByNode().values()) count += marks;
		return count;
	}

	/** How long ago the node missed the oldest write that it still misses, as far as this one knows; 0: it misses none. */
	lagSeconds(nodeId: NodeId): number {
		const missing = this.#missing.get(nodeId);
		const oldest = missing?.everything ?? missing?.marks.values().next().value;
		return oldest === undefined ? 0 : Math.max(0, this.#parts.clock.nowMs() - oldest.record.sinceMs) / 1_000;
	}

	/** What was noted is on disk when it settles. */
	async close(): Promise<void> {
		await Promise.allSettled([...this.#missing.values()].map(({ log }) => log.flush()));
		await this.#parts.storage.close();
	}

	#missingOf(nodeId: NodeId): Missing {
		const known = this.#missing.get(nodeId);
		if (known !== undefined) return known;
		return this.#add(nodeId, { lineCount: 0, isBroken: false });
	}

	#add(nodeId: NodeId, state: { readonly lineCount: number; readonly isBroken: boolean }): Missing {
		const missing: Missing = {
			marks: new Map(),
			everything: undefined,
			log: new HintLog({
				nodeId,
				storage: this.#parts.storage,
				content: () => contentOf(missing),
				count: () => countOf(missing),
				...state,
			}),
		};
		this.#missing.set(nodeId, missing);
		return missing;
	}

	#newMark(missing: Missing, shard: ShardName): Mark {
		const { marksPerNodeMax = REPAIR_LIMITS.hintsPerNodeMax, clock } = this.#parts;
		const { tenantId, collectionId, shardIndex } = shard;
		const sinceMs = Math.floor(clock.nowMs());
		let mark: Mark;
		if (missing.marks.size < marksPerNodeMax) {
			const name = { tenantId, collectionId, shardIndex };
			mark = { record: { kind: "missed", shard: name, sinceMs }, generation: 0, written: undefined };
			missing.marks.set(shardKey(name), mark);
		} else mark = markEverything(missing, missing.marks.values().next().value?.record.sinceMs ?? sinceMs);
		for (const listener of this.#listeners) listener();
		return mark;
	}

	#clear(missing: Missing): void {
		missing.marks.clear();
		missing.everything = undefined;
		// What fails stays on disk, and costs a comparison after the next start.
		missing.log.rewrite().catch(() => undefined);
	}

	#load(nodeId: NodeId, text: string): void {
		const { records, isDamaged, isTorn } = readHintLog(text);
		const missing = this.#add(nodeId, { lineCount: records.length, isBroken: isDamaged || isTorn });
		for (const record of records) {
			if (record.kind === "everything") markEverything(missing, record.sinceMs);
			else if (record.kind === "done") missing.marks.delete(shardKey(record.shard));
			else if (missing.everything === undefined) missing.marks.set(shardKey(record.shard), markOf(record));
		}
		if (!isDamaged) return;
		this.#parts.log("what a node missed can't be read: all it holds will be compared", { node_id: nodeId });
		markEverything(missing, this.#parts.clock.nowMs());
	}
}

const markOf = (record: Mark["record"]): Mark => ({ record, generation: 0, written: Promise.resolve() });

function markEverything(missing: Missing, sinceMs: number): Mark {
	missing.marks.clear();
	missing.everything = { record: { kind: "everything", sinceMs }, generation: 0, written: undefined };
	return missing.everything;
}

const countOf = ({ marks, everything }: Missing): number => (everything === undefined ? marks.size : 1);

function contentOf({ marks, everything }: Missing): readonly HintRecord[] {
	return everything === undefined ? Array.from(marks.values(), ({ record }) => record) : [everything.record];
}
