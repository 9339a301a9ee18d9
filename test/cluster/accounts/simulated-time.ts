import type { Clock } from "../../../src/base/clock.ts";
import type { Timers } from "../../../src/base/timers.ts";

interface Due {
	readonly atMs: number;
	readonly order: number;
	readonly task: () => void;
}

/** Time that passes only when told to, and everything that waits for it. */
export class SimulatedTime implements Clock, Timers {
	#elapsedMs = 1_000_000;
	#orderCount = 0;
	readonly #due: Due[] = [];

	nowMs(): number {
		return Date.parse("2030-01-01T00:00:00Z") + this.#elapsedMs;
	}

	monotonicMs(): number {
		return this.#elapsedMs;
	}

	after(delayMs: number, task: () => void): () => void {
		const due = { atMs: this.#elapsedMs + Math.max(0, delayMs), order: this.#orderCount++, task };
		let at = this.#due.length;
		while (at > 0 && this.#due[at - 1]!.atMs > due.atMs) at--;
		this.#due.splice(at, 0, due);
		return () => {
			const index = this.#due.indexOf(due);
			if (index >= 0) this.#due.splice(index, 1);
		};
	}

	pause(ms: number): Promise<void> {
		const { promise, resolve } = Promise.withResolvers<void>();
		this.after(ms, resolve);
		return promise;
	}

	/** So much time passes; whatever becomes due is done in order. */
	async pass(ms: number): Promise<void> {
		const untilMs = this.#elapsedMs + ms;
		await settled();
		for (let due = this.#due[0]; due !== undefined && due.atMs <= untilMs; due = this.#due[0]) {
			this.#elapsedMs = due.atMs;
			while (this.#due[0] !== undefined && this.#due[0].atMs <= this.#elapsedMs) this.#due.shift()!.task();
			await settled();
		}
		this.#elapsedMs = untilMs;
	}

	/** Time passes until the promise settles. */
	async until<Value>(promise: Promise<Value>): Promise<Value> {
		let isSettled = false;
		const done = promise.finally(() => {
			isSettled = true;
		});
		done.catch(() => {});
		await settled();
		while (!isSettled) {
			const next = this.#due[0];
			if (next === undefined) throw new Error("nothing will ever settle it");
			await this.pass(next.atMs - this.#elapsedMs);
		}
		return done;
	}
}

/** Whatever needs no time has been done. */
async function settled(): Promise<void> {
	const { promise, resolve } = Promise.withResolvers<void>();
	setImmediate(resolve);
	await promise;
}
