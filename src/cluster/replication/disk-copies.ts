import type { CollectionId } from "../../base/ids.ts";
import { recentMap } from "../../base/recent-map.ts";
import type { ShardName, ShardPool, ShardRef } from "../../shards/pool-types.ts";
import type { CollectionFolders } from "../collection-folders.ts";
import { KeyedTurns } from "../keyed-turns.ts";
import { CopyRegister } from "./copy-register.ts";
import type { CopyState, LocalCopies, LocalCopy } from "./replica-types.ts";
import { REPLICATION_LIMITS } from "./replication-limits.ts";
import type { WriteEpochs } from "./write-epochs.ts";

export interface DiskCopiesParts {
	readonly folders: CollectionFolders;
	readonly pool: ShardPool;
	readonly epochs: WriteEpochs;
}

/** A copy that is to be made, and who waits for it. */
interface Wish {
	readonly shard: ShardRef;
	readonly state: "complete" | "incoming";
	resolve(): void;
	reject(error: unknown): void;
}

/**
 * This node's copies of shards, on disk. A collection's register names what is here and is changed last when a copy is made, first
 * when one goes: after a crash there may be folders of which it knows nothing, which were promised to nobody. A copy that it names
 * and that has no files is lost: calls on it fail, it is not made anew.
 */
export class DiskCopies implements LocalCopies {
	readonly #parts: DiskCopiesParts;
	readonly #registers = recentMap<CollectionId, CopyRegister>(REPLICATION_LIMITS.collectionsRememberedMax);
	/** One at a time reads or changes a collection's register. */
	readonly #turns = new KeyedTurns<CollectionId>();
	/** By collection, those that the next turn makes together. */
	readonly #wishes = new Map<CollectionId, Wish[]>();

	constructor(parts: DiskCopiesParts) {
		this.#parts = parts;
	}

	/** Whether the copy is known to be complete, without looking at the disk. */
	isComplete(shard: ShardName): boolean {
		return this.#registers.get(shard.collectionId)?.state(shard.shardIndex) === "complete";
	}

	/** The state, when it can be told without looking at the disk. */
	knownState(shard: ShardName): CopyState | undefined {
		return this.#registers.get(shard.collectionId)?.state(shard.shardIndex);
	}

	async state(shard: ShardName): Promise<CopyState> {
		const known = this.knownState(shard);
		if (known !== undefined) return known;
		return this.#turns.run(shard.collectionId, async () => (await this.#register(shard)).state(shard.shardIndex));
	}

	make(shard: ShardRef, state: "complete" | "incoming"): Promise<void> {
		if (this.knownState(shard) !== undefined && this.knownState(shard) !== "none") return Promise.resolve();
		return new Promise((resolve, reject) => {
			const wish: Wish = { shard, state, resolve, reject };
			const waiting = this.#wishes.get(shard.collectionId);
			if (waiting !== undefined) {
				waiting.push(wish);
				return;
			}
			this.#wishes.set(shard.collectionId, [wish]);
			void this.#turns.run(shard.collectionId, () => this.#fulfil(shard.collectionId));
		});
	}

