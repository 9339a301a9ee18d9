import type { Clock } from "../base/clock.ts";
import type { ApiKeyId, NodeId, TenantId } from "../base/ids.ts";
import type { UsageFact } from "../cluster/gossip/gossip-types.ts";
import { type ActivityCounts, creationMs, type SubjectSlot, SubjectSlots } from "./subject-slots.ts";

/** Keys whose last use is remembered until it was reported. */
const LAST_USE_COUNT_MAX = 100_000;

/** Counts of one tenant: when it was made tells it from others of its name, before and after it. */
export interface TenantTotals extends ActivityCounts {
	readonly tenantId: TenantId;
	/** Unix milliseconds; -1: not known. */
	readonly createdAtMs: number;
}

export interface TenantReading {
	/** Since the tenant was made. */
	readonly totals: TenantTotals;
	/** What of it the hub does not know yet. */
	readonly unreported: ActivityCounts;
}

export interface KeyUse {
	readonly apiKeyId: ApiKeyId;
	readonly lastUsedAtMs: number;
}

/** What a tenant did on other nodes, as they told last. */
export interface OthersActivity extends ActivityCounts {
	/** Unix milliseconds; 0: never. */
	readonly lastRequestMs: number;
}

/**
 * Counts what each tenant does, since it was made, and when it and each key were last seen. Counts are in memory at once and
 * on disk when they are settled, before the request is answered: whatever was answered was counted.
 */
export class UsageMeter {
	readonly #clock: Clock;
	readonly #slots: SubjectSlots;
	readonly #others: (tenantId: TenantId, createdAtMs: number) => OthersActivity | undefined;
	readonly #lastUsedMsByKey = new Map<ApiKeyId, number>();
	/** Tenants whose counts changed since they were told to other nodes. */
	readonly #untold = new Set<TenantId>();

	/**
	 * @param slots  absent: counts go with the process.
	 * @param others what the tenant of that name and time of creation did on all other nodes.
	 */
	constructor(
		clock: Clock,
		slots = new SubjectSlots(clock, { warn: () => {} }),
		others: (tenantId: TenantId, createdAtMs: number) => OthersActivity | undefined = () => undefined,
	) {
		this.#clock = clock;
		this.#slots = slots;
		this.#others = others;
	}

	/** @param createdAt the tenant's. */
	countRequest(tenantId: TenantId, apiKeyId: ApiKeyId | undefined, createdAt: string): void {
		const nowMs = this.#clock.nowMs();
		const slot = this.#slots.counting(tenantId, createdAt);
		slot.requests++;
		slot.lastRequestMs = nowMs;
		this.#untold.add(tenantId);
		if (apiKeyId !== undefined) this.#rememberUse(apiKeyId, nowMs);
	}

	/** For a tenant whose request was counted. Of one that is gone by now nothing is counted. */
	countSearches(tenantId: TenantId, searchCount: number): void {
		const slot = this.#slots.changing(tenantId);
		if (slot === undefined) return;
		slot.searches += searchCount;
		this.#untold.add(tenantId);
	}

	/** As `countSearches`, and settled: a stream tells of what it wrote long after its request was settled. */
	countVectorsWritten(tenantId: TenantId, vectorCount: number): void {
		const slot = this.#slots.changing(tenantId);
		if (slot === undefined) return;
		slot.vectorsWritten += vectorCount;
		this.#untold.add(tenantId);
		this.#slots.settle(tenantId);
	}

	/** To be called before a request of the tenant is answered: what was counted for it outlives the process from here on. */
	settle(tenantId: TenantId): void {
		this.#slots.settle(tenantId);
	}

	/** What the tenant did since it was made, on all nodes. */
	activity(tenantId: TenantId, createdAt: string): ActivityCounts {
		const own = this.#slotOf(tenantId, createdAt);
		const others = this.#others(tenantId, creationMs(createdAt));
		return {
			requests: (own?.requests ?? 0) + (others?.requests ?? 0),
			searches: (own?.searches ?? 0) + (others?.searches ?? 0),
			vectorsWritten: (own?.vectorsWritten ?? 0) + (others?.vectorsWritten ?? 0),
		};
	}

	/** Unix milliseconds; undefined when no node saw the tenant. */
	lastRequestMs(tenantId: TenantId, createdAt: string): number | undefined {
		const ownMs = this.#slotOf(tenantId, createdAt)?.lastRequestMs ?? 0;
		const othersMs = this.#others(tenantId, creationMs(createdAt))?.lastRequestMs ?? 0;
		return Math.max(ownMs, othersMs) || undefined;
	}

