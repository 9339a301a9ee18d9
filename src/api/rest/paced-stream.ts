/** What a paced stream reports to its owner. */
export interface PacedStreamEvents {
	/** Called as the source is asked for more, and when it has answered: in between, the client waits for us. */
	onTurn(isOurs: boolean): void;
	/** The source is exhausted, has failed, or was given up because the client went away. Once. */
	onEnd(): void;
	onError(cause: unknown): void;
}

/**
 * The same bytes, only as fast as the client reads. When the client goes away the source is cancelled.
 *
 * @param signal aborted when the client goes away
 */
export function pacedStream(
	source: ReadableStream<Uint8Array>,
	signal: AbortSignal,
	events: PacedStreamEvents,
): ReadableStream<Uint8Array> {
	const reader = source.getReader();
	let isOver = false;
	const end = (): void => {
		if (isOver) return;
		isOver = true;
		signal.removeEventListener("abort", giveUp);
		events.onEnd();
	};
	const giveUp = (): void => {
		if (isOver) return;
		end();
		reader.cancel().catch((cause: unknown) => events.onError(cause));
	};
	// The stream is cancelled too, but only once the server has begun to read it.
	signal.addEventListener("abort", giveUp);
	if (signal.aborted) giveUp();
	return new ReadableStream<Uint8Array>(
		{
			async pull(controller) {
				events.onTurn(true);
				try {
					const { value, done } = await reader.read();
					if (!done) {
						controller.enqueue(value);
						return;
					}
					controller.close();
				} catch (cause) {
					if (!isOver) events.onError(cause);
					controller.error(cause);
				} finally {
					events.onTurn(false);
				}
				end();
			},
			cancel: giveUp,
		},
		// Nothing is made before it is asked for.
		{ highWaterMark: 0 },
	);
}
