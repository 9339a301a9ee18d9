import type { Clock } from "../base/clock.ts";
import type { Documents } from "./documents.ts";
import type { GraphKeeper } from "./graph-keeper.ts";
import type { HighWater } from "./high-water.ts";
import type { HybridClock } from "./hybrid-clock.ts";
import type { IndexDefinitions } from "./index-definitions.ts";
import type { CommitState } from "./keyspace.ts";
import type { LevelStore } from "./level-store.ts";
import type { Scorer } from "./scorer.ts";
import type { ShardConfig } from "./shard-types.ts";
import type { SlotTable } from "./slot-table.ts";
import type { StorageLog } from "./storage-log.ts";
import type { Tombstones } from "./tombstones.ts";
import type { VectorFile } from "./vector-file.ts";
import type { WordIndex } from "./word-index.ts";

/** What an open shard holds. Everything in memory agrees with the store's last `settle`; only commits change it. */
export interface ShardState {
	readonly folder: string;
	readonly clock: Clock;
	readonly log: StorageLog;
	readonly config: ShardConfig;
	readonly store: LevelStore;
	readonly highWater: HighWater;
	readonly versions: HybridClock;
	readonly slots: SlotTable;
	readonly vectors: VectorFile;
	readonly documents: Documents;
	readonly tombstones: Tombstones;
	readonly scorer: Scorer;
	readonly keeper: GraphKeeper;
	readonly definitions: IndexDefinitions;
	readonly words: WordIndex;
	committed: CommitState;
}
