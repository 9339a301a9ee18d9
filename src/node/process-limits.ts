import { readFileSync } from "node:fs";
import { totalmem } from "node:os";

/** What the operating system leaves the process. */
export interface ProcessLimits {
	/** Of the machine, or of the container when that has less. */
	readonly memoryBytes: number;
	readonly openFilesMax: number;
}

/** What most systems allow a process at the least. */
const OPEN_FILES_DEFAULT = 1_024;

export function readProcessLimits(limitsFile = "/proc/self/limits"): ProcessLimits {
	const constrained = process.constrainedMemory();
	const total = totalmem();
	return {
		memoryBytes: constrained > 0 ? Math.min(constrained, total) : total,
		openFilesMax: readOpenFilesMax(limitsFile),
	};
}

/** The system tells it nowhere else; where there is no such file the usual number is assumed. */
function readOpenFilesMax(limitsFile: string): number {
	let text: string;
	try {
		text = readFileSync(limitsFile, "utf8");
	} catch {
		return OPEN_FILES_DEFAULT;
	}
	const soft = /^Max open files\s+(\d+|unlimited)/m.exec(text)?.[1];
	if (soft === "unlimited") return 1_000_000;
	return soft === undefined ? OPEN_FILES_DEFAULT : Number(soft);
}

/** An open shard's LevelDB holds 4 files and more while it compacts; its index snapshot and vectors one each. */
const FILES_PER_SHARD = 8;
/** For sockets, the hub's database, the log and what the runtime keeps. */
const FILES_RESERVED_SHARE = 0.25;
const OPEN_SHARDS_MAX = 4_096;

/** How many shards each worker may hold open. At least 4: fewer could not serve one search over a collection. */
export function openShardsPerWorker(openFilesMax: number, workerCount: number): number {
	const files = openFilesMax * (1 - FILES_RESERVED_SHARE);
	return Math.min(OPEN_SHARDS_MAX, Math.max(4, Math.floor(files / FILES_PER_SHARD / workerCount)));
}
