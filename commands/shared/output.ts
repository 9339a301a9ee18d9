/** stdout, with what happens to it: a failed write is heard of only later, and by whoever listens. */
export class WatchedOutput {
	private failure: (Error & { readonly code?: string }) | undefined;
	private flushing: Promise<void> | undefined;

	constructor(private readonly stream: NodeJS.WriteStream) {
		// The command framework's listener throws, which would end the process with a stack trace.
		stream.removeAllListeners("error");
		stream.on("error", (error: Error) => {
			this.failure ??= error;
		});
	}

	/**
	 * Settles when what was written has left, or its reader has (`| head -1`). Nothing can be written any more.
	 *
	 * @throws what else kept it from leaving, a full disk for instance
	 */
	flush(): Promise<void> {
		this.flushing ??= this.end();
		return this.flushing;
	}

	private async end(): Promise<void> {
		// The callback of an empty write comes before what was written earlier has left; only the end waits for all of it.
		await new Promise<void>((resolve) => {
			this.stream.end(() => resolve());
		});
		// The stream tells of a failed write one turn after the callbacks.
		await new Promise<void>((resolve) => {
			setImmediate(resolve);
		});
		if (this.failure !== undefined && this.failure.code !== "EPIPE") throw this.failure;
	}
}

/** Writes with back-pressure. @returns false when the reader has gone (`| head -1`): nothing more need be written */
export async function writeStdout(chunk: Uint8Array): Promise<boolean> {
	return await new Promise<boolean>((resolve, reject) => {
		process.stdout.write(chunk, (error) => {
			if (error === null || error === undefined) resolve(true);
			else if ("code" in error && error.code === "EPIPE") resolve(false);
			else reject(error);
		});
	});
}
