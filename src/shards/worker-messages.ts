import type { WireError } from "../base/errors.ts";
import type { ShardCalls, ShardMethod, ShardName, ShardRef } from "./pool-types.ts";

/** What passes between the pool and a worker thread. Plain data only. */

/** One call on one shard: the method with its arguments, and the shard it goes to. */
export type ShardCall = {
	[M in ShardMethod]: {
		readonly ref: ShardName | ShardRef;
		readonly method: M;
		readonly args: Parameters<ShardCalls[M]>;
	};
}[ShardMethod];

/** What a worker must know before its first call. */
export interface WorkerSettings {
	readonly dataDir: string;
	/** 8 bytes that name this node in the versions it writes. */
	readonly nodeTag: Uint8Array;
	/** What this worker's open shards may take together before the least recently used are closed. */
	readonly memoryBudgetBytes: number;
	/** Each open shard holds 4 to 8 file descriptors. */
	readonly openShardsMax: number;
	/** Above it `index: auto` builds a graph; the shard's own rule when absent. */
	readonly exactVectorCountMax?: number;
}

export type ToWorker =
	| { readonly type: "init"; readonly settings: WorkerSettings }
	| { readonly type: "call"; readonly callId: number; readonly call: ShardCall }
	| { readonly type: "close" };

export interface Gauges {
	readonly openShards: number;
	readonly memoryBytes: number;
}

export type LogLevel = "info" | "warn" | "error";

/** Where the floors below the node say what an operator should know. Facts hold plain data. */
export type ShardLog = (level: LogLevel, message: string, facts: Readonly<Record<string, unknown>>) => void;

export type FromWorker =
	| { readonly type: "ready" }
	| { readonly type: "result"; readonly callId: number; readonly value: unknown }
	| { readonly type: "failure"; readonly callId: number; readonly error: WireError }
	| { readonly type: "gauges"; readonly gauges: Gauges }
	| {
			readonly type: "log";
			readonly level: LogLevel;
			readonly message: string;
			readonly facts: Readonly<Record<string, unknown>>;
	  }
	| { readonly type: "closed" };
