import type { Clock } from "../../base/clock.ts";
import type { NodeId } from "../../base/ids.ts";
import { recentMap } from "../../base/recent-map.ts";
import { REPLICATION_LIMITS } from "./replication-limits.ts";

/** How much the newest answer counts. */
const NEWEST_SHARE = 0.2;
/** How long a node that did not answer is asked last. */
const AVOIDED_MS = 2_000;

/** What nodes usually take to answer, and who does not answer at present. */
export class CopyLatencies {
	readonly #clock: Clock;
	readonly #usualMs = recentMap<string, number>(REPLICATION_LIMITS.latenciesMax);
	readonly #avoidedUntilMs = new Map<NodeId, number>();

	constructor(clock: Clock) {
		this.#clock = clock;
	}

	answered(nodeId: NodeId, method: string, tookMs: number): void {
		this.#note(nodeId, method, tookMs);
		this.#avoidedUntilMs.delete(nodeId);
	}

	/** Another copy was faster: it takes at least so long. */
	outrun(nodeId: NodeId, method: string, waitedMs: number): void {
		if (waitedMs > this.usualMs(nodeId, method)) this.#note(nodeId, method, waitedMs);
		if (waitedMs >= REPLICATION_LIMITS.nextCopyMs) this.avoid(nodeId);
	}

	avoid(nodeId: NodeId): void {
		this.#avoidedUntilMs.set(nodeId, this.#clock.monotonicMs() + AVOIDED_MS);
	}

	isAvoided(nodeId: NodeId): boolean {
		const untilMs = this.#avoidedUntilMs.get(nodeId);
		if (untilMs === undefined) return false;
		if (untilMs > this.#clock.monotonicMs()) return true;
		this.#avoidedUntilMs.delete(nodeId);
		return false;
	}

	usualMs(nodeId: NodeId, method: string): number {
		return this.#usualMs.get(`${nodeId}/${method}`) ?? REPLICATION_LIMITS.unknownLatencyMs;
	}

	/** After which an answer of the node is late. */
	slowMs(nodeId: NodeId, method: string): number {
		const { slowFactor, slowMsMin, nextCopyMs } = REPLICATION_LIMITS;
		return Math.min(nextCopyMs, Math.max(slowMsMin, slowFactor * this.usualMs(nodeId, method)));
	}

	#note(nodeId: NodeId, method: string, tookMs: number): void {
		const key = `${nodeId}/${method}`;
		const before = this.#usualMs.get(key);
		this.#usualMs.set(key, before === undefined ? tookMs : before + NEWEST_SHARE * (tookMs - before));
	}
}
