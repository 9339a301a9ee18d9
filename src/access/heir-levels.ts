import type { NodeId, TenantId } from "../base/ids.ts";
import { recentMap } from "../base/recent-map.ts";
import type { Timers } from "../base/timers.ts";
import type { HomeCalls } from "../cluster/accounts/home-calls.ts";
import { BUCKET_KINDS } from "./bucket-kinds.ts";
import { LEASE_METHODS, LEVELS_PER_MESSAGE_MAX, limitsToWire, type SubjectLevel } from "./lease-messages.ts";
import type { BucketLimits, RateLimiter } from "./rate-limiter.ts";

const TELL_EVERY_MS = 1_000;
const TELL_TIMEOUT_MS = 1_000;
const SUBJECTS_MAX = 100_000;
/** Buckets that are fuller than this are not worth a word. */
const SPENT_SHARE_MIN = 0.05;

interface Subject {
	readonly tenantId: TenantId;
	readonly limits: BucketLimits;
}

export interface HeirLevelsParts {
	readonly homes: HomeCalls;
	readonly limiter: RateLimiter;
	readonly timers: Timers;
}

/**
 * Tells the node that would take over from a home how empty the buckets are, about once a second, so that a home's death or
 * the coming of a new one hands out no fresh buckets. Nobody waits for it; what is lost is told with the next change.
 */
export class HeirLevels {
	readonly #parts: HeirLevelsParts;
	/** Spent from here, and perhaps full again. */
	readonly #spent = recentMap<string, Subject>(SUBJECTS_MAX);
	readonly #changed = new Set<string>();
	#callOff: (() => void) | undefined;
	#isClosed = false;

	constructor(parts: HeirLevelsParts) {
		this.#parts = parts;
	}

	/** Tokens of the subject were taken here. */
	spent(subject: string, tenantId: TenantId, limits: BucketLimits): void {
		if (this.#changed.has(subject)) return;
		this.#spent.set(subject, { tenantId, limits });
		this.#changed.add(subject);
		this.#schedule();
	}

	/** Others may be homes and heirs from now on. */
	tellAll(): void {
		for (const subject of this.#spent.keys()) this.#changed.add(subject);
		if (this.#changed.size > 0) this.#schedule();
	}

	close(): void {
		this.#isClosed = true;
		this.#callOff?.();
	}

	#schedule(): void {
		if (this.#isClosed) return;
		this.#callOff ??= this.#parts.timers.after(TELL_EVERY_MS, () => {
			this.#callOff = undefined;
			this.#tell();
		});
	}

	#tell(): void {
		const { homes, limiter } = this.#parts;
		const levelsByHeir = new Map<NodeId, SubjectLevel[]>();
		for (const name of this.#changed) {
			const subject = this.#spent.peek(name);
			const heir = subject && homes.heirOf(subject.tenantId);
			const untilFullMs = subject && limiter.untilFull(name, subject.limits);
			const isWorthIt = untilFullMs?.some((ms, index) => ms > SPENT_SHARE_MIN * BUCKET_KINDS[index]!.windowMs);
			if (heir === undefined || subject === undefined || untilFullMs === undefined || isWorthIt !== true) {
				this.#changed.delete(name);
				if (isWorthIt === false) this.#spent.delete(name);
				continue;
			}
			const levels = levelsByHeir.get(heir) ?? [];
			if (levels.length === LEVELS_PER_MESSAGE_MAX) continue;
			levels.push({ subject: name, limits: [...limitsToWire(subject.limits)], untilFullMs: [...untilFullMs] });
			levelsByHeir.set(heir, levels);
			this.#changed.delete(name);
		}
		for (const [heir, levels] of levelsByHeir) {
			homes.call(heir, LEASE_METHODS.heir, { levels }, TELL_TIMEOUT_MS).catch(() => {});
		}
		if (this.#changed.size > 0) this.#schedule();
	}
}