	async markComplete(shard: ShardName): Promise<void> {
		await this.#turns.run(shard.collectionId, async () => {
			const register = await this.#register(shard);
			if (register.state(shard.shardIndex) !== "incoming") return;
			await this.#write(shard, register.with(new Map([[shard.shardIndex, "complete"]])));
		});
	}

	async drop(shard: ShardName): Promise<void> {
		const { pool, folders } = this.#parts;
		await this.#turns.run(shard.collectionId, async () => {
			const { tenantId, collectionId, shardIndex } = shard;
			const before = await this.#register(shard);
			const after = before.with(new Map([[shardIndex, "none"]]));
			if (before.state(shardIndex) !== "none") await this.#write(shard, after);
			await pool.call({ tenantId, collectionId, shardIndex }, "drop");
			if (before.isEmpty || !after.isEmpty) return;
			if ((await folders.shards(tenantId, collectionId)).length > 0) return;
			await folders.discardCollection(tenantId, collectionId);
		});
	}

	/** All of the collection, its folder too, whatever is in it. */
	async dropCollection(tenantId: ShardName["tenantId"], collectionId: CollectionId): Promise<void> {
		const { pool, folders } = this.#parts;
		await this.#turns.run(collectionId, async () => {
			const indexes = await folders.shards(tenantId, collectionId);
			await Promise.all(indexes.map((shardIndex) => pool.call({ tenantId, collectionId, shardIndex }, "drop")));
			await folders.discardCollection(tenantId, collectionId);
			this.#registers.delete(collectionId);
		});
	}

	settled(_shard: ShardName, version: number): Promise<void> {
		return this.#parts.epochs.settled(version);
	}

	async *list(): AsyncGenerator<LocalCopy> {
		const { folders } = this.#parts;
		for (const tenantId of await folders.tenants()) {
			for (const collectionId of await folders.collections(tenantId)) {
				for (const shardIndex of (await folders.shards(tenantId, collectionId)).sort((a, b) => a - b)) {
					const state = await this.state({ tenantId, collectionId, shardIndex });
					if (state !== "none") yield { tenantId, collectionId, shardIndex, state };
				}
			}
		}
	}

	/** Makes all that is wished for by now. Each hears of its own failure. */
	async #fulfil(collectionId: CollectionId): Promise<void> {
		const wishes = this.#wishes.get(collectionId)!;
		this.#wishes.delete(collectionId);
		try {
			const { shard: any } = wishes[0]!;
			const register = await this.#register(any);
			const missing = new Map<number, Wish>();
			for (const wish of wishes) {
				const { shardIndex } = wish.shard;
				if (register.state(shardIndex) === "none" && !missing.has(shardIndex)) missing.set(shardIndex, wish);
			}
			const leftovers = new Set(missing.size === 0 ? [] : await this.#parts.folders.shards(any.tenantId, collectionId));
			const failures = new Map<number, unknown>();
			await Promise.all(
				[...missing.values()].map(async ({ shard }) => {
					try {
						await this.#create(shard, leftovers.has(shard.shardIndex));
					} catch (error) {
						failures.set(shard.shardIndex, error);
						missing.delete(shard.shardIndex);
					}
				}),
			);
			if (missing.size > 0) {
				const made = new Map([...missing].map(([shardIndex, { state }]) => [shardIndex, state]));
				await this.#write(any, register.with(made));
			}
			for (const wish of wishes) {
				if (failures.has(wish.shard.shardIndex)) wish.reject(failures.get(wish.shard.shardIndex));
				else wish.resolve();
			}
		} catch (error) {
			for (const wish of wishes) wish.reject(error);
		}
	}

	async #create(shard: ShardRef, hasLeftover: boolean): Promise<void> {
		const { pool } = this.#parts;
		const { tenantId, collectionId, shardIndex } = shard;
		// What a crash left of an attempt: nobody was told of it.
		if (hasLeftover) await pool.call({ tenantId, collectionId, shardIndex }, "drop");
		await pool.call(shard, "create");
	}

	/** To be called in the collection's turn. */
	async #register({ tenantId, collectionId }: ShardName): Promise<CopyRegister> {
		let register = this.#registers.get(collectionId);
		if (register === undefined) {
			const text = await this.#parts.folders.readRegister(tenantId, collectionId);
			register = text === undefined ? CopyRegister.empty : CopyRegister.parse(text);
			this.#registers.set(collectionId, register);
		}
		return register;
	}

	async #write({ tenantId, collectionId }: ShardName, register: CopyRegister): Promise<void> {
		await this.#parts.folders.writeRegister(tenantId, collectionId, register.text);
		this.#registers.set(collectionId, register);
	}
}
