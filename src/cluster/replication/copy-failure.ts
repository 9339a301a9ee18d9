import { type ErrorCode, HiveError } from "../../base/errors.ts";
import { compareVersions } from "../../storage/hybrid-clock.ts";
import type { Version } from "../../storage/shard-types.ts";
import { Outrun, ReplicaFailure, type ReplicaFailureKind } from "./replica-types.ts";

/** Errors of one copy, or of its node, that say nothing of what another copy would answer. */
const COPY_CODES: ReadonlySet<ErrorCode> = new Set(["INTERNAL", "OVERLOADED", "NODE_DRAINING", "CONFLICT"]);

const NO_ANSWERS: ReadonlySet<ReplicaFailureKind> = new Set(["unreachable", "timeout", "busy"]);

/** Whether another copy may do what this one could not. */
export function isCopyFailure(error: unknown): boolean {
	return error instanceof ReplicaFailure || !(error instanceof HiveError) || COPY_CODES.has(error.code);
}

/** Whether the node itself did not answer, whatever it holds. */
export const isNoAnswer = (failure: unknown): boolean =>
	failure instanceof ReplicaFailure && NO_ANSWERS.has(failure.kind);

/** The newest topology that copies told of when they refused a call for its old one; undefined: none did. */
export function newerTopology(failures: Iterable<unknown>): number | undefined {
	let newest: number | undefined;
	for (const failure of failures) {
		if (!(failure instanceof ReplicaFailure) || failure.topologyVersion === undefined) continue;
		newest = Math.max(newest ?? 0, failure.topologyVersion);
	}
	return newest;
}

/** The newest of what outran a call at its copies; undefined: nothing did. */
export function newestOutrun(failures: Iterable<unknown>): Version | undefined {
	let newest: Version | undefined;
	for (const failure of failures) {
		if (!(failure instanceof Outrun)) continue;
		if (newest === undefined || compareVersions(failure.by, newest) > 0) newest = failure.by;
	}
	return newest;
}

export const isMissing = (failure: unknown): boolean => failure instanceof ReplicaFailure && failure.kind === "missing";

/**
 * What a client hears when too few copies did what was asked: the copies' own word where all of them gave one (too busy, a full
 * disk), else NO_QUORUM.
 */
export function tooFew(required: number, answered: number, failures: readonly unknown[], isChosen: boolean): Error {
	const [first] = failures;
	const isOwnWord = failures.every((failure) => failure instanceof Error && !(failure instanceof ReplicaFailure));
	if (isOwnWord && first !== undefined) return first as Error;
	return noQuorum(required, answered, isChosen, first);
}

/** @param isChosen whether the request itself said how many it wants */
export function noQuorum(required: number, answered: number, isChosen: boolean, cause?: unknown): HiveError {
	const wanted = required === 1 ? "one copy" : `${required} copies`;
	return new HiveError(
		"NO_QUORUM",
		`the request needs ${wanted} of the data, and ${answered} answered; retry`,
		{ required, answered, ...(isChosen && { field: "consistency" }), retry_after_seconds: 1 },
		{ cause },
	);
}
