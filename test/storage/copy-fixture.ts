import { systemClock } from "../../src/base/clock.ts";
import type { VectorId } from "../../src/base/ids.ts";
import { VERSION_BYTES } from "../../src/storage/hybrid-clock.ts";
import type { Shard } from "../../src/storage/shard.ts";
import type { VersionedRows } from "../../src/storage/shard-types.ts";

/** A version as a clock of some node makes it. */
export function versionAt(ms: number, counter = 0, node = "elsewhere"): Uint8Array {
	const version = Buffer.alloc(VERSION_BYTES);
	version.writeUIntBE(ms, 0, 6);
	version.writeUInt16BE(counter, 6);
	version.write(node.slice(0, 8), 8);
	return new Uint8Array(version);
}

export function batchOf(ids: readonly VectorId[], vector: Float32Array, payload?: string) {
	const vectors = new Float32Array(ids.length * vector.length);
	for (let row = 0; row < ids.length; row++) vectors.set(vector, row * vector.length);
	return { ids, vectors, payloads: ids.map(() => payload) };
}

/** What is known of ids, by id, to compare with another copy's. */
export function contentOf(rows: VersionedRows, dimension: number): Record<string, unknown> {
	const content: Record<string, unknown> = {};
	let vectorAt = 0;
	for (const [at, id] of rows.ids.entries()) {
		const version = Buffer.from(rows.versions.subarray(at * VERSION_BYTES, (at + 1) * VERSION_BYTES)).toString("hex");
		const isDeleted = rows.deleted[at] === 1;
		const vector = isDeleted ? undefined : [...rows.vectors.subarray(vectorAt, vectorAt + dimension)];
		if (!isDeleted) vectorAt += dimension;
		content[JSON.stringify(id)] = { version, isDeleted, vector, payload: rows.payloads[at] };
	}
	return content;
}

/** The version of one id, as hex; undefined when nothing is known of it. */
export async function versionOf(shard: Shard, id: VectorId): Promise<string | undefined> {
	const { ids, versions } = await shard.rows([id]);
	return ids.length === 0 ? undefined : Buffer.from(versions).toString("hex");
}

/** Goes on by a second each time it is looked at, so that whoever works in slices of time rests as often as possible. */
export function hastyClock() {
	let looks = 0;
	return { nowMs: () => systemClock.nowMs(), monotonicMs: () => ++looks * 1_000 };
}
