import { HiveError } from "../../base/errors.ts";
import type { Topology, TopologyMember } from "../models.ts";
import type { HubDatabase, SqlRunner } from "./hub-database.ts";

/** Who is on the ring. Version 0, without members, is what a new hub starts with. */
export class TopologyStore {
	readonly #database: HubDatabase;

	constructor(database: HubDatabase) {
		this.#database = database;
	}

	async get(): Promise<Topology> {
		return await this.#database.read(readTopology);
	}

	/** Compare-and-set. @throws CONFLICT unless `topology.version` follows the stored version. */
	async put(topology: Topology): Promise<Topology> {
		return await this.#database.write(async (transaction) => {
			const current = await readTopology(transaction.sql);
			if (topology.version !== current.version + 1) {
				throw new HiveError("CONFLICT", "the topology has changed: read it and try again", {
					current_version: current.version,
					given_version: topology.version,
				});
			}
			await transaction.sql`
				UPDATE topology SET version = ${topology.version}, members = ${JSON.stringify(topology.members)}`;
			await transaction.change(() => ({ kind: "topology", version: topology.version }));
			return topology;
		});
	}
}

async function readTopology(sql: SqlRunner): Promise<Topology> {
	const [row] = await sql<{ version: number | string; members: string }[]>`SELECT version, members FROM topology`;
	return { version: Number(row!.version), members: JSON.parse(row!.members) as TopologyMember[] };
}
