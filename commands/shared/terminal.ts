/** What a stream can show. A bar or a colour in a file or a pipe is noise. */
export interface Terminal {
	readonly isTty: boolean;
	readonly color: boolean;
	readonly columns: number;
}

export function terminalOf(
	stream: { readonly isTTY?: boolean; readonly columns?: number },
	environment: Readonly<Record<string, string | undefined>>,
): Terminal {
	const isTty = stream.isTTY === true;
	const plain = (environment.NO_COLOR ?? "") !== "" || environment.TERM === "dumb";
	return { isTty, color: isTty && !plain, columns: stream.columns ?? 100 };
}

/** Text from elsewhere (ids, payloads, names) may hold escape sequences that would move the cursor or recolour the screen. */
export function printable(text: string): string {
	// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
	return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, "·");
}
