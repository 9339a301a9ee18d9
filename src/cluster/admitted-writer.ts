import { HiveError } from "../base/errors.ts";
import type { VectorId } from "../base/ids.ts";
import { VECTOR_OVERHEAD_BYTES } from "../base/limits.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { UpdateRequest, UpsertBatch, WriteAllowance, WriteResult } from "../storage/shard-types.ts";
import type { AccountedWrite, TenantAccounts } from "./accounts/account-types.ts";
import type { WriteDemand } from "./tenant-types.ts";

/** How often a write near the quota is measured anew, when what is stored changed after it was measured. */
const MEASURES_MAX = 3;

/** What an upsert adds at most: as if none of its vectors were there yet. Of equal ids the last counts. */
export function upsertDemand(batch: UpsertBatch, dimension: number): WriteDemand {
	const payloads = new Map<VectorId, string | undefined>();
	for (const [position, id] of batch.ids.entries()) payloads.set(id, batch.payloads[position]);
	let bytes = payloads.size * (4 * dimension + VECTOR_OVERHEAD_BYTES);
	for (const payload of payloads.values()) if (payload !== undefined) bytes += Buffer.byteLength(payload);
	return { vectorCount: payloads.size, bytes };
}

/** What an update adds at most: the vector is there already, and a patch makes a payload longer by its own length at most. */
export function updateDemand(request: UpdateRequest): WriteDemand {
	return {
		vectorCount: 0,
		bytes: request.payloadPatch === undefined ? 0 : Buffer.byteLength(request.payloadPatch),
	};
}

/** The part of a write that one shard does. */
export interface ShardWrite {
	readonly shardIndex: number;
	/** May be called once; nothing of the write is needed afterwards. */
	write(): Promise<WriteResult>;
}

export interface MeasuredShardWrite extends ShardWrite {
	/** What the write would change now. */
	measure(): Promise<WriteResult>;
	/** May be called again. @throws QUOTA_EXCEEDED, having written nothing, when it would add more than allowed */
	writeWithin(allowance: WriteAllowance): Promise<WriteResult>;
}

export interface AdmittedWriterParts {
	readonly record: CollectionRecord;
	readonly accounts: Pick<TenantAccounts, "begin" | "reserve" | "usage">;
	/** All that the tenant has, by name. */
	readonly collections: () => Promise<ReadonlyMap<string, CollectionRecord>>;
}

/** Writes to one collection under its tenant's quota, and tells the tenant's account what they changed. */
export class AdmittedWriter {
	readonly #parts: AdmittedWriterParts;

	constructor(parts: AdmittedWriterParts) {
		this.#parts = parts;
	}

	/**
	 * Sets aside what the write adds at most and writes. When the quota has no room for that, what it really adds is measured
	 * (replacing a vector adds little), and it is written if there is room for it.
	 *
	 * @throws QUOTA_EXCEEDED before anything is written; CONFLICT when others kept changing the same vectors near the quota;
	 *         what a shard threw, the other shards' parts being written
	 */
	async write(demand: WriteDemand, writes: readonly MeasuredShardWrite[]): Promise<WriteResult> {
		let admitted: AccountedWrite;
		try {
			admitted = await this.#reserve(demand);
		} catch (error) {
			if (!isQuotaExceeded(error)) throw error;
			return this.#writeMeasured(writes);
		}
		return this.#run(writes, (write) => write.write(), admitted);
	}

	/** Writes what can only free room. */
	async shrink(writes: readonly ShardWrite[]): Promise<WriteResult> {
		const admitted = this.#parts.accounts.begin(this.#parts.record.tenant_id);
		return this.#run(writes, (write) => write.write(), admitted);
	}

	async #writeMeasured(writes: readonly MeasuredShardWrite[]): Promise<WriteResult> {
		for (let attempt = 0; attempt < MEASURES_MAX; attempt++) {
			const measured = await Promise.all(writes.map(async (write) => ({ write, change: await write.measure() })));
			const total = sumResults(measured.map(({ change }) => change));
			const admitted = await this.#reserve({
				vectorCount: Math.max(0, total.vectorCountDelta),
				bytes: Math.max(0, total.bytesDelta),
			});
			const allowances = new Map(
				measured.map(({ write, change }) => [
					write,
					{ vectorCountMax: change.vectorCountDelta, bytesMax: change.bytesDelta },
				]),
			);
			try {
				return await this.#run(writes, (write) => write.writeWithin(allowances.get(write)!), admitted);
			} catch (error) {
				if (!isQuotaExceeded(error)) throw error;
			}
		}
		throw new HiveError(
			"CONFLICT",
			"others kept changing the same vectors while the quota has no room to spare; retry",
		);
	}

	async #reserve(demand: WriteDemand): Promise<AccountedWrite> {
		const { accounts, record, collections } = this.#parts;
		if (demand.vectorCount === 0 && demand.bytes === 0) return accounts.begin(record.tenant_id);
		return accounts.reserve(record.tenant_id, await collections(), demand);
	}

	async #run<Write extends ShardWrite>(
		writes: readonly Write[],
		start: (write: Write) => Promise<WriteResult>,
		admitted: AccountedWrite,
	): Promise<WriteResult> {
		const { record } = this.#parts;
		const commits: (() => void)[] = [];
		const outcomes = await Promise.allSettled(
			writes.map(async (write) => {
				const result = await start(write);
				commits.push(admitted.stage(record, write.shardIndex, result));
				return result;
			}),
		);
		// What became of a part that failed may be unknown: its room stays set aside until the shard has told.
		if (outcomes.some(({ status }) => status === "rejected")) await this.#ask();
		for (const commit of commits) commit();
		admitted.release();
		const results: WriteResult[] = [];
		const failures: unknown[] = [];
		for (const outcome of outcomes) {
			if (outcome.status === "fulfilled") results.push(outcome.value);
			else failures.push(outcome.reason);
		}
		if (failures.length > 0) throw failures.find((failure) => !isQuotaExceeded(failure)) ?? failures[0];
		return sumResults(results);
	}

	/** Has the shards asked of which it is not known what they hold. */
	async #ask(): Promise<void> {
		const { accounts, record, collections } = this.#parts;
		try {
			await accounts.usage(record.tenant_id, await collections());
		} catch {
			// They stay in doubt, and are asked before the next write is let in.
		}
	}
}

function sumResults(results: readonly WriteResult[]): WriteResult {
	let vectorCountDelta = 0;
	let bytesDelta = 0;
	let affectedCount = 0;
	for (const result of results) {
		vectorCountDelta += result.vectorCountDelta;
		bytesDelta += result.bytesDelta;
		affectedCount += result.affectedCount;
	}
	return { vectorCountDelta, bytesDelta, affectedCount };
}

const isQuotaExceeded = (error: unknown): boolean => error instanceof HiveError && error.code === "QUOTA_EXCEEDED";
