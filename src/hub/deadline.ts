/** A signal that aborts when the time is over or the caller's own does. Ended by hand: thousands of calls would leave as many timers. */
export function openDeadline(
	ms: number,
	callerSignal: AbortSignal | undefined,
): { readonly signal: AbortSignal; passed(): boolean; end(): void } {
	const controller = new AbortController();
	let passed = false;
	const timer = setTimeout(() => {
		passed = true;
		controller.abort(new Error("deadline passed"));
	}, ms);
	const onAbort = (): void => controller.abort(callerSignal?.reason);
	if (callerSignal?.aborted) onAbort();
	callerSignal?.addEventListener("abort", onAbort);
	return {
		signal: controller.signal,
		passed: () => passed,
		end() {
			clearTimeout(timer);
			callerSignal?.removeEventListener("abort", onAbort);
		},
	};
}

/** What `promise` settles to, or the signal's reason as soon as it aborts. */
export function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
	const { promise: aborted, reject } = Promise.withResolvers<never>();
	const onAbort = (): void => reject(signal.reason);
	signal.addEventListener("abort", onAbort);
	return Promise.race([promise, aborted]).finally(() => signal.removeEventListener("abort", onAbort));
}