	/** What to tell other nodes: the counts of tenants that changed since the last time, at most so many. */
	changedFacts(nodeId: NodeId, countMax: number): readonly UsageFact[] {
		const facts: UsageFact[] = [];
		for (const tenantId of this.#untold) {
			if (facts.length === countMax) break;
			this.#untold.delete(tenantId);
			const fact = factOf(nodeId, this.#slots.get(tenantId));
			if (fact !== undefined) facts.push(fact);
		}
		return facts;
	}

	/** The counts of all tenants, for a node that knows nothing yet. */
	*facts(nodeId: NodeId): Generator<UsageFact> {
		for (const slot of this.#slots.all()) {
			const fact = factOf(nodeId, slot);
			if (fact !== undefined) yield fact;
		}
	}

	/** A tenant is gone. @param successorCreatedAt of the tenant that has its name now, whose counts stay. */
	forget(tenantId: TenantId, successorCreatedAt?: string): void {
		const slot = this.#slots.get(tenantId);
		if (slot === undefined) return;
		const isGone = successorCreatedAt === undefined || slot.createdAtMs < creationMs(successorCreatedAt);
		if (!isGone) return;
		this.#slots.forget(tenantId);
		this.#untold.delete(tenantId);
	}

	/** Tenants with counts that the hub has not acknowledged. */
	*unreported(): Generator<TenantReading> {
		for (const slot of this.#slots.all()) {
			const { requests, searches, vectorsWritten, reported, createdAtMs } = slot;
			if (createdAtMs === 0) continue;
			const unreported = {
				requests: requests - reported.requests,
				searches: searches - reported.searches,
				vectorsWritten: vectorsWritten - reported.vectorsWritten,
			};
			if (unreported.requests === 0 && unreported.searches === 0 && unreported.vectorsWritten === 0) continue;
			yield {
				totals: { tenantId: slot.subject as TenantId, createdAtMs, requests, searches, vectorsWritten },
				unreported,
			};
		}
	}

	/** The hub knows of these totals. Idempotent; survives a loss of power after `sync`. */
	acknowledge(totals: readonly TenantTotals[]): void {
		for (const { tenantId, createdAtMs, ...counts } of totals) {
			const slot = this.#slots.changing(tenantId);
			// Gone since; perhaps another of that name has come.
			if (slot?.createdAtMs !== createdAtMs) continue;
			if (!includes(slot, counts)) {
				// Its slot was damaged and it started anew: what it counted since comes on top.
				slot.requests += counts.requests;
				slot.searches += counts.searches;
				slot.vectorsWritten += counts.vectorsWritten;
			}
			slot.reported = counts;
			this.#slots.settle(tenantId);
		}
	}

	/** Uses of keys that were not reported, at most `countMax`. */
	keyUses(countMax: number): readonly KeyUse[] {
		const uses: KeyUse[] = [];
		for (const [apiKeyId, lastUsedAtMs] of this.#lastUsedMsByKey) {
			if (uses.length === countMax) break;
			uses.push({ apiKeyId, lastUsedAtMs });
		}
		return uses;
	}

	/** These uses are on their way to the hub. A key that was used since stays. */
	keysReported(uses: readonly KeyUse[]): void {
		for (const { apiKeyId, lastUsedAtMs } of uses) {
			if (this.#lastUsedMsByKey.get(apiKeyId) === lastUsedAtMs) this.#lastUsedMsByKey.delete(apiKeyId);
		}
	}

	get keyUseCount(): number {
		return this.#lastUsedMsByKey.size;
	}

	/** All counts survive a loss of power when the promise settles. @throws when the disk refuses */
	sync(): Promise<void> {
		return this.#slots.sync();
	}

	#slotOf(tenantId: TenantId, createdAt: string): SubjectSlot | undefined {
		const slot = this.#slots.get(tenantId);
		return slot?.createdAtMs === creationMs(createdAt) ? slot : undefined;
	}

	/** The longest unseen goes when the map is full. */
	#rememberUse(apiKeyId: ApiKeyId, nowMs: number): void {
		const uses = this.#lastUsedMsByKey;
		uses.delete(apiKeyId);
		uses.set(apiKeyId, nowMs);
		if (uses.size <= LAST_USE_COUNT_MAX) return;
		for (const longestUnseen of uses.keys()) {
			uses.delete(longestUnseen);
			return;
		}
	}
}

/** undefined: a key's slot, or one in which nothing was counted. */
function factOf(nodeId: NodeId, slot: SubjectSlot | undefined): UsageFact | undefined {
	if (slot === undefined || slot.createdAtMs === 0) return undefined;
	const { subject, createdAtMs, requests, searches, vectorsWritten, lastRequestMs } = slot;
	return { nodeId, tenantId: subject, createdAtMs, requests, searches, vectorsWritten, lastRequestMs };
}

const includes = (counts: ActivityCounts, earlier: ActivityCounts): boolean =>
	counts.requests >= earlier.requests &&
	counts.searches >= earlier.searches &&
	counts.vectorsWritten >= earlier.vectorsWritten;
