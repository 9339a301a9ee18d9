import type { VectorId } from "../../base/ids.ts";
import { compareVersions, VERSION_BYTES } from "../../storage/hybrid-clock.ts";
import type { ShardDigest, Version, VersionList } from "../../storage/shard-types.ts";
import { REPAIR_LIMITS } from "./repair-limits.ts";

/** What two copies have to tell each other. */
export interface VersionDiff {
	/** Newer in the other copy, or only there. */
	readonly newerThere: readonly VectorId[];
	/** Newer in this copy, or only here. */
	readonly newerHere: readonly VectorId[];
}

/** Deleted ids count like others: word of the deletion is newer or older. */
export function diffVersions(here: VersionList, there: VersionList): VersionDiff {
	const unmatched = new Map(here.ids.map((id, at) => [id, at]));
	const newerThere: VectorId[] = [];
	const newerHere: VectorId[] = [];
	for (const [at, id] of there.ids.entries()) {
		const theirs = versionAt(there, at);
		const hereAt = unmatched.get(id);
		unmatched.delete(id);
		const order = hereAt === undefined ? 1 : compareVersions(theirs, versionAt(here, hereAt));
		if (order < 0) newerHere.push(id);
		if (order > 0) newerThere.push(id);
	}
	for (const id of unmatched.keys()) newerHere.push(id);
	return { newerThere, newerHere };
}

/** Buckets whose sums differ. @param here sums of as many buckets, as in `ShardDigest` */
export function differingBuckets(here: Uint32Array, there: Uint32Array): number[] {
	const buckets: number[] = [];
	for (let bucket = 0; 2 * bucket < here.length; bucket++) {
		const at = 2 * bucket;
		if (here[at] !== there[at] || here[at + 1] !== there[at + 1]) buckets.push(bucket);
	}
	return buckets;
}

/** A power of two: some 256 rows a bucket. */
export function bucketCountFor(rowCount: number): number {
	const { rowsPerBucket, bucketCountMin, bucketCountMax } = REPAIR_LIMITS;
	let bucketCount: number = bucketCountMin;
	while (bucketCount < bucketCountMax && bucketCount * rowsPerBucket < rowCount) bucketCount *= 2;
	return bucketCount;
}

const versionAt = (list: VersionList, at: number): Version =>
	list.versions.subarray(at * VERSION_BYTES, (at + 1) * VERSION_BYTES);

/** Equal of copies that hold the same documents in the same versions, when as many buckets were asked for. */
export function digestText({ sums }: Pick<ShardDigest, "sums">): string {
	const bytes = new Uint8Array(sums.buffer, sums.byteOffset, sums.byteLength);
	return new Bun.CryptoHasher("sha256").update(bytes).digest("hex").slice(0, 32);
}
