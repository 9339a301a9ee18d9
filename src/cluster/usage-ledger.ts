import { LRUCache } from "lru-cache";
import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import type { CollectionId, TenantId } from "../base/ids.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { ShardStats, WriteResult } from "../storage/shard-types.ts";
import type { TenantUsage } from "./tenant-types.ts";

/** Shards of one tenant that are asked at once. */
const ASKED_AT_ONCE = 8;
/** How long a shard that could not answer is left alone. */
const RETRY_MS = 10_000;

/** What is known of one shard. */
class ShardUsage {
	vectorCount = 0;
	bytes = 0;
	/** Answers got so far. */
	answerCount = 0;
	/** To be asked: never was, or a call on it ended in the unknown. */
	stale = true;
	doubtCount = 0;
	askAfterMs = Number.NEGATIVE_INFINITY;
	asking: Promise<void> | undefined;
}

class TenantEntry {
	readonly collections = new Map<CollectionId, ShardUsage[]>();
	vectorCount = 0;
	bytes = 0;
	/** The collections of which nothing had to be asked, when last looked. */
	complete: ReadonlyMap<string, CollectionRecord> | undefined;

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
	}

	shardsOf(record: CollectionRecord): readonly ShardUsage[] {
		let shards = this.collections.get(record.id);
		if (shards === undefined) {
			shards = Array.from({ length: record.shards }, () => new ShardUsage());
			this.collections.set(record.id, shards);
		}
		return shards;
	}
}

/** What a tenant has stored on this node. */
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

/** How much each tenant has stored: asked of the shards once, then kept by adding what each write changed. */
export class UsageLedger {
	readonly #parts: UsageLedgerParts;
	readonly #tenants: LRUCache<TenantId, TenantEntry>;

	constructor(parts: UsageLedgerParts) {
		this.#parts = parts;
		this.#tenants = new LRUCache({ max: parts.tenantsMax });
	}

	/**
	 * What the tenant uses. The numbers are those of the moment at which they are read, so that whoever waits before comparing
	 * them with a quota compares what is true by then.
	 *
	 * A shard that fails is counted as last known and asked again later: one damaged shard must not stop its tenant.
	 *
	 * @param collections all that the tenant has
	 * @throws HiveError when a shard can't be asked now: OVERLOADED, NODE_DRAINING
	 */
	async usage(tenantId: TenantId, collections: ReadonlyMap<string, CollectionRecord>): Promise<TenantUsage> {
		let entry = this.#tenants.get(tenantId);
		if (entry === undefined) {
			entry = new TenantEntry();
			this.#tenants.set(tenantId, entry);
		}
		if (entry.complete !== collections) await this.#complete(entry, collections);
		const current = entry;
		return {
			get storageBytes() {
				return current.bytes;
			},
			get vectorCount() {
				return current.vectorCount;
			},
			collectionCount: collections.size,
		};
	}

	/**
	 * To be called when the answer to a write arrives; the function it returns makes the write count. They are two because
	 * an answer to a question about the shard that arrives in between has the write in it already.
	 */
	stage(record: CollectionRecord, shardIndex: number, result: WriteResult): () => void {
		const entry = this.#tenants.peek(record.tenant_id);
		const shard = entry?.collections.get(record.id)?.[shardIndex];
		if (entry === undefined || shard === undefined) return () => {};
		const { answerCount } = shard;
		return () => {
			const isKnown = answerCount > 0 && shard.answerCount === answerCount;
			if (!isKnown || entry.collections.get(record.id)?.[shardIndex] !== shard) return;
			entry.add(shard, result.vectorCountDelta, result.bytesDelta);
		};
	}

	/** A call on the shard failed in a way that leaves open what it did. */
	doubt(record: CollectionRecord, shardIndex: number): void {
		const entry = this.#tenants.peek(record.tenant_id);
		const shard = entry?.collections.get(record.id)?.[shardIndex];
		if (entry === undefined || shard === undefined) return;
		shard.stale = true;
		shard.doubtCount++;
		entry.complete = undefined;
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

	async #complete(entry: TenantEntry, collections: ReadonlyMap<string, CollectionRecord>): Promise<void> {
		const live = new Set<CollectionId>();
		const questions: { record: CollectionRecord; shardIndex: number; shard: ShardUsage }[] = [];
		for (const record of collections.values()) {
			live.add(record.id);
			for (const [shardIndex, shard] of entry.shardsOf(record).entries()) {
				if (shard.stale) questions.push({ record, shardIndex, shard });
			}
		}
		for (const collectionId of entry.collections.keys()) {
			if (!live.has(collectionId)) entry.forget(collectionId);
		}
		if (questions.length === 0) {
			entry.complete = collections;
			return;
		}
		const askNext = async (): Promise<void> => {
			for (let next = questions.pop(); next !== undefined; next = questions.pop()) {
				const { record, shardIndex, shard } = next;
				// Another may have had the answer meanwhile.
				if (!shard.stale || shard.askAfterMs > this.#parts.clock.monotonicMs()) continue;
				shard.asking ??= this.#ask(entry, record, shardIndex, shard).finally(() => {
					shard.asking = undefined;
				});
				await shard.asking;
			}
		};
		await Promise.all(Array.from({ length: ASKED_AT_ONCE }, askNext));
	}

	async #ask(entry: TenantEntry, record: CollectionRecord, shardIndex: number, shard: ShardUsage): Promise<void> {
		const { doubtCount } = shard;
		try {
			const stats = await this.#parts.ask(record, shardIndex);
			shard.answerCount++;
			// A doubt that came meanwhile stays.
			shard.stale = shard.doubtCount !== doubtCount;
			// Not counted when the collection was forgotten meanwhile.
			if (entry.collections.get(record.id)?.[shardIndex] !== shard) return;
			entry.add(shard, stats.vectorCount - shard.vectorCount, stats.bytes - shard.bytes);
		} catch (error) {
			if (!(error instanceof HiveError) || (error.code !== "INTERNAL" && error.code !== "COLLECTION_NOT_FOUND"))
				throw error;
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
