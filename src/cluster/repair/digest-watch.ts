import type { Clock } from "../../base/clock.ts";
import type { NodeId } from "../../base/ids.ts";
import type { Timers } from "../../base/timers.ts";
import type { ShardName } from "../../shards/pool-types.ts";
import type { Gossip } from "../gossip/gossip.ts";
import type { DigestFact } from "../gossip/gossip-types.ts";
import type { Membership } from "../membership/membership-types.ts";
import type { LocalCopies, ReplicaPort } from "../replication/replica-types.ts";
import { factsOf, shardKey } from "../shard-facts.ts";
import { REPAIR_LIMITS } from "./repair-limits.ts";
import type { RepairLog, ShardCatalog } from "./repair-types.ts";
import { digestText } from "./version-diff.ts";

export interface DigestWatchParts {
	readonly membership: Membership;
	readonly gossip: Pick<Gossip, "publishDigest" | "digestsOf">;
	readonly catalog: Pick<ShardCatalog, "find">;
	readonly copies: Pick<LocalCopies, "state">;
	readonly port: Pick<ReplicaPort, "call">;
	readonly clock: Clock;
	readonly timers: Timers;
	/** The shard's copies come to different things. */
	readonly onDifference: (shard: ShardName) => void;
	readonly log: RepairLog;
}

interface Watched {
	readonly shard: ShardName;
	touchedMs: number;
}

/**
 * Tells the other nodes what this one's copies come to as soon as nobody writes to them any more, and notices when theirs come to
 * something else: what a copy missed without anybody taking note is found within seconds, and not only when repair comes round to it.
 */
export class DigestWatch {
	readonly #parts: DigestWatchParts;
	/** Written to, and what they come to is not told yet. */
	readonly #restless = new Map<string, Watched>();
	readonly #callOffs = new Set<() => void>();
	#isLooking = false;
	#isStopped = false;

	constructor(parts: DigestWatchParts) {
		this.#parts = parts;
	}

	/** This node's copy has been written to. */
	touched(shard: ShardName): void {
		const { membership, clock } = this.#parts;
		if (membership.view().members.length <= 1) return;
		const key = shardKey(shard);
		const touchedMs = clock.monotonicMs();
		const watched = this.#restless.get(key);
		if (watched !== undefined) {
			watched.touchedMs = touchedMs;
			return;
		}
		// What is not remembered repair finds in its round.
		if (this.#isStopped || this.#restless.size >= REPAIR_LIMITS.digestShardsMax) return;
		const { tenantId, collectionId, shardIndex } = shard;
		this.#restless.set(key, { shard: { tenantId, collectionId, shardIndex }, touchedMs });
		this.#lookLater();
	}

	/** Another node told what its copy comes to. */
	heard({ shard: key }: DigestFact): void {
		const [tenantId, collectionId, index] = key.split("/");
		const shard = { tenantId, collectionId, shardIndex: Number(index) } as ShardName;
		// Its neighbours' word may be on its way.
		this.#after(REPAIR_LIMITS.digestLookMs, () => this.#compare(shard));
	}

	stop(): void {
		this.#isStopped = true;
		for (const callOff of this.#callOffs) callOff();
		this.#callOffs.clear();
		this.#restless.clear();
	}

	#lookLater(): void {
		if (this.#isLooking) return;
		this.#isLooking = true;
		this.#after(REPAIR_LIMITS.digestLookMs, () => {
			void this.#look().finally(() => {
				this.#isLooking = false;
				if (this.#restless.size > 0) this.#lookLater();
			});
		});
	}

	/** Never rejects. */
	async #look(): Promise<void> {
		const { clock, log } = this.#parts;
		let leftCount: number = REPAIR_LIMITS.digestsPerLookMax;
		for (const [key, { shard, touchedMs }] of this.#restless) {
			if (this.#isStopped || leftCount === 0) return;
			if (clock.monotonicMs() - touchedMs < REPAIR_LIMITS.digestQuietMs) continue;
			leftCount--;
			this.#restless.delete(key);
			try {
				await this.#tell(key, shard);
			} catch (error) {
				log("info", "what a copy comes to could not be worked out", {
					...factsOf(shard),
					error: String(error),
				});
			}
		}
	}

	async #tell(key: string, shard: ShardName): Promise<void> {
		const { membership, gossip, catalog, copies, port } = this.#parts;
		if ((await copies.state(shard)) !== "complete") return;
		const found = await catalog.find(shard);
		if (found === undefined) return;
		const options = { timeoutMs: REPAIR_LIMITS.callMs };
		const digest = await port.call(membership.self, found.shard, "digest", [REPAIR_LIMITS.bucketCountMin], options);
		// Written to meanwhile: it is told when that is over.
		if (this.#restless.has(key)) return;
		gossip.publishDigest({ shard: key, root: digestText(digest) });
		this.#after(REPAIR_LIMITS.digestLookMs, () => this.#compare(shard));
	}

	#compare(shard: ShardName): void {
		const key = shardKey(shard);
		if (this.#restless.has(key)) return;
		const { membership, gossip, onDifference } = this.#parts;
		const told = gossip.digestsOf(key).filter(({ nodeId }) => this.#isLive(nodeId));
		if (!told.some(({ nodeId }) => nodeId === membership.self)) return;
		if (new Set(told.map(({ root }) => root)).size > 1) onDifference(shard);
	}

	#isLive(nodeId: NodeId): boolean {
		return this.#parts.membership.isLive(nodeId);
	}

	#after(delayMs: number, task: () => void): void {
		if (this.#isStopped) return;
		const callOff = this.#parts.timers.after(delayMs, () => {
			this.#callOffs.delete(callOff);
			task();
		});
		this.#callOffs.add(callOff);
	}
}
