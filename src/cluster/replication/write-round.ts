import { HiveError } from "../../base/errors.ts";
import type { NodeId } from "../../base/ids.ts";
import type { Consistency } from "../../base/schemas.ts";
import type { Version, WriteResult } from "../../storage/shard-types.ts";
import type { Membership, Placement } from "../membership/membership-types.ts";
import { isCopyFailure, newerTopology } from "./copy-failure.ts";
import { Outrun, ReplicaFailure } from "./replica-types.ts";
import { WriteQuorum } from "./write-quorum.ts";

/** Sends a write to one copy. */
export type SendWrite = (nodeId: NodeId, timeoutMs: number) => Promise<WriteResult>;

export interface WriteRoundParts {
	readonly placement: Placement;
	readonly consistency: Consistency;
	/** Copies that have it already. */
	readonly done?: readonly NodeId[];
	readonly send: SendWrite;
	readonly isLive: Membership["isLive"];
	/** Calls the task off. */
	readonly after: (delayMs: number, task: () => void) => () => void;
	readonly timeoutMs: number;
	/** Told of each copy's answer, also of those that come when the round is over. */
	readonly answered: (nodeId: NodeId, result: WriteResult) => void;
	/** Whether something newer that stands in a copy's way makes the write void. */
	readonly yields: boolean;
}

export type RoundOutcome =
	| {
			readonly kind: "acknowledged";
			/** Copies that do not have it, and those that have not answered yet. */
			readonly missed: readonly NodeId[];
			readonly pending: ReadonlyMap<NodeId, Promise<boolean>>;
	  }
	/** A copy holds something newer than the write. */
	| { readonly kind: "superseded"; readonly by: Version }
	/** A copy knows a newer topology. */
	| { readonly kind: "stale"; readonly version: number }
	/** An error that any copy would answer with. */
	| { readonly kind: "refused"; readonly error: HiveError }
	| {
			readonly kind: "failed";
			readonly required: number;
			readonly answered: number;
			readonly failures: ReadonlyMap<NodeId, unknown>;
	  };

/**
 * Sends a write to all its copies once, and settles as soon as it is clear what has become of it. Nodes that are thought dead are
 * passed over as long as the others suffice.
 */
export function runWriteRound(parts: WriteRoundParts): Promise<RoundOutcome> {
	const { placement, consistency, done = [], send, isLive, after, timeoutMs, answered, yields } = parts;
	const quorum = new WriteQuorum(placement, consistency);
	const failures = new Map<NodeId, unknown>();
	/** Whether the copy has it in the end. */
	const pending = new Map<NodeId, Promise<boolean>>();
	for (const nodeId of done) quorum.done(nodeId);
	const rest = placement.writers.filter((nodeId) => !done.includes(nodeId));
	const dead = passedOver(placement, consistency, rest, isLive);
	for (const nodeId of dead) failures.set(nodeId, new ReplicaFailure("unreachable", nodeId, "the node is down"));

	return new Promise((resolve) => {
		let isOver = false;
		const end = (outcome: RoundOutcome): void => {
			if (isOver) return;
			isOver = true;
			cancelTimer();
			resolve(outcome);
		};
		const look = (): void => {
			if (isOver) return;
			if (quorum.isReached) {
				end({ kind: "acknowledged", missed: [...failures.keys()], pending: new Map(pending) });
				return;
			}
			const version = newerTopology(failures.values());
			if (version !== undefined) end({ kind: "stale", version });
			else if (quorum.isImpossible) end({ kind: "failed", ...quorum.worst, failures });
		};
		const cancelTimer = after(timeoutMs, () => {
			for (const nodeId of pending.keys()) {
				failures.set(nodeId, new ReplicaFailure("timeout", nodeId, "the write took too long"));
				quorum.failed(nodeId);
			}
			look();
		});
		const succeed = (nodeId: NodeId, result: WriteResult): boolean => {
			pending.delete(nodeId);
			answered(nodeId, result);
			if (result.supersededBy !== undefined && !yields) {
				end({ kind: "superseded", by: result.supersededBy });
				return true;
			}
			if (failures.has(nodeId)) return true;
			quorum.done(nodeId);
			look();
			return true;
		};
		const fail = (nodeId: NodeId, error: unknown): boolean => {
			pending.delete(nodeId);
			if (failures.has(nodeId)) return false;
			if (error instanceof Outrun) {
				end({ kind: "superseded", by: error.by });
				return false;
			}
			if (error instanceof HiveError && !isCopyFailure(error)) {
				end({ kind: "refused", error });
				return false;
			}
			failures.set(nodeId, error);
			quorum.failed(nodeId);
			look();
			return false;
		};
		for (const nodeId of dead) quorum.failed(nodeId);
		for (const nodeId of rest) {
			if (dead.includes(nodeId)) continue;
			const call = send(nodeId, timeoutMs).then(
				(result) => succeed(nodeId, result),
				(error: unknown) => fail(nodeId, error),
			);
			pending.set(nodeId, call);
		}
		look();
	});
}

/** Nodes that are thought dead and not needed. */
function passedOver(
	placement: Placement,
	consistency: Consistency,
	nodes: readonly NodeId[],
	isLive: Membership["isLive"],
): readonly NodeId[] {
	const dead = nodes.filter((nodeId) => !isLive(nodeId));
	if (dead.length === 0) return dead;
	const without = new WriteQuorum(placement, consistency);
	for (const nodeId of dead) without.failed(nodeId);
	return without.isImpossible ? [] : dead;
}
