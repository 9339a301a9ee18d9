import { HiveError } from "../base/errors.ts";
import type { TenantId } from "../base/ids.ts";
import { FairQueue } from "../shards/fair-queue.ts";

/** What may be under way at once. A body larger than `bytesMax` still passes when nothing else is. */
export interface UnderWayBounds {
	readonly countMax: number;
	/** Sum of the bodies' declared bytes. */
	readonly bytesMax: number;
}

export interface PassageBounds {
	readonly inAll: UnderWayBounds;
	readonly perTenant: UnderWayBounds;
	/** What is refused at once when the line would get longer. */
	readonly waitingInAllMax: number;
	readonly waitingPerTenantMax: number;
}

export interface TurnstileBounds {
	/** Requests with a body below `largeBodyBytes`, or none. */
	readonly small: PassageBounds;
	readonly large: PassageBounds;
	/** Imports and exports, which last as long as their clients like: none waits, one too many is refused. */
	readonly streams: PassageBounds;
	readonly largeBodyBytes: number;
	/** What a body of undeclared length counts for. */
	readonly undeclaredBodyBytes: number;
	/** Whoever waited this long is refused. */
	readonly waitMsMax: number;
}

const MEBIBYTE = 2 ** 20;

/**
 * A tenant alone gets its share, which keeps the workers busy, and no more: the rest is free for whoever comes next, who
 * needs not wait for any of it to end.
 */
export const TURNSTILE_BOUNDS: TurnstileBounds = {
	small: {
		inAll: { countMax: 512, bytesMax: 32 * MEBIBYTE },
		perTenant: { countMax: 64, bytesMax: 4 * MEBIBYTE },
		waitingInAllMax: 4_096,
		waitingPerTenantMax: 256,
	},
	large: {
		inAll: { countMax: 4, bytesMax: 128 * MEBIBYTE },
		perTenant: { countMax: 2, bytesMax: 64 * MEBIBYTE },
		waitingInAllMax: 256,
		// A client that is refused comes again at once and sends its body again; one that waits costs little.
		waitingPerTenantMax: 64,
	},
	streams: {
		inAll: { countMax: 512, bytesMax: Number.POSITIVE_INFINITY },
		perTenant: { countMax: 64, bytesMax: Number.POSITIVE_INFINITY },
		waitingInAllMax: 0,
		waitingPerTenantMax: 0,
	},
	largeBodyBytes: 64 * 1024,
	undeclaredBodyBytes: 4 * MEBIBYTE,
	waitMsMax: 5_000,
};

/** To be called when the request is answered. A second call does nothing. */
export type Leave = () => void;

/** Runs a task every so often; what it returns stops that. */
export type Repeat = (intervalMs: number, task: () => void) => () => void;

export interface TurnstileParts {
	readonly bounds: TurnstileBounds;
	/** Any origin, never goes back. */
	readonly monotonicMs: () => number;
	readonly repeat: Repeat;
}

/**
 * What requests pass after the rate limit and before their body is read. An unread body stays with its client, so what waits
 * here holds next to no memory and takes none of the main thread's time.
 *
 * A tenant has a share of what is under way; beyond it, its requests wait in a line of their own. Lines take turns by cost.
 */
export class Turnstile {
	readonly #bounds: TurnstileBounds;
	readonly #small: Passage;
	readonly #large: Passage;
	readonly #streams: Passage;

	constructor({ bounds, monotonicMs, repeat }: TurnstileParts) {
		this.#bounds = bounds;
		const wait: WaitRule = { waitMsMax: bounds.waitMsMax, monotonicMs, repeat };
		this.#small = new Passage(bounds.small, wait);
		this.#large = new Passage(bounds.large, wait);
		this.#streams = new Passage(bounds.streams, wait);
	}

	/**
	 * Synchronous while there is room and nobody waits.
	 *
	 * @param bodyBytes as declared; 0 without a body, undefined when it has one of undeclared length.
	 * @throws OVERLOADED with `retry_after_seconds`: at once when the tenant's line or the whole line is full, later when the
	 *         wait grew too long. A promise rejects with it.
	 */
	enter(tenantId: TenantId, bodyBytes: number | undefined): Leave | Promise<Leave> {
		const bytes = bodyBytes ?? this.#bounds.undeclaredBodyBytes;
		return (bytes < this.#bounds.largeBodyBytes ? this.#small : this.#large).enter(tenantId, bytes);
	}

	/** For a request that streams: it holds its place until the stream ends. @throws OVERLOADED */
	enterStream(tenantId: TenantId): Leave | Promise<Leave> {
		return this.#streams.enter(tenantId, 0);
	}

	/** Requests that wait. */
	get waitingCount(): number {
		return this.#small.waitingCount + this.#large.waitingCount;
	}
}

interface WaitRule {
	readonly waitMsMax: number;
	readonly monotonicMs: () => number;
	readonly repeat: Repeat;
}

interface Waiting {
	readonly share: Share;
	readonly bytes: number;
	readonly sinceMs: number;
	/** It was refused: what surfaces of it is passed over. */
	isGone: boolean;
	resolve(leave: Leave): void;
	reject(error: HiveError): void;
}

/** One tenant's part of a passage. */
class Share {
	/** Under way, or in the common queue and sure to fit the share when its turn comes. */
	count = 0;
	bytes = 0;
	waitingCount = 0;
	/** What the share has no room for yet, in its order. */
	readonly backlog: Waiting[] = [];

	constructor(readonly tenantId: TenantId) {}

