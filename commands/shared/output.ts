/** Settles when what was written to stdout has left, or its reader has. */
export async function flushStdout(): Promise<void> {
	await new Promise<void>((resolve) => {
		process.stdout.write("", () => resolve());
	});
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
