import type { Clock } from "../../base/clock.ts";
import type { NodeId } from "../../base/ids.ts";
import type { Timers } from "../../base/timers.ts";
import { isCopyFailure, isNoAnswer } from "./copy-failure.ts";
import type { CopyLatencies } from "./copy-latencies.ts";
import type { HedgeBudget } from "./hedge-budget.ts";
import { REPLICATION_LIMITS } from "./replication-limits.ts";

export interface HedgedReadParts {
	readonly clock: Clock;
	readonly timers: Timers;
	readonly latencies: CopyLatencies;
	readonly budget: HedgeBudget;
}

/** Not as many copies could answer as were needed. */
export class AllCopiesFailed extends Error {
	override readonly name = "AllCopiesFailed";
	constructor(
		/** By node, in the order in which they failed. */
		readonly failures: ReadonlyMap<NodeId, unknown>,
		/** Those that did answer, where more were needed. */
		readonly answered = 0,
	) {
		super("too few copies answered");
	}
}

/** Asks one copy. */
export type AskCopy<Answer> = (
	nodeId: NodeId,
	options: { readonly timeoutMs: number; readonly signal: AbortSignal },
) => Promise<Answer>;

interface Asked {
	readonly nodeId: NodeId;
	readonly sinceMs: number;
	readonly controller: AbortController;
}

/**
 * Asks one copy, the next at once when it fails, and the next besides when it is slow: the first answer counts.
 *
 * @param nodes  in the order in which they are asked; one at least
 * @param method for which latencies are kept
 * @throws AllCopiesFailed; an error that any copy would answer with
 */
export function readHedged<Answer>(
	{ clock, timers, latencies, budget }: HedgedReadParts,
	nodes: readonly NodeId[],
	method: string,
	ask: AskCopy<Answer>,
): Promise<Answer> {
	budget.earn();
	return new Promise<Answer>((resolve, reject) => {
		const deadlineMs = clock.monotonicMs() + REPLICATION_LIMITS.readMs;
		const underWay = new Set<Asked>();
		const failures = new Map<NodeId, unknown>();
		let nextIndex = 0;
		let isOver = false;
		let cancelTimer: (() => void) | undefined;

		const end = (): void => {
			isOver = true;
			cancelTimer?.();
			for (const { controller } of underWay) controller.abort();
		};
		const succeed = (asked: Asked, answer: Answer): void => {
			underWay.delete(asked);
			const nowMs = clock.monotonicMs();
			latencies.answered(asked.nodeId, method, nowMs - asked.sinceMs);
			if (isOver) return;
			for (const slower of underWay) latencies.outrun(slower.nodeId, method, nowMs - slower.sinceMs);
			end();
			resolve(answer);
		};
		const fail = (asked: Asked, error: unknown): void => {
			underWay.delete(asked);
			if (isOver) return;
			if (!isCopyFailure(error)) {
				end();
				reject(error);
				return;
			}
			failures.set(asked.nodeId, error);
			if (isNoAnswer(error)) latencies.avoid(asked.nodeId);
			if (nextIndex < nodes.length) {
				askNext();
				return;
			}
			if (underWay.size > 0) return;
			end();
			reject(new AllCopiesFailed(failures));
		};
		const watch = (asked: Asked): void => {
			cancelTimer?.();
			cancelTimer = undefined;
			if (nextIndex === nodes.length) return;
			const slowMs = latencies.slowMs(asked.nodeId, method);
			cancelTimer = timers.after(slowMs, () => {
				const restMs = REPLICATION_LIMITS.nextCopyMs - slowMs;
				if (restMs <= 0 || budget.spend()) askNext();
				else cancelTimer = timers.after(restMs, askNext);
			});
		};
		const askNext = (): void => {
			const asked: Asked = {
				nodeId: nodes[nextIndex++]!,
				sinceMs: clock.monotonicMs(),
				controller: new AbortController(),
			};
			underWay.add(asked);
			watch(asked);
			const timeoutMs = Math.max(1, deadlineMs - asked.sinceMs);
			ask(asked.nodeId, { timeoutMs, signal: asked.controller.signal }).then(
				(answer) => succeed(asked, answer),
				(error: unknown) => fail(asked, error),
			);
		};
		askNext();
	});
}
