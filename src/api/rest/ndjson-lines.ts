/** One line of an NDJSON body: its text, or why it could not be read. Lines count from 1; empty ones count but don't appear. */
export type ImportLine =
	| { readonly line: number; readonly text: string }
	| { readonly line: number; readonly error: string };

const NEWLINE = 0x0a;
const RETURN = 0x0d;

/**
 * Splits bytes into lines, reading on only when the next line is asked for. Holds one line and one chunk at most.
 *
 * A line longer than `lineBytesMax`, or not UTF-8, comes out as an error and is skipped; the next one is fine again.
 */
export async function* splitLines(
	chunks: AsyncIterable<Uint8Array>,
	lineBytesMax: number,
): AsyncGenerator<ImportLine, void, undefined> {
	const decoder = new TextDecoder("utf-8", { fatal: true });
	let line = 0;
	let held: Uint8Array[] = [];
	let heldBytes = 0;
	let isTooLong = false;

	const keep = (part: Uint8Array): void => {
		if (isTooLong || part.length === 0) return;
		heldBytes += part.length;
		// One byte more may be the carriage return.
		isTooLong = heldBytes > lineBytesMax + 1;
		if (isTooLong) held = [];
		else held.push(part);
	};
	const take = (): ImportLine | undefined => {
		line++;
		let bytes = held.length === 1 ? held[0]! : Buffer.concat(held);
		const wasTooLong = isTooLong;
		held = [];
		heldBytes = 0;
		isTooLong = false;
		if (bytes[bytes.length - 1] === RETURN) bytes = bytes.subarray(0, -1);
		if (wasTooLong || bytes.length > lineBytesMax)
			return { line, error: `the line is longer than ${lineBytesMax} bytes` };
		if (bytes.length === 0) return undefined;
		try {
			const text = decoder.decode(bytes);
			return text.trim() === "" ? undefined : { line, text };
		} catch {
			return { line, error: "the line is not valid UTF-8" };
		}
	};

	for await (const chunk of chunks) {
		let from = 0;
		for (let end = chunk.indexOf(NEWLINE); end >= 0; end = chunk.indexOf(NEWLINE, from)) {
			keep(chunk.subarray(from, end));
			from = end + 1;
			const next = take();
			if (next !== undefined) yield next;
		}
		keep(chunk.subarray(from));
	}
	if (heldBytes > 0) {
		const last = take();
		if (last !== undefined) yield last;
	}
}
