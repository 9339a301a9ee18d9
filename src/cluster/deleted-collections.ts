import type { CollectionId } from "../base/ids.ts";
import { recentMap } from "../base/recent-map.ts";

/** Handles from before a deletion, and calls on their way, are as old as the longest request; ids are never reused. */
const REMEMBERED_MAX = 20_000;

/** Collections whose deletion this node has heard of: nothing may make them anew. */
export class DeletedCollections {
	readonly #ids = recentMap<CollectionId, true>(REMEMBERED_MAX);

	add(collectionId: CollectionId): void {
		this.#ids.set(collectionId, true);
	}

	has(collectionId: CollectionId): boolean {
		return this.#ids.has(collectionId);
	}
}
