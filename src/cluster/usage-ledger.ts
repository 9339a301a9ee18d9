import type { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import { type ErrorCode, HiveError } from "../base/errors.ts";
import type { CollectionId, TenantId } from "../base/ids.ts";
import { recentMap } from "../base/recent-map.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { ShardStats, WriteResult } from "../storage/shard-types.ts";
import type { TenantUsage } from "./tenant-types.ts";

/** Shards of one tenant that are asked at once. */
const ASKED_AT_ONCE = 8;
/** How long a shard that could not answer is left alone. */
const RETRY_MS = 10_000;
/** After which a shard of which the counts may be a little off is asked again; longer each time that it was busy then. */
const RECHECK_FIRST_MS = 5_000;
const RECHECK_MAX_MS = 600_000;
/** What is told of a collection that is not known yet is kept this long: the hub's word of it is under way. */
const UNKNOWN_KEPT_MS = 10_000;
/** Failures of one shard that leave its tenant as counted last. */
const SHARD_FAILURES: ReadonlySet<ErrorCode> = new Set(["INTERNAL", "COLLECTION_NOT_FOUND"]);

/** How much a write changed. */
export type UsageChange = Pick<WriteResult, "vectorCountDelta" | "bytesDelta">;

/** What is known of one shard. */
class ShardUsage {
	vectorCount = 0;
	bytes = 0;
	/** The ledger's mark when the shard last told; 0: never. */
	answeredAt = 0;
	/** To be asked: never was, or a call on it ended in the unknown. */
	stale = true;
	/** To be asked when there is time: some write may be counted twice. */
	unsure = false;
	doubtCount = 0;
	askAfterMs = Number.NEGATIVE_INFINITY;
	asking: Promise<void> | undefined;
	/** Added while it is asked: may be in the answer or not. */
	addedVectors = 0;
	addedBytes = 0;
}

class TenantEntry {
	readonly collections = new Map<CollectionId, ShardUsage[]>();
	/** Collections that others wrote to and that are not known here yet: until when they are believed. */
	readonly unknownUntilMs = new Map<CollectionId, number>();
	vectorCount = 0;
	bytes = 0;
	/** The collections of which nothing had to be asked, when last looked. */
	complete: ReadonlyMap<string, CollectionRecord> | undefined;
	/** When shards are asked of which the counts are unsure. */
	recheckAtMs = Number.POSITIVE_INFINITY;
	recheckDelayMs = RECHECK_FIRST_MS;

	/** The shard's counts change by this much. */
	add(shard: ShardUsage, vectorCount: number, bytes: number): void {
		shard.vectorCount += vectorCount;
		shard.bytes += bytes;
		this.vectorCount += vectorCount;
		this.bytes += bytes;
	}

	forget(collectionId: CollectionId): void {
		for (const shard of this.collections.get(collectionId) ?? []) this.add(shard, -shard.vectorCount, -shard.bytes);
		this.collections.delete(collectionId);
		this.unknownUntilMs.delete(collectionId);
	}

	shardsOf(record: CollectionRecord): readonly ShardUsage[] {
		this.unknownUntilMs.delete(record.id);
		return this.shardsUpTo(record.id, record.shards);
	}

	/** As many shards of the collection as that, made where they are missing. */
	shardsUpTo(collectionId: CollectionId, shardCount: number): ShardUsage[] {
		let shards = this.collections.get(collectionId);
		if (shards === undefined) {
			shards = [];
			this.collections.set(collectionId, shards);
		}
		while (shards.length < shardCount) shards.push(new ShardUsage());
		return shards;
	}

	*shards(): Generator<ShardUsage> {
		for (const shards of this.collections.values()) yield* shards;
	}
}

/** What a tenant has stored. */
export interface KnownUsage {
	readonly tenantId: TenantId;
	readonly storageBytes: number;
	readonly vectorCount: number;
}

export interface UsageLedgerParts {
	/** Asks one shard. */
	readonly ask: (record: CollectionRecord, shardIndex: number) => Promise<Pick<ShardStats, "vectorCount" | "bytes">>;
	readonly clock: Clock;
	/** Beyond these the least recently used tenants are forgotten, to be asked for again when needed. */
	readonly tenantsMax: number;
	readonly log: (message: string, facts: Readonly<Record<string, unknown>>) => void;
}

/**
 * How much each tenant has stored: asked of the shards once, then kept by adding what each write changed.
 *
 * A shard's answer and word of a write may pass each other. Where all go through this process, what arrives first was first.
 * Where they come from several nodes, a write that began before the shard last told may be in its answer or not: it is counted
 * if it takes room, so that no quota is passed, and the shard is asked again.
 */
export class UsageLedger {
	readonly #parts: UsageLedgerParts;
	readonly #tenants: LRUCache<TenantId, TenantEntry>;
	#mark = 0;

	constructor(parts: UsageLedgerParts) {
		this.#parts = parts;
		this.#tenants = recentMap(parts.tenantsMax);
	}

	/** Rises with every answer of a shard. A write that begins now is younger than all of them. */
	get mark(): number {
		return this.#mark;
	}

	/**
	 * What the tenant uses. The numbers are those of the moment at which they are read, so that whoever waits before comparing
	 * them with a quota compares what is true by then.
	 *
	 * A shard that fails is counted as last known and asked again later: one damaged shard must not stop its tenant.
	 *
	 * @param collections all that the tenant has
	 * @throws HiveError when a shard can't be asked now: OVERLOADED, NODE_DRAINING, NO_QUORUM (of one that was never asked)
	 */
	async usage(tenantId: TenantId, collections: ReadonlyMap<string, CollectionRecord>): Promise<TenantUsage> {
		const entry = this.#entry(tenantId);
		if (entry.complete !== collections) await this.#complete(entry, collections, isStale);
		if (entry.recheckAtMs <= this.#parts.clock.monotonicMs()) void this.#recheck(tenantId, entry, collections);
		return usageOf(entry, collections);
	}

	/** As `usage`, every shard having been asked whose counts may be off. */
	async exactUsage(tenantId: TenantId, collections: ReadonlyMap<string, CollectionRecord>): Promise<TenantUsage> {
		const entry = this.#entry(tenantId);
		await this.#complete(entry, collections, isStaleOrUnsure);
		if (!entry.shards().some(isStaleOrUnsure)) this.#sure(entry);
		return usageOf(entry, collections);
	}

	/**
	 * To be called when the answer to a write arrives at this process, through which all writes to the shard and all questions
	 * to it go; the function it returns makes the write count. They are two because an answer to a question about the shard that
	 * arrives in between has the write in it already.
	 */
	stage(record: CollectionRecord, shardIndex: number, change: UsageChange): () => void {
		const entry = this.#tenants.peek(record.tenant_id);
		const shard = entry?.collections.get(record.id)?.[shardIndex];
		if (entry === undefined || shard === undefined) return () => {};
		const { answeredAt } = shard;
		return () => {
			const isKnown = answeredAt > 0 && shard.answeredAt === answeredAt;
			if (!isKnown || entry.collections.get(record.id)?.[shardIndex] !== shard) return;
			entry.add(shard, change.vectorCountDelta, change.bytesDelta);
		};
	}

	/**
	 * A write was done, by whichever node.
	 *
	 * @param mark as `mark` was before the write began; -1: not known
	 */
	add(tenantId: TenantId, collectionId: CollectionId, shardIndex: number, change: UsageChange, mark: number): void {
		const entry = this.#tenants.peek(tenantId);
		// Whoever asks first asks the shards, and the write is done.
		if (entry === undefined) return;
		const shard = entry.collections.get(collectionId)?.[shardIndex] ?? this.#unknown(entry, collectionId, shardIndex);
		const isOrdered = shard.asking === undefined && shard.answeredAt <= mark;
		if (isOrdered) {
			entry.add(shard, change.vectorCountDelta, change.bytesDelta);
			return;
		}
		const vectorCount = Math.max(0, change.vectorCountDelta);
		const bytes = Math.max(0, change.bytesDelta);
		entry.add(shard, vectorCount, bytes);
		if (shard.asking !== undefined) {
			shard.addedVectors += vectorCount;
			shard.addedBytes += bytes;
		}
		this.#suspect(entry, shard);
	}

	/** A call on the shard failed in a way that leaves open what it did. */
	doubt(tenantId: TenantId, collectionId: CollectionId, shardIndex: number): void {
		const entry = this.#tenants.peek(tenantId);
		const shard = entry?.collections.get(collectionId)?.[shardIndex];
		if (entry === undefined || shard === undefined) return;
		shard.stale = true;
		shard.doubtCount++;
		entry.complete = undefined;
	}

	/** Others may have written without a word: every shard is asked anew before the tenant's usage is told again. */
	doubtTenant(tenantId: TenantId): void {
		const entry = this.#tenants.peek(tenantId);
		if (entry === undefined) return;
		for (const shard of entry.shards()) {
			shard.stale = true;
			shard.doubtCount++;
			shard.askAfterMs = Number.NEGATIVE_INFINITY;
		}
		entry.complete = undefined;
	}

	/** Every shard is asked again when there is time. */
	suspectTenant(tenantId: TenantId): void {
		const entry = this.#tenants.peek(tenantId);
		if (entry === undefined) return;
		for (const shard of entry.shards()) shard.unsure = true;
		entry.recheckAtMs = this.#parts.clock.monotonicMs();
	}

	/** Whether more may be counted than there is. */
	isUnsure(tenantId: TenantId): boolean {
		const entry = this.#tenants.peek(tenantId);
		return entry !== undefined && entry.recheckAtMs !== Number.POSITIVE_INFINITY;
	}

	/** Tenants of which every shard has told what it holds. */
	*known(): Generator<KnownUsage> {
		for (const [tenantId, { complete, bytes, vectorCount }] of this.#tenants.entries()) {
			if (complete !== undefined) yield { tenantId, storageBytes: bytes, vectorCount };
		}
	}

	/** The collection is gone. */
	forget(tenantId: TenantId, collectionId: CollectionId): void {
		this.#tenants.peek(tenantId)?.forget(collectionId);
	}

	/** The tenant is gone. */
	forgetTenant(tenantId: TenantId): void {
		this.#tenants.delete(tenantId);
	}

	#entry(tenantId: TenantId): TenantEntry {
		let entry = this.#tenants.get(tenantId);
		if (entry === undefined) {
			entry = new TenantEntry();
			this.#tenants.set(tenantId, entry);
		}
		return entry;
	}

	/** A shard of a collection that another node heard of first. */
	#unknown(entry: TenantEntry, collectionId: CollectionId, shardIndex: number): ShardUsage {
		entry.unknownUntilMs.set(collectionId, this.#parts.clock.monotonicMs() + UNKNOWN_KEPT_MS);
		return entry.shardsUpTo(collectionId, shardIndex + 1)[shardIndex]!;
	}

	#suspect(entry: TenantEntry, shard: ShardUsage): void {
		shard.unsure = true;
		if (entry.recheckAtMs !== Number.POSITIVE_INFINITY) return;
		entry.recheckAtMs = this.#parts.clock.monotonicMs() + entry.recheckDelayMs;
	}

	/** Never throws: what could not be asked stays unsure. */
	async #recheck(
		tenantId: TenantId,
		entry: TenantEntry,
		collections: ReadonlyMap<string, CollectionRecord>,
	): Promise<void> {
		entry.recheckAtMs = Number.POSITIVE_INFINITY;
		try {
			await this.#complete(entry, collections, isStaleOrUnsure);
		} catch (error) {
			this.#parts.log("a tenant's usage could not be asked again", { tenant_id: tenantId, error: String(error) });
		}
		if (!entry.shards().some(isStaleOrUnsure)) {
			this.#sure(entry);
			return;
		}
		entry.recheckDelayMs = Math.min(2 * entry.recheckDelayMs, RECHECK_MAX_MS);
		entry.recheckAtMs = this.#parts.clock.monotonicMs() + entry.recheckDelayMs;
	}

	#sure(entry: TenantEntry): void {
		entry.recheckAtMs = Number.POSITIVE_INFINITY;
		entry.recheckDelayMs = RECHECK_FIRST_MS;
	}

	async #complete(
		entry: TenantEntry,
		collections: ReadonlyMap<string, CollectionRecord>,
		isAsked: (shard: ShardUsage) => boolean,
	): Promise<void> {
		const live = new Set<CollectionId>();
		const questions: { record: CollectionRecord; shardIndex: number; shard: ShardUsage }[] = [];
		for (const record of collections.values()) {
			live.add(record.id);
			for (const [shardIndex, shard] of entry.shardsOf(record).entries()) {
				if (isAsked(shard)) questions.push({ record, shardIndex, shard });
			}
		}
		const nowMs = this.#parts.clock.monotonicMs();
		for (const collectionId of entry.collections.keys()) {
			if (live.has(collectionId) || (entry.unknownUntilMs.get(collectionId) ?? 0) > nowMs) continue;
			entry.forget(collectionId);
		}
		const askNext = async (): Promise<void> => {
			for (let next = questions.pop(); next !== undefined; next = questions.pop()) {
				const { record, shardIndex, shard } = next;
				// Another may have had the answer meanwhile.
				if (!isAsked(shard) || shard.askAfterMs > this.#parts.clock.monotonicMs()) continue;
				shard.asking ??= this.#ask(entry, record, shardIndex, shard).finally(() => {
					shard.asking = undefined;
				});
				await shard.asking;
			}
		};
		if (questions.length > 0) await Promise.all(Array.from({ length: ASKED_AT_ONCE }, askNext));
		// Looked at again until what is not known is known, or is gone.
		const isComplete = entry.unknownUntilMs.size === 0 && !entry.shards().some(isStale);
		if (isComplete) entry.complete = collections;
	}

	async #ask(entry: TenantEntry, record: CollectionRecord, shardIndex: number, shard: ShardUsage): Promise<void> {
		const { doubtCount } = shard;
		shard.addedVectors = 0;
		shard.addedBytes = 0;
		try {
			const stats = await this.#parts.ask(record, shardIndex);
			shard.answeredAt = ++this.#mark;
			// A doubt that came meanwhile stays.
			shard.stale = shard.doubtCount !== doubtCount;
			shard.unsure = shard.addedVectors > 0 || shard.addedBytes > 0;
			// Not counted when the collection was forgotten meanwhile.
			if (entry.collections.get(record.id)?.[shardIndex] !== shard) return;
			entry.add(
				shard,
				stats.vectorCount + shard.addedVectors - shard.vectorCount,
				stats.bytes + shard.addedBytes - shard.bytes,
			);
		} catch (error) {
			if (!(error instanceof HiveError)) throw error;
			const isKnown = shard.answeredAt > 0 && error.code === "NO_QUORUM";
			if (!isKnown && !SHARD_FAILURES.has(error.code)) throw error;
			shard.askAfterMs = this.#parts.clock.monotonicMs() + RETRY_MS;
			this.#parts.log("a shard did not tell what it holds", {
				tenant_id: record.tenant_id,
				collection_id: record.id,
				shard: shardIndex,
				error: error.message,
			});
		}
	}
}

const isStale = (shard: ShardUsage): boolean => shard.stale;
const isStaleOrUnsure = (shard: ShardUsage): boolean => shard.stale || shard.unsure;

const usageOf = (entry: TenantEntry, collections: ReadonlyMap<string, CollectionRecord>): TenantUsage => ({
	get storageBytes() {
		return entry.bytes;
	},
	get vectorCount() {
		return entry.vectorCount;
	},
	collectionCount: collections.size,
});
