import type { Clock } from "../base/clock.ts";
import type { RandomBytes } from "../base/ids.ts";
import type { Log } from "../observe/log.ts";

/** What a process gives to the node or hub it runs. */
export interface ProcessParts {
	readonly clock: Clock;
	readonly random: RandomBytes;
	readonly log: Log;
	/** Of the product. */
	readonly version: string;
}
