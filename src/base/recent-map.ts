import { LRUCache } from "lru-cache";

/**
 * A map of at most so many entries, the least recently used dropped first. Takes memory for what is in it alone: with the
 * library's own `max` room for all there may ever be is set aside at once.
 */
export const recentMap = <Key extends {}, Value extends {}>(
	countMax: number,
	onDrop?: (value: Value, key: Key) => void,
): LRUCache<Key, Value> =>
	new LRUCache<Key, Value>({
		maxSize: countMax,
		sizeCalculation: () => 1,
		...(onDrop !== undefined && { dispose: onDrop }),
	});
