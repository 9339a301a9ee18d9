/** The part of `process` that the signal needs. */
export interface HangupSource {
	on(signal: "SIGHUP", listener: () => void): unknown;
	off(signal: "SIGHUP", listener: () => void): unknown;
}

/**
 * SIGHUP reads again what can change while a server runs.
 *
 * @param reload never rejects
 * @returns      takes the listener away
 */
export function reloadOnHangup(source: HangupSource, reload: () => Promise<void>): () => void {
	const listener = (): void => void reload();
	source.on("SIGHUP", listener);
	return () => void source.off("SIGHUP", listener);
}
