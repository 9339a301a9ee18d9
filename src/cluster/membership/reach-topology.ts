import { HiveError } from "../../base/errors.ts";
import type { Membership } from "./membership-types.ts";

/**
 * Settles when this node goes by that version of the topology, or a newer one: what was decided under it means something else to
 * who does not know it. A node that goes by none is alone, and no version concerns it.
 *
 * @throws NO_QUORUM when it can't be had
 */
export async function reachTopology(
	membership: Pick<Membership, "view" | "refresh">,
	version: number | undefined,
): Promise<void> {
	const isThere = (): boolean => {
		const known = membership.view().version;
		return version === undefined || known === 0 || known >= version;
	};
	if (isThere()) return;
	await membership.refresh(version!);
	if (isThere()) return;
	throw new HiveError("NO_QUORUM", "this node has not heard yet where the collection's copies are now; retry", {
		retry_after_seconds: 1,
	});
}
