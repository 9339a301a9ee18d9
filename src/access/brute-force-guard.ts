import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import { clientNetwork } from "../base/network.ts";

const ADDRESS_COUNT_MAX = 50_000;
/** Beyond so many, failures close in time are counted together, with their time rounded so that they count a little longer. */
const MARKS_MAX = 16;

export interface BruteForceLimits {
	readonly failures: number;
	readonly windowSeconds: number;
	readonly blockSeconds: number;
}

interface Mark {
	/** Until then its failures count. */
	readonly untilMs: number;
	failureCount: number;
}

/**
 * Counts failed authentications by client address, IPv6 by /64, and shuts an address out for a while when it has failed too
 * often within the window. Memory is bounded: counts go first, a standing block only when there is nothing but blocks, and
 * then the one that ends first.
 */
export class BruteForceGuard {
	readonly #clock: Clock;
	readonly #limits: BruteForceLimits;
	readonly #addressCountMax: number;
	readonly #granularityMs: number;
	/** Least recently failed first; of each, the oldest mark first. */
	readonly #marksByNetwork = new Map<string, Mark[]>();
	/** When each block ends; all last equally long, so the first ends first. */
	readonly #blockedUntilMs = new Map<string, number>();

	constructor(clock: Clock, limits: BruteForceLimits, addressCountMax = ADDRESS_COUNT_MAX) {
		this.#clock = clock;
		this.#limits = limits;
		this.#addressCountMax = addressCountMax;
		this.#granularityMs = limits.failures <= MARKS_MAX ? 0 : (limits.windowSeconds * 1000) / MARKS_MAX;
	}

	/** Addresses remembered, for whatever reason. */
	get addressCount(): number {
		return this.#marksByNetwork.size + this.#blockedUntilMs.size;
	}

	/** @returns AUTH_RATE_LIMIT while the address is shut out. */
	refusal(address: string): HiveError | undefined {
		if (this.#blockedUntilMs.size === 0) return undefined;
		const leftMs = this.#blockLeftMs(clientNetwork(address), this.#clock.monotonicMs());
		if (leftMs <= 0) return undefined;
		const seconds = Math.ceil(leftMs / 1000);
		return new HiveError("AUTH_RATE_LIMIT", `too many failed authentications from this address: wait ${seconds} s`, {
			retry_after_seconds: seconds,
		});
	}

	/** @returns whether this failure shut the address out. */
	failed(address: string): boolean {
		const network = clientNetwork(address);
		const nowMs = this.#clock.monotonicMs();
		if (this.#blockLeftMs(network, nowMs) > 0) return false;
		const marks = this.#marksByNetwork.get(network)?.filter((mark) => mark.untilMs > nowMs) ?? [];
		this.#marksByNetwork.delete(network);
		this.#mark(marks, nowMs);
		const failureCount = marks.reduce((sum, mark) => sum + mark.failureCount, 0);
		const isBlocked = failureCount >= this.#limits.failures;
		this.#makeRoom(nowMs);
		if (isBlocked) this.#blockedUntilMs.set(network, nowMs + this.#limits.blockSeconds * 1000);
		else this.#marksByNetwork.set(network, marks);
		return isBlocked;
	}

	/** Forgets the failures before; a block that stands, stands. */
	succeeded(address: string): void {
		if (this.#marksByNetwork.size > 0) this.#marksByNetwork.delete(clientNetwork(address));
	}

	/** 0 or less: not shut out. */
	#blockLeftMs(network: string, nowMs: number): number {
		const untilMs = this.#blockedUntilMs.get(network);
		if (untilMs === undefined) return 0;
		if (untilMs <= nowMs) this.#blockedUntilMs.delete(network);
		return untilMs - nowMs;
	}

	#mark(marks: Mark[], nowMs: number): void {
		const last = marks.at(-1);
		const windowMs = this.#limits.windowSeconds * 1000;
		if (last !== undefined && last.untilMs > nowMs + windowMs) last.failureCount++;
		else marks.push({ untilMs: nowMs + windowMs + this.#granularityMs, failureCount: 1 });
	}

	#makeRoom(nowMs: number): void {
		for (const [network, untilMs] of this.#blockedUntilMs) {
			if (untilMs > nowMs) break;
			this.#blockedUntilMs.delete(network);
		}
		if (this.addressCount < this.#addressCountMax) return;
		const [evicted] = this.#marksByNetwork.keys();
		if (evicted !== undefined) {
			this.#marksByNetwork.delete(evicted);
			return;
		}
		const [endingFirst] = this.#blockedUntilMs.keys();
		this.#blockedUntilMs.delete(endingFirst!);
	}
}
