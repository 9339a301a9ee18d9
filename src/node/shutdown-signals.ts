/** The part of `process` that signals need. */
export interface SignalSource {
	on(signal: "SIGTERM" | "SIGINT", listener: () => void): unknown;
	off(signal: "SIGTERM" | "SIGINT", listener: () => void): unknown;
	exit(code: number): unknown;
}

const SIGNAL_NUMBERS = { SIGINT: 2, SIGTERM: 15 } as const;

/**
 * The first SIGTERM or SIGINT stops what runs and then exits: 0 when it stopped cleanly, 1 when it didn't. A second one,
 * from somebody who can't wait, exits at once with 128 + its number.
 *
 * @param stop      settles when every database is closed: exiting with one open may abort the process
 * @param onFailure told why `stop` failed
 * @returns         takes the listeners away
 */
export function stopOnSignals(
	source: SignalSource,
	stop: () => Promise<void>,
	onFailure: (cause: unknown) => void,
): () => void {
	let isStopping = false;
	const listeners = (["SIGTERM", "SIGINT"] as const).map((signal) => {
		const listener = (): void => {
			if (isStopping) {
				source.exit(128 + SIGNAL_NUMBERS[signal]);
				return;
			}
			isStopping = true;
			stop().then(
				() => source.exit(0),
				(cause: unknown) => {
					onFailure(cause);
					source.exit(1);
				},
			);
		};
		source.on(signal, listener);
		return { signal, listener };
	});
	return () => {
		for (const { signal, listener } of listeners) source.off(signal, listener);
	};
}
