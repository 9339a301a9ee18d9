import type { z } from "zod";
import { HiveError } from "../../base/errors.ts";
import { HUB_LIMITS } from "../hub-limits.ts";
import type { Topology, TopologyMember } from "../models.ts";
import type { topologySchema } from "../request-schemas.ts";
import type { HubDatabase, SqlRunner } from "./hub-database.ts";
import { dropStoredAmounts } from "./usage-store.ts";

/** A topology as it may be asked for: what it leaves out stays as it is stored. */
type WantedTopology = z.output<typeof topologySchema>;

/** Who is on the ring. Version 0, without members, is what a new hub starts with. */
export class TopologyStore {
	readonly #database: HubDatabase;

	constructor(database: HubDatabase) {
		this.#database = database;
	}

	async get(): Promise<Topology> {
		return await this.#database.read(readTopology);
	}

	/** Compare-and-set. @throws CONFLICT unless `wanted.version` follows the stored version */
	async put(wanted: WantedTopology): Promise<Topology> {
		return await this.#database.write(async (transaction) => {
			const current = await readTopology(transaction.sql);
			if (wanted.version !== current.version + 1) {
				throw new HiveError("CONFLICT", "the topology has changed: read it and try again", {
					current_version: current.version,
					given_version: wanted.version,
				});
			}
			const topology = completed(wanted, current);
			await transaction.sql`
				UPDATE topology SET version = ${topology.version}, members = ${JSON.stringify(topology.members)},
				retired = ${JSON.stringify(topology.retired)}, replica_counts = ${JSON.stringify(topology.replica_counts ?? [])}`;
			const retiredBefore = new Set(current.retired.map(({ node_id }) => node_id));
			const leaving = topology.retired.map(({ node_id }) => node_id).filter((nodeId) => !retiredBefore.has(nodeId));
			await dropStoredAmounts(transaction.sql, leaving);
			await transaction.change(() => ({ kind: "topology", version: topology.version }));
			return topology;
		});
	}
}

/** A client that knows the bare form alone must not make the cluster forget who its nodes are, and who has left. */
function completed(wanted: WantedTopology, current: Topology): Topology {
	const known = new Map(current.members.map((member) => [member.node_id, member]));
	return {
		version: wanted.version,
		members: wanted.members.map(({ node_id, peer_id, state, addresses, serves_hub }) => ({
			node_id,
			peer_id: peer_id ?? known.get(node_id)?.peer_id ?? "",
			state,
			addresses,
			serves_hub: serves_hub ?? known.get(node_id)?.serves_hub ?? false,
		})),
		replica_counts: wanted.replica_counts ?? current.replica_counts ?? [],
		retired: (wanted.retired ?? current.retired).slice(-HUB_LIMITS.retiredMembersMax),
	};
}

async function readTopology(sql: SqlRunner): Promise<Topology> {
	const [row] = await sql<{ version: number | string; members: string; retired: string; replica_counts: string }[]>`
		SELECT version, members, retired, replica_counts FROM topology`;
	// Members written before these fields were made have neither.
	const members = JSON.parse(row!.members) as (Partial<TopologyMember> &
		Pick<TopologyMember, "node_id" | "state" | "addresses">)[];
	return {
		version: Number(row!.version),
		members: members.map((member) => ({ peer_id: "", serves_hub: false, ...member })),
		replica_counts: JSON.parse(row!.replica_counts) as NonNullable<Topology["replica_counts"]>,
		retired: JSON.parse(row!.retired) as Topology["retired"],
	};
}
