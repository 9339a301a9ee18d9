import { HiveError } from "../base/errors.ts";
import type { Topology } from "./models.ts";

/**
 * Keeps a node from following a hub that knows less of the cluster than the node does: one on an empty database, one restored from
 * an old backup, or another cluster's. To such a hub everything stored here belongs to nobody, and would be removed.
 */
export class HubAge {
	readonly #knownVersion: () => number;
	#refusal: HiveError | undefined;

	/** @param knownVersion of the topology, on this node; 0: none */
	constructor(knownVersion: () => number) {
		this.#knownVersion = knownVersion;
	}

	/** Why the hub is not asked; undefined while it is followed. */
	get refusal(): HiveError | undefined {
		return this.#refusal;
	}

	/** @throws HUB_UNAVAILABLE when the hub is the older one; what `readTopology` throws */
	async check(readTopology: () => Promise<Topology>): Promise<void> {
		if (this.#knownVersion() === 0) return;
		const { version } = await readTopology();
		const known = this.#knownVersion();
		this.#refusal = version < known ? hubIsOlder(version, known) : undefined;
		if (this.#refusal !== undefined) throw this.#refusal;
	}
}

/** What a hub's topology is refused with. */
export const hubIsOlder = (hubVersion: number, knownVersion: number): HiveError =>
	new HiveError(
		"HUB_UNAVAILABLE",
		`the hub knows version ${hubVersion} of the topology, this node version ${knownVersion}: its database is empty, was restored from an old backup, or is another cluster's; nothing is taken from it`,
		{ hub_version: hubVersion, known_version: knownVersion },
	);
