import { Dice } from "../../../scripts/attacks/dice.ts";
import type { Clock } from "../../../src/base/clock.ts";
import type { Timers } from "../../../src/base/timers.ts";

interface Event {
	readonly atMs: number;
	readonly order: number;
	readonly task: () => void;
	isOff: boolean;
}

/** Time that only passes when it is told to: the same calls give the same order of events, always. */
export class VirtualTime implements Timers, Clock {
	/** A heap by time, then by the order in which they were asked for. */
	readonly #heap: Event[] = [];
	#nowMs = 0;
	#orderCount = 0;
	eventCount = 0;

	/** @param startMs of the wall clock, unix milliseconds */
	constructor(readonly startMs = 1_700_000_000_000) {}

	nowMs(): number {
		return this.startMs + this.#nowMs;
	}

	monotonicMs(): number {
		return this.#nowMs;
	}

	after(delayMs: number, task: () => void): () => void {
		const atMs = this.#nowMs + Math.max(0, delayMs);
		const event: Event = { atMs, order: this.#orderCount++, task, isOff: false };
		this.#push(event);
		return () => {
			event.isOff = true;
		};
	}

	/** Lets time pass until the condition holds, which is looked at after each event. @returns whether it came to hold */
	async until(holds: () => boolean, maxMs: number): Promise<boolean> {
		const endMs = this.#nowMs + maxMs;
		await quiet();
		for (;;) {
			if (holds()) return true;
			const event = this.#heap[0];
			if (event === undefined || event.atMs > endMs) {
				this.#nowMs = endMs;
				return holds();
			}
			this.#pop();
			if (event.isOff) continue;
			this.#nowMs = event.atMs;
			this.eventCount++;
			event.task();
			await quiet();
		}
	}

	async pass(ms: number): Promise<void> {
		await this.until(() => false, ms);
	}

	/** Waits for the promise, letting as much time pass as it takes. */
	async wait<Result>(promise: Promise<Result>, maxMs = 24 * 3_600_000): Promise<Result> {
		let isSettled = false;
		const settled = promise.finally(() => {
			isSettled = true;
		});
		settled.catch(() => undefined);
		if (!(await this.until(() => isSettled, maxMs))) throw new Error("the promise did not settle in its time");
		return await settled;
	}

	#push(event: Event): void {
		const heap = this.#heap;
		let at = heap.push(event) - 1;
		while (at > 0) {
			const parent = (at - 1) >> 1;
			if (!isBefore(heap[at]!, heap[parent]!)) break;
			[heap[at], heap[parent]] = [heap[parent]!, heap[at]!];
			at = parent;
		}
	}

	#pop(): void {
		const heap = this.#heap;
		const last = heap.pop()!;
		if (heap.length === 0) return;
		heap[0] = last;
		for (let at = 0; ; ) {
			let least = at;
			for (const child of [2 * at + 1, 2 * at + 2]) {
				if (child < heap.length && isBefore(heap[child]!, heap[least]!)) least = child;
			}
			if (least === at) return;
			[heap[at], heap[least]] = [heap[least]!, heap[at]!];
			at = least;
		}
	}
}

const isBefore = (a: Event, b: Event): boolean => (a.atMs === b.atMs ? a.order < b.order : a.atMs < b.atMs);

/** Settles when everything that can go on without time passing has done so. */
function quiet(): Promise<void> {
	return new Promise((resolve) => setImmediate(resolve));
}

/** With bytes, as `RandomBytes` wants them. */
export class SeededRandom extends Dice {
	readonly bytes = (byteCount: number): Uint8Array => Uint8Array.from({ length: byteCount }, () => this.below(256));
}
