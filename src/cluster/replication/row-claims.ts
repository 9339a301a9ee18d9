import type { VectorId } from "../../base/ids.ts";
import { recentMap } from "../../base/recent-map.ts";
import type { ShardName } from "../../shards/pool-types.ts";
import { compareVersions } from "../../storage/hybrid-clock.ts";
import type { Version } from "../../storage/shard-types.ts";
import { shardKey } from "../shard-facts.ts";
import type { UpdateClaim } from "./replica-types.ts";
import { REPLICATION_LIMITS } from "./replication-limits.ts";

type ShardClaims = Map<VectorId, UpdateClaim>;

/** A write under way, and who waits for its end. */
type WriteUnderWay = (() => void)[];

/**
 * What this node's copies have promised to updates: to let no older write of the row by. An update reads the row at a majority and
 * writes it later, at one copy; what another majority acknowledges in between must not be older than what the update will write.
 * In memory alone. What is forgotten for want of room counts for every row.
 */
export class RowClaims {
	readonly #claims = recentMap<string, ShardClaims>(REPLICATION_LIMITS.claimedShardsMax, (claims) => {
		for (const claim of claims.values()) this.#forget(claim);
	});
	readonly #underWay = new Map<string, Set<WriteUnderWay>>();
	/** The newest claim that was forgotten. */
	#forgotten: Version | undefined;

	/** @returns the later claim that stands in the way; undefined: it is granted */
	grant(shard: ShardName, id: VectorId, claim: UpdateClaim): Version | undefined {
		const later = this.later(shard, [id], claim.version, claim);
		if (later !== undefined) return later;
		const key = shardKey(shard);
		let claims = this.#claims.get(key);
		if (claims === undefined) {
			claims = new Map();
			this.#claims.set(key, claims);
		}
		const standing = claims.get(id);
		if (standing !== undefined && compareVersions(standing.version, claim.version) >= 0) return undefined;
		claims.delete(id);
		claims.set(id, claim);
		if (claims.size > REPLICATION_LIMITS.claimsPerShardMax) {
			const [oldest] = claims;
			claims.delete(oldest![0]);
			this.#forget(oldest![1]);
		}
		return undefined;
	}

	/**
	 * The newest claim that a write in this version has to give way to.
	 *
	 * @param own of the update that writes: those that are done at the same copy come one after the other by themselves
	 */
	later(shard: ShardName, ids: readonly VectorId[], version: Version, own?: UpdateClaim): Version | undefined {
		let newest =
			this.#forgotten !== undefined && compareVersions(this.#forgotten, version) > 0 ? this.#forgotten : undefined;
		const claims = this.#claims.get(shardKey(shard));
		if (claims === undefined || claims.size === 0) return newest;
		for (const id of ids) {
			const claim = claims.get(id);
			if (claim === undefined || claim.home === own?.home || compareVersions(claim.version, version) <= 0) continue;
			if (newest === undefined || compareVersions(claim.version, newest) > 0) newest = claim.version;
		}
		return newest;
	}

	/** What the claim was for is stored here: the row itself holds back what is older from now on. */
	fulfil(shard: ShardName, id: VectorId, version: Version): void {
		const claims = this.#claims.get(shardKey(shard));
		const claim = claims?.get(id);
		if (claim !== undefined && compareVersions(claim.version, version) <= 0) claims!.delete(id);
	}

	/** A write passes. @returns to be called when it is done */
	enter(shard: ShardName): () => void {
		const key = shardKey(shard);
		let writes = this.#underWay.get(key);
		if (writes === undefined) {
			writes = new Set();
			this.#underWay.set(key, writes);
		}
		const write: WriteUnderWay = [];
		writes.add(write);
		return () => {
			writes.delete(write);
			if (writes.size === 0 && this.#underWay.get(key) === writes) this.#underWay.delete(key);
			for (const tell of write) tell();
		};
	}

	/** Settles when the writes that are under way now are done. */
	async settled(shard: ShardName): Promise<void> {
		const writes = [...(this.#underWay.get(shardKey(shard)) ?? [])];
		await Promise.all(writes.map((write) => new Promise<void>((resolve) => write.push(resolve))));
	}

	#forget({ version }: UpdateClaim): void {
		if (this.#forgotten === undefined || compareVersions(this.#forgotten, version) < 0) this.#forgotten = version;
	}
}
