import { z } from "zod";
import { HiveError } from "../../base/errors.ts";
import type { CollectionId, NodeId, TenantId } from "../../base/ids.ts";
import { LIMITS } from "../../base/limits.ts";
import type { ShardName } from "../../shards/pool-types.ts";
import type { Membership } from "../membership/membership-types.ts";
import type { PeerCalls, PeerMethods } from "../peer/peer-types.ts";
import type { LocalCopies } from "../replication/replica-types.ts";
import { REPAIR_LIMITS } from "./repair-limits.ts";

export const REPAIR_METHODS = {
	/** Answers when no write to a shard from before a version of the topology is under way any more. */
	settled: "repair.settled",
	/** Which version of the topology do you know, having asked for this one? */
	topology: "repair.topology",
	/** Look at once for shards that should be elsewhere. */
	look: "repair.look",
} as const;

const nameSchema = z.object({
	tenantId: z.string().transform((text) => text as TenantId),
	collectionId: z.string().transform((text) => text as CollectionId),
	shardIndex: z
		.int()
		.min(0)
		.max(LIMITS.shardCountMax - 1),
});
const versionSchema = z.int().min(0);
const settledSchema = z.object({ shard: nameSchema, version: versionSchema });
const topologySchema = z.object({ version: versionSchema });
const versionAnswerSchema = z.object({ version: versionSchema });

/** What repair asks of other nodes besides calls on their copies. */
export class RepairCalls {
	constructor(private readonly calls: PeerCalls) {}

	/**
	 * @returns whether no write that the node accepted under an older topology is under way on the shard, and none will be
	 * @throws PeerFailure, HiveError
	 */
	async isSettled(nodeId: NodeId, shard: ShardName, version: number, signal: AbortSignal): Promise<boolean> {
		const body = { shard: plainName(shard), version };
		return await this.#isThere(nodeId, REPAIR_METHODS.settled, body, version, signal);
	}

	/** @returns whether the node goes by that version of the topology, or a newer one. @throws PeerFailure, HiveError */
	async hasTopology(nodeId: NodeId, version: number, signal: AbortSignal): Promise<boolean> {
		return await this.#isThere(nodeId, REPAIR_METHODS.topology, { version }, version, signal);
	}

	/** Has the node look now for what it lacks or holds too much. @throws PeerFailure, HiveError */
	async look(nodeId: NodeId): Promise<void> {
		await this.calls.call(nodeId, REPAIR_METHODS.look, null, { timeoutMs: REPAIR_LIMITS.copyStateMs });
	}

	async #isThere(nodeId: NodeId, method: string, body: object, version: number, signal: AbortSignal): Promise<boolean> {
		const answer = await this.calls.call(nodeId, method, body, { timeoutMs: REPAIR_LIMITS.callMs, signal });
		return versionAnswerSchema.parse(answer).version >= version;
	}
}

export interface RepairMethodsParts {
	readonly membership: Membership;
	readonly copies: Pick<LocalCopies, "settled">;
	readonly look: () => void;
}

/** Answers what other nodes' repair asks. To be called before the network starts. */
export function handleRepairCalls(methods: PeerMethods, parts: RepairMethodsParts): void {
	const { membership, copies, look } = parts;

	methods.handle(REPAIR_METHODS.look, async () => look());

	/** @returns the version this node goes by, having tried to come to that one */
	const catchUp = async (version: number): Promise<number> => {
		if (membership.view().version < version) await membership.refresh(version);
		return membership.view().version;
	};

	methods.handle(REPAIR_METHODS.topology, async (body) => ({
		version: await catchUp(parsed(topologySchema, body).version),
	}));

	methods.handle(REPAIR_METHODS.settled, async (body) => {
		const { shard, version } = parsed(settledSchema, body);
		const known = await catchUp(version);
		// From here on writes from before are refused; those that were not are waited for.
		if (known >= version) await copies.settled(shard, version);
		return { version: known };
	});
}

function parsed<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
	const result = schema.safeParse(body);
	if (!result.success) throw new HiveError("VALIDATION_FAILED", "this is no question of repair", { field: "body" });
	return result.data;
}

const plainName = ({ tenantId, collectionId, shardIndex }: ShardName) => ({ tenantId, collectionId, shardIndex });
