import { compareVersions } from "./hybrid-clock.ts";
import type { Version } from "./shard-types.ts";

/** Gathers what stood in the way of the writes of one request. */
export class Superseded {
	/** Writes that found something newer. */
	count = 0;
	/** The newest that was found. */
	newest: Version | undefined;

	/** @param standing as `RequestDraft.putVersion` told of a write in `version`. */
	note(standing: Version | undefined, version: Version): void {
		// The same version again is a repetition, and done.
		if (standing === undefined || compareVersions(standing, version) === 0) return;
		this.count++;
		if (this.newest === undefined || compareVersions(standing, this.newest) > 0) this.newest = standing;
	}
}
