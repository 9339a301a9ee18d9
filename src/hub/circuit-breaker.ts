import { type CircuitBreakerPolicy, CircuitState, ConsecutiveBreaker, circuitBreaker, handleWhen } from "cockatiel";
import type { Clock } from "../base/clock.ts";
import type { RandomBytes } from "../base/ids.ts";
import { HUB_LIMITS } from "./hub-limits.ts";

/** What an error says of the one who was called. `unknown`: nothing, it never got there. */
export type CallVerdict = "alive" | "dead" | "unknown";

export interface CircuitBreakerOptions {
	readonly clock: Pick<Clock, "monotonicMs">;
	readonly random: RandomBytes;
	readonly judge: (error: unknown) => CallVerdict;
	/** Called when calls stop being let through, with the error that did it, and when they are again. */
	readonly onChange?: (state: "open" | "closed", error?: unknown) => void;
}

/** The call was not made. Its cause is what the last one failed with. */
export class CircuitOpenError extends Error {
	override readonly name = "CircuitOpenError";
}

/** The library would count the pause by the wall clock, which jumps; so it pauses for no time at all, and the pause is kept here. */
const NO_PAUSE = Number.NEGATIVE_INFINITY;

/**
 * Keeps calls from one who does not answer: after `breakerFailuresMax` failures in a row every call fails at once, until a pause
 * is over; then one call finds out whether things are better, and the others go on failing at once meanwhile. Pauses double
 * from `breakerPauseFirstMs` to `breakerPauseMaxMs`, with jitter.
 */
export class CircuitBreaker {
	readonly #options: CircuitBreakerOptions;
	readonly #failures = new ConsecutiveBreaker(HUB_LIMITS.breakerFailuresMax);
	readonly #policy: CircuitBreakerPolicy;
	#pauseCount = 0;
	#pausedUntilMs = 0;

	constructor(options: CircuitBreakerOptions) {
		this.#options = options;
		this.#policy = circuitBreaker(
			handleWhen((error) => options.judge(error) === "dead"),
			{ breaker: this.#failures, halfOpenAfter: NO_PAUSE },
		);
		this.#policy.onBreak((reason) => {
			this.#pauseCount += 1;
			this.#pausedUntilMs = options.clock.monotonicMs() + this.#pauseMs();
			if (this.#pauseCount === 1) options.onChange?.("open", "error" in reason ? reason.error : undefined);
		});
		this.#policy.onReset(() => {
			this.#pauseCount = 0;
			options.onChange?.("closed");
		});
	}

	/** @throws CircuitOpenError; what `call` throws */
	async run<T>(call: () => Promise<T>): Promise<T> {
		const { state, lastFailure } = this.#policy;
		const cause = lastFailure !== undefined && "error" in lastFailure ? lastFailure.error : undefined;
		// One call is finding out: whoever waited for it could wait as long as a call may take.
		if (state === CircuitState.HalfOpen)
			throw new CircuitOpenError("one call is finding out whether there is an answer");
		if (state === CircuitState.Open && this.#options.clock.monotonicMs() < this.#pausedUntilMs) {
			throw new CircuitOpenError("the last calls got no answer", { cause });
		}
		const outcome = await this.#policy.execute(async () => {
			try {
				return { value: await call() };
			} catch (error) {
				// Whoever refuses is there: returned, not thrown, or it would not end a row of failures.
				if (this.#options.judge(error) === "alive") return { error };
				throw error;
			}
		});
		if ("error" in outcome) throw outcome.error;
		return outcome.value;
	}

	/** An answer came some other way: calls go through again, and the row of failures begins anew. */
	close(): void {
		this.#failures.success();
		if (this.#policy.state !== CircuitState.Closed) this.#policy.isolate().dispose();
	}

	#pauseMs(): number {
		const ceiling = Math.min(
			HUB_LIMITS.breakerPauseFirstMs * 2 ** (this.#pauseCount - 1),
			HUB_LIMITS.breakerPauseMaxMs,
		);
		return ceiling * (0.5 + this.#options.random(1)[0]! / 512);
	}
}
