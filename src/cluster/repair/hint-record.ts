import { type CollectionId, TENANT_ID_PATTERN, type TenantId } from "../../base/ids.ts";
import { isCollectionId } from "../../shards/data-folder.ts";
import type { ShardName } from "../../shards/pool-types.ts";

/** One line of a node's log of hints. */
export type HintRecord =
	/** The node missed something of a shard, first at that time, unix milliseconds. */
	| { readonly kind: "missed"; readonly shard: ShardName; readonly sinceMs: number }
	/** It has what it missed of the shard. */
	| { readonly kind: "done"; readonly shard: ShardName }
	/** It missed too much to tell, first at that time: all that it holds has to be compared. */
	| { readonly kind: "everything"; readonly sinceMs: number };

export function hintLine(record: HintRecord): string {
	const words: (string | number)[] = [record.kind];
	if (record.kind !== "everything") {
		words.push(record.shard.tenantId, record.shard.collectionId, record.shard.shardIndex);
	}
	if (record.kind !== "done") words.push(record.sinceMs);
	const text = words.join(" ");
	return `${text} ${sumOf(text)}\n`;
}

export interface HintLogContent {
	readonly records: readonly HintRecord[];
	/** Lines are there that nobody wrote so: what they said is not known. */
	readonly isDamaged: boolean;
	/** The last line has no end. It was never acknowledged, and counts for nothing. */
	readonly isTorn: boolean;
}

export function readHintLog(text: string): HintLogContent {
	const lines = text.split("\n");
	const isTorn = lines.pop() !== "";
	const records = lines.map(readLine);
	const whole = records.filter((record) => record !== undefined);
	return { records: whole, isDamaged: whole.length < records.length, isTorn };
}

function readLine(line: string): HintRecord | undefined {
	const end = line.lastIndexOf(" ");
	const text = line.slice(0, end);
	if (end < 0 || sumOf(text) !== line.slice(end + 1)) return undefined;
	const [kind, ...words] = text.split(" ");
	if (kind === "everything") return { kind, sinceMs: Number(words[0]) };
	if (kind !== "missed" && kind !== "done") return undefined;
	const [tenantId = "", collectionId = "", index = "", since] = words;
	const shardIndex = Number(index);
	if (!TENANT_ID_PATTERN.test(tenantId) || !isCollectionId(collectionId) || !Number.isSafeInteger(shardIndex)) {
		return undefined;
	}
	const shard = { tenantId: tenantId as TenantId, collectionId: collectionId as CollectionId, shardIndex };
	return kind === "done" ? { kind, shard } : { kind, shard, sinceMs: Number(since) };
}

const sumOf = (text: string): string => Bun.hash.xxHash32(text).toString(16).padStart(8, "0");
