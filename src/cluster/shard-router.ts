import type { VectorId } from "../base/ids.ts";
import { encodeId } from "../storage/id-order.ts";
import type { UpsertBatch } from "../storage/shard-types.ts";

/** The part of something that goes to one shard. */
export interface ShardPart<Part> {
	readonly shardIndex: number;
	readonly part: Part;
}

/**
 * Says which shard holds an id: xxHash64 of the encoded id, modulo the shard count. Never to be changed: data lies where
 * this says.
 */
export class ShardRouter {
	readonly #shardCount: number;
	readonly #modulus: bigint;

	constructor(shardCount: number) {
		this.#shardCount = shardCount;
		this.#modulus = BigInt(shardCount);
	}

	shardOf(id: VectorId): number {
		if (this.#shardCount === 1) return 0;
		return Number(Bun.hash.xxHash64(encodeId(id)) % this.#modulus);
	}

	/**
	 * Parts a batch by shard, keeping the order within each. With one shard the batch itself is the part; otherwise the
	 * vectors are copied.
	 */
	splitBatch(batch: UpsertBatch): readonly ShardPart<UpsertBatch>[] {
		if (this.#shardCount === 1) return [{ shardIndex: 0, part: batch }];
		const dimension = batch.vectors.length / batch.ids.length;
		return this.#positions(batch.ids).map(({ shardIndex, part: positions }) => {
			const vectors = new Float32Array(positions.length * dimension);
			for (const [row, position] of positions.entries()) {
				vectors.set(batch.vectors.subarray(position * dimension, (position + 1) * dimension), row * dimension);
			}
			return {
				shardIndex,
				part: {
					ids: positions.map((position) => batch.ids[position]!),
					vectors,
					payloads: positions.map((position) => batch.payloads[position]),
				},
			};
		});
	}

	/** Parts ids by shard; each part holds positions in `ids`. */
	splitIds(ids: readonly VectorId[]): readonly ShardPart<readonly number[]>[] {
		return this.#positions(ids);
	}

	#positions(ids: readonly VectorId[]): ShardPart<number[]>[] {
		const byShard = new Map<number, number[]>();
		for (const [position, id] of ids.entries()) {
			const shardIndex = this.shardOf(id);
			const positions = byShard.get(shardIndex);
			if (positions === undefined) byShard.set(shardIndex, [position]);
			else positions.push(position);
		}
		return [...byShard].map(([shardIndex, part]) => ({ shardIndex, part }));
	}
}
