/** What a stream of lines reports to its owner. */
export interface LineStreamEvents {
	/** Called as the source is asked for a line, and when it has answered: in between, the client waits for us. */
	onTurn(isOurs: boolean): void;
	/** The source failed: the last line, in place of the rest. */
	lastLine(cause: unknown): unknown;
	/** The source is exhausted, has failed, or was given up because the client went away. Once. */
	onEnd(): void;
	/** The source failed while it was being given up. */
	onCleanupError(cause: unknown): void;
}

/**
 * NDJSON, a line at a time and only as fast as the client reads. When the client goes away, the source's `return` runs.
 *
 * @param render makes a line's JSON text
 * @param signal aborted when the client goes away
 */
export function lineStream(
	source: AsyncIterable<unknown>,
	render: (value: unknown) => string,
	signal: AbortSignal,
	events: LineStreamEvents,
): ReadableStream<Uint8Array> {
	const encoder = new TextEncoder();
	const iterator = source[Symbol.asyncIterator]();
	const encodeLine = (value: unknown) => encoder.encode(`${render(value)}\n`);
	let isOver = false;
	const end = (): void => {
		if (isOver) return;
		isOver = true;
		signal.removeEventListener("abort", giveUp);
		events.onEnd();
	};
	const giveUp = (): void => {
		if (isOver) return;
		isOver = true;
		signal.removeEventListener("abort", giveUp);
		Promise.resolve(iterator.return?.()).then(
			() => events.onEnd(),
			(cause) => {
				events.onCleanupError(cause);
				events.onEnd();
			},
		);
	};
	// The stream is cancelled too, but only once the server has begun to read it.
	signal.addEventListener("abort", giveUp);
	if (signal.aborted) giveUp();
	return new ReadableStream<Uint8Array>(
		{
			async pull(controller) {
				events.onTurn(true);
				try {
					const next = await iterator.next();
					if (!next.done) {
						controller.enqueue(encodeLine(next.value));
						return;
					}
				} catch (cause) {
					if (!isOver) controller.enqueue(encodeLine(events.lastLine(cause)));
					// It may have been the rendering that failed, with the source still open.
					giveUp();
					controller.close();
					return;
				} finally {
					events.onTurn(false);
				}
				if (isOver) return;
				end();
				controller.close();
			},
			cancel: giveUp,
		},
		// Nothing is made before it is asked for.
		{ highWaterMark: 0 },
	);
}
