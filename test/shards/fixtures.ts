import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { CollectionId, TenantId } from "../../src/base/ids.ts";
import type { ShardRef } from "../../src/shards/pool-types.ts";
import type { ShardCall } from "../../src/shards/worker-messages.ts";
import type { ShardConfig, UpsertBatch } from "../../src/storage/shard-types.ts";

export const CONFIG: ShardConfig = {
	dimension: 2,
	metric: "cosine",
	quantization: "f32",
	index: "auto",
	hnsw: { m: 16, ef_construction: 128, ef_search: 64 },
	payloadIndexes: {},
	isReplicated: false,
};

export function refOf(tenantId: string, collectionId: string, shardIndex = 0): ShardRef {
	return {
		tenantId: tenantId as TenantId,
		collectionId: collectionId as CollectionId,
		shardIndex,
		config: CONFIG,
		configRevision: 1,
	};
}

export function batchOf(...ids: readonly (string | number)[]): UpsertBatch {
	return { ids, vectors: new Float32Array(ids.length * 2).fill(1), payloads: ids.map(() => undefined) };
}

export const createCall = (ref: ShardRef): ShardCall => ({ ref, method: "create", args: [] });
export const countCall = (ref: ShardRef): ShardCall => ({ ref, method: "count", args: [undefined] });
export const closeCall = (ref: ShardRef): ShardCall => ({ ref, method: "close", args: [] });
export const dropCall = (ref: ShardRef): ShardCall => ({ ref, method: "drop", args: [] });
export const upsertCall = (ref: ShardRef, ...ids: readonly (string | number)[]): ShardCall => ({
	ref,
	method: "upsert",
	args: [batchOf(...ids), {}],
});

/** A folder that is gone when the test is. */
export class TestFolder implements Disposable {
	readonly path = mkdtempSync(join(tmpdir(), "hive-vector-test-"));

	[Symbol.dispose](): void {
		rmSync(this.path, { recursive: true, force: true });
	}
}

/** A promise to be settled from outside. */
export class Signal<Value = void> {
	readonly promise: Promise<Value>;
	readonly settle: (value: Value) => void;

	constructor() {
		const { promise, resolve } = Promise.withResolvers<Value>();
		this.promise = promise;
		this.settle = resolve;
	}
}