	get isIdle(): boolean {
		return this.count === 0 && this.backlog.length === 0;
	}
}

/** The unit in which lines take turns: a body of this many bytes counts twice as much as none. */
const COST_UNIT_BYTES = 64 * 1024;
const RETRY_AFTER_SECONDS = 1;
const CHECKS_PER_WAIT = 4;

class Passage {
	readonly #bounds: PassageBounds;
	readonly #rule: WaitRule;
	/** Of tenants that have something under way or waiting. */
	readonly #shares = new Map<TenantId, Share>();
	/** What fits its tenant's share and waits for room in all. */
	readonly #queue: FairQueue<Waiting>;
	/** All who wait, longest first. */
	readonly #waiting = new Set<Waiting>();
	#count = 0;
	#bytes = 0;
	#stopChecks: (() => void) | undefined;

	constructor(bounds: PassageBounds, rule: WaitRule) {
		this.#bounds = bounds;
		this.#rule = rule;
		// Who was refused after a wait stays in the queue until its turn: twice as many as wait is more than can be.
		const lengthMax = 2 * (bounds.waitingInAllMax + bounds.inAll.countMax);
		this.#queue = new FairQueue({ perKeyMax: lengthMax, totalMax: lengthMax, bytesMax: Number.POSITIVE_INFINITY });
	}

	get waitingCount(): number {
		return this.#waiting.size;
	}

	enter(tenantId: TenantId, bytes: number): Leave | Promise<Leave> {
		let share = this.#shares.get(tenantId);
		const { inAll, perTenant, waitingInAllMax, waitingPerTenantMax } = this.#bounds;
		const isFirst = this.#queue.size === 0 && (share === undefined || share.backlog.length === 0);
		const fitsShare = share === undefined || fits(share, bytes, perTenant);
		if (isFirst && fitsShare && fits({ count: this.#count, bytes: this.#bytes }, bytes, inAll)) {
			share ??= this.#open(tenantId);
			take(share, bytes);
			return this.#admit(share, bytes);
		}
		if (this.#waiting.size >= waitingInAllMax || (share?.waitingCount ?? 0) >= waitingPerTenantMax) throw overloaded();
		share ??= this.#open(tenantId);
		return this.#wait(share, bytes);
	}

	#open(tenantId: TenantId): Share {
		const share = new Share(tenantId);
		this.#shares.set(tenantId, share);
		return share;
	}

	#wait(share: Share, bytes: number): Promise<Leave> {
		return new Promise((resolve, reject) => {
			const sinceMs = this.#rule.monotonicMs();
			const waiting: Waiting = { share, bytes, sinceMs, isGone: false, resolve, reject };
			share.waitingCount++;
			share.backlog.push(waiting);
			this.#waiting.add(waiting);
			this.#stopChecks ??= this.#rule.repeat(this.#rule.waitMsMax / CHECKS_PER_WAIT, () => this.#refuseLate());
			this.#offer(share);
			this.#pump();
		});
	}

	/** Moves what now fits the tenant's share into the common queue. */
	#offer(share: Share): void {
		for (let next = share.backlog[0]; next !== undefined; next = share.backlog[0]) {
			if (!next.isGone && !fits(share, next.bytes, this.#bounds.perTenant)) return;
			share.backlog.shift();
			if (next.isGone) continue;
			if (!this.#queue.push(share.tenantId, next, 1 + next.bytes / COST_UNIT_BYTES, 0)) {
				this.#refuse(next);
				continue;
			}
			take(share, next.bytes);
		}
	}

	/** Lets in whoever's turn it is, while there is room. */
	#pump(): void {
		for (let next = this.#queue.first(); next !== undefined; next = this.#queue.first()) {
			if (!next.isGone && !fits({ count: this.#count, bytes: this.#bytes }, next.bytes, this.#bounds.inAll)) return;
			this.#queue.shift();
			if (next.isGone) {
				giveBack(next.share, next.bytes);
				this.#afterRoom(next.share);
				continue;
			}
			this.#forget(next);
			next.resolve(this.#admit(next.share, next.bytes));
		}
	}

	/** The share has counted it already. */
	#admit(share: Share, bytes: number): Leave {
		this.#count++;
		this.#bytes += bytes;
		let hasLeft = false;
		return () => {
			if (hasLeft) return;
			hasLeft = true;
			this.#count--;
			this.#bytes -= bytes;
			giveBack(share, bytes);
			this.#afterRoom(share);
			this.#pump();
		};
	}

	#afterRoom(share: Share): void {
		this.#offer(share);
		if (share.isIdle) this.#shares.delete(share.tenantId);
	}

	#refuseLate(): void {
		const lateMs = this.#rule.monotonicMs() - this.#rule.waitMsMax;
		for (const waiting of this.#waiting) {
			if (waiting.sinceMs > lateMs) return;
			this.#refuse(waiting);
		}
	}

	#refuse(waiting: Waiting): void {
		waiting.isGone = true;
		this.#forget(waiting);
		waiting.reject(overloaded());
	}

	#forget(waiting: Waiting): void {
		this.#waiting.delete(waiting);
		waiting.share.waitingCount--;
		if (this.#waiting.size > 0) return;
		this.#stopChecks?.();
		this.#stopChecks = undefined;
	}
}

function fits(
	load: { readonly count: number; readonly bytes: number },
	bytes: number,
	bounds: UnderWayBounds,
): boolean {
	return load.count < bounds.countMax && (load.bytes === 0 || load.bytes + bytes <= bounds.bytesMax);
}

function take(share: Share, bytes: number): void {
	share.count++;
	share.bytes += bytes;
}

function giveBack(share: Share, bytes: number): void {
	share.count--;
	share.bytes -= bytes;
}

const overloaded = (): HiveError =>
	new HiveError("OVERLOADED", "too many requests are waiting; retry in a moment", {
		retry_after_seconds: RETRY_AFTER_SECONDS,
	});
