import { movesLeft, type NodesAnswer } from "./cluster-view.ts";
import { CommandFailure } from "./failure.ts";
import type { Progress } from "./progress.ts";

/** Between two looks at the cluster. */
export const WATCH_EVERY_MS = 1_000;

/** What is heard of other nodes is a heartbeat old: a single quiet look may have come before they began. */
const QUIET_LOOKS_MIN = 3;

export interface WatchParts {
	readonly look: () => Promise<NodesAnswer>;
	readonly pause: () => Promise<void>;
	/** @param total shards that have to move */
	readonly startProgress: (total: number) => Progress;
}

/** Follows the moves of shards until `isDone` says so of one look after another. @returns the last look */
export async function watchMoves(
	{ look, pause, startProgress }: WatchParts,
	isDone: (answer: NodesAnswer) => boolean,
	quietLooksMin: number,
): Promise<NodesAnswer> {
	let progress: Progress | undefined;
	let total = 0;
	let quietLooks = 0;
	try {
		while (true) {
			const answer = await look();
			const left = movesLeft(answer);
			if (left > total) {
				// More came to light: the bar begins anew with what is known now.
				progress?.stop();
				total = left;
				progress = startProgress(total);
			}
			progress?.update(total - left, noteOf(answer));
			quietLooks = isDone(answer) ? quietLooks + 1 : 0;
			if (quietLooks >= quietLooksMin) return answer;
			await pause();
		}
	} finally {
		progress?.stop();
	}
}

/** Until the node is no member any more, as others say or as it says itself. */
export const watchLeaving = async (
	parts: WatchParts,
	nodeId: string,
): Promise<{ readonly topology_version?: number }> => {
	try {
		return await watchMoves(parts, ({ nodes }) => nodes.every((node) => node.node_id !== nodeId), 1);
	} catch (error) {
		// The one that was asked is the one that has gone.
		if (error instanceof CommandFailure && error.code === "NODE_DRAINING") return {};
		throw error;
	}
};

/** Until nothing moves and nothing has to. */
export const watchRebalance = (parts: WatchParts): Promise<NodesAnswer> =>
	watchMoves(parts, (answer) => !answer.is_changing && movesLeft(answer) === 0, QUIET_LOOKS_MIN);

function noteOf({ nodes }: NodesAnswer): string {
	const transfers = nodes.flatMap((node) => node.transfers);
	const sum = (field: "rows_done" | "rows_total"): number => transfers.reduce((rows, each) => rows + each[field], 0);
	return transfers.length === 0 ? "" : `${sum("rows_done")} of ${sum("rows_total")} vectors of those under way`;
}
