import { join } from "node:path";
import { HiveError } from "../../../src/base/errors.ts";
import { type NodeId, systemRandom } from "../../../src/base/ids.ts";
import { systemTimers } from "../../../src/base/timers.ts";
import { Liveness } from "../../../src/cluster/membership/liveness.ts";
import { TopologyFile } from "../../../src/cluster/membership/topology-file.ts";
import { TopologyKeeper, type TopologyKeeperParts } from "../../../src/cluster/membership/topology-keeper.ts";
import type { HubClient } from "../../../src/hub/hub-client-types.ts";
import { type HubRig, openHub, temporaryFolder } from "../../hub/hub-rig.ts";
import { SimulatedTime } from "../accounts/simulated-time.ts";
import { member, node } from "./topology-fixture.ts";

/** What a test may do to the hub's answers. */
type Fault = (method: "getTopology" | "putTopology") => void | Promise<void>;

/** A real hub, and the keepers of as many nodes as a test wants, each with a file of its own. */
export class KeeperRig {
	readonly time = new SimulatedTime();
	readonly logged: string[] = [];
	readonly liveness = new Liveness({ clock: this.time, timers: this.time });
	/** Asked before a call reaches the hub; may throw or wait. */
	before: Fault = () => {};

	private constructor(
		readonly folder: ReturnType<typeof temporaryFolder>,
		readonly hub: HubRig,
		readonly client: HubClient,
	) {}

	static async open(): Promise<KeeperRig> {
		const folder = temporaryFolder();
		const hub = await openHub({ sqlitePath: join(folder.path, "hub.db") });
		return new KeeperRig(folder, hub, hub.client());
	}

	async close(): Promise<void> {
		this.liveness.stop();
		await this.hub.server.close();
		this.folder.remove();
	}

	keeper(letter: string, parts: Partial<TopologyKeeperParts> = {}): TopologyKeeper {
		return new TopologyKeeper({
			self: node(letter),
			peerId: `peer-${letter}`,
			hub: {
				getTopology: async () => {
					await this.before("getTopology");
					return this.client.getTopology();
				},
				putTopology: async (topology) => {
					await this.before("putTopology");
					return this.client.putTopology(topology);
				},
				listTenants: (page) => this.client.listTenants(page),
				listCollections: (tenantId) => this.client.listCollections(tenantId),
				updateCollection: (...args) => this.client.updateCollection(...args),
			},
			file: this.file(letter),
			liveness: this.liveness,
			askMember: async () => {
				throw new Error("nobody answers");
			},
			clock: this.time,
			timers: systemTimers,
			random: systemRandom,
			log: (message, facts) => this.logged.push(`${message} ${JSON.stringify(facts)}`),
			...parts,
		});
	}

	file(letter: string): TopologyFile {
		return new TopologyFile(join(this.folder.path, `${letter}.state`), (why) => this.logged.push(`damaged: ${why}`));
	}

	/** A cluster of these, all at work and alive, as the first of them knows it. */
	async cluster(letters: string): Promise<TopologyKeeper> {
		const keeper = this.keeper(letters[0]!);
		await keeper.enter(own(letters[0]!));
		for (const letter of letters.slice(1)) await keeper.admit(candidate(letter));
		for (const letter of letters) this.liveness.heard(node(letter));
		const first = this.keeper([...letters].sort()[0]!);
		await first.refresh(letters.length);
		if (letters.length > 1) await first.finishWhenSettled(() => letters.length);
		await keeper.refresh(letters.length + 1);
		return keeper;
	}
}

export const own = (letter: string) => {
	const { addresses, serves_hub } = member(letter);
	return { addresses, serves_hub };
};

export const candidate = (letter: string) => {
	const { state: _, ...rest } = member(letter);
	return rest;
};

export const unavailable = (): never => {
	throw new HiveError("HUB_UNAVAILABLE", "the hub does not answer");
};

/** The code, and the field when there is one, of what a promise is rejected with. */
export async function refusalOf(promise: Promise<unknown>): Promise<string> {
	try {
		await promise;
	} catch (error) {
		if (error instanceof HiveError) return [error.code, error.details?.field ?? []].flat().join(" ");
		throw error;
	}
	return "no refusal";
}

export const idsOf = (keeper: TopologyKeeper): NodeId[] =>
	keeper.topology.members.map(({ node_id }) => node_id as NodeId);
