import { z } from "zod";
import { HiveError } from "../../base/errors.ts";
import type { RandomBytes } from "../../base/ids.ts";
import { backoffMs, pause } from "../../hub/backoff.ts";
import type { Topology } from "../../hub/models.ts";
import { topologyAnswer } from "../../hub/response-schemas.ts";
import type { TopologyKeeper } from "./topology-keeper.ts";

/** What a node asks that is not a member: the one thing it may. */
export const JOIN_METHOD = "cluster.join";

/** What this version speaks to other nodes, `major.minor`: the same major version can be spoken with. */
export const CLUSTER_PROTOCOL = "1.0";

/** Members of a cluster are asked for one answer: any will do. */
const ADDRESSES_MAX = 64;

const joinRequestSchema = z.object({
	node_id: z.string().regex(/^node_[a-z0-9]{16}$/),
	addresses: z.array(z.string().min(1).max(256)).max(16),
	/** Whether it runs a hub of its own that others may have to use. */
	serves_hub: z.boolean(),
	protocol: z.string().regex(/^\d{1,4}\.\d{1,4}$/),
});

const joinAnswerSchema = z.discriminatedUnion("outcome", [
	z.object({ outcome: z.literal("admitted"), topology: topologyAnswer }),
	/** For good: asking again, here or elsewhere, is of no use. */
	z.object({ outcome: z.literal("refused"), reason: z.string(), field: z.string() }),
	/** The member that was asked can't do it now. */
	z.object({ outcome: z.literal("retry"), reason: z.string() }),
]);

export type JoinRequest = z.infer<typeof joinRequestSchema>;
export type JoinAnswer =
	| { readonly outcome: "admitted"; readonly topology: Topology }
	| { readonly outcome: "refused"; readonly reason: string; readonly field: string }
	| { readonly outcome: "retry"; readonly reason: string };

/**
 * The asked side: lets the node in under the identity that its connection has proven.
 *
 * @param onAdmitted its request was granted: its addresses are known from it before any topology tells them
 * @returns answers a request; it throws VALIDATION_FAILED when that is none, and what the hub throws unexpectedly
 */
export function joinHandler(
	keeper: Pick<TopologyKeeper, "admit">,
	onAdmitted: (request: JoinRequest, peerId: string) => void,
): (body: unknown, peerId: string) => Promise<JoinAnswer> {
	return async (body, peerId) => {
		const parsed = joinRequestSchema.safeParse(body);
		if (!parsed.success) {
			throw new HiveError("VALIDATION_FAILED", "this is no request to join", undefined, { cause: parsed.error });
		}
		const { protocol, ...candidate } = parsed.data;
		if (majorOf(protocol) !== majorOf(CLUSTER_PROTOCOL)) {
			const reason = `the cluster speaks protocol ${CLUSTER_PROTOCOL}, this node ${protocol}: run the same major version`;
			return { outcome: "refused", reason, field: "protocol" };
		}
		try {
			const topology = await keeper.admit({ ...candidate, peer_id: peerId });
			onAdmitted(parsed.data, peerId);
			return { outcome: "admitted", topology };
		} catch (error) {
			if (!(error instanceof HiveError)) throw error;
			if (error.code === "HUB_UNAVAILABLE" || error.code === "OVERLOADED") {
				return { outcome: "retry", reason: error.message };
			}
			if (error.code !== "CONFLICT") throw error;
			return { outcome: "refused", reason: error.message, field: String(error.details?.field ?? "cluster.join") };
		}
	};
}

export interface JoinerParts {
	/** Multiaddresses to ask, found anew for each round. May throw. */
	readonly addresses: () => Promise<readonly string[]>;
	/** Asks one address, within a bounded time. @throws when it can't be reached, or does not know what is asked */
	readonly ask: (address: string, request: JoinRequest) => Promise<unknown>;
	readonly random: RandomBytes;
	readonly log: (message: string, facts: Readonly<Record<string, unknown>>) => void;
}

/**
 * The asking side: goes round the addresses until a member lets this node in.
 *
 * @returns the topology, with this node in it
 * @throws CONFLICT when it is refused for good; HUB_UNAVAILABLE when `signal` aborts first
 */
export async function joinCluster(parts: JoinerParts, request: JoinRequest, signal: AbortSignal): Promise<Topology> {
	for (let round = 1; !signal.aborted; round++) {
		// It may take days until somebody is there: less and less often is enough.
		const isLogged = Number.isInteger(Math.log2(round));
		const failed = (where: string, why: unknown): void => {
			if (isLogged) parts.log("asked to join, without success so far", { address: where, reason: String(why), round });
		};
		let addresses: readonly string[] = [];
		try {
			addresses = [...new Set(await parts.addresses())].slice(0, ADDRESSES_MAX);
			if (addresses.length === 0) failed("", "no address to ask is known");
		} catch (error) {
			failed("", error);
		}
		for (const address of addresses) {
			if (signal.aborted) break;
			const answer = await asked(parts, address, request);
			if (answer.outcome === "admitted") return answer.topology;
			if (answer.outcome === "refused") throw new HiveError("CONFLICT", answer.reason, { field: answer.field });
			failed(address, answer.reason);
		}
		await pause(backoffMs(round, parts.random), signal);
	}
	throw new HiveError("HUB_UNAVAILABLE", "no member of the cluster could be reached at the addresses to join", {
		field: "cluster.join",
	});
}

async function asked(parts: JoinerParts, address: string, request: JoinRequest): Promise<JoinAnswer> {
	try {
		const answer = joinAnswerSchema.safeParse(await parts.ask(address, request));
		if (!answer.success) return { outcome: "retry", reason: "the answer makes no sense" };
		const isIn =
			answer.data.outcome !== "admitted" ||
			answer.data.topology.members.some(({ node_id }) => node_id === request.node_id);
		return isIn ? answer.data : { outcome: "retry", reason: "the answer is for another node" };
	} catch (error) {
		return { outcome: "retry", reason: error instanceof Error ? error.message : String(error) };
	}
}

const majorOf = (protocol: string): string => protocol.split(".")[0]!;
