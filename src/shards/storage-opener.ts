import type { Clock } from "../base/clock.ts";
import { Shard } from "../storage/shard.ts";
import type { StorageOpener } from "./worker-endpoint.ts";

/** Opens storage's shards. */
export function storageOpener(clock: Clock): StorageOpener {
	return (settings, log) => {
		const deps = {
			clock,
			nodeTag: settings.nodeTag,
			log: (message: string, details: Readonly<Record<string, unknown>> = {}) => log("warn", message, details),
			...(settings.exactVectorCountMax === undefined ? {} : { exactVectorCountMax: settings.exactVectorCountMax }),
		};
		return {
			openShard: (folder, config) => Shard.open(folder, config, deps),
			createShard: (folder, config) => Shard.create(folder, config, deps),
		};
	};
}
