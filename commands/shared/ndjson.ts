/**
 * The objects of an NDJSON stream, one at a time.
 *
 * @throws SyntaxError when a line is no JSON, and what the stream throws when it breaks
 */
export async function* readNdjson(stream: ReadableStream<Uint8Array>): AsyncGenerator<Record<string, unknown>> {
	const decoder = new TextDecoder();
	let rest = "";
	for await (const chunk of stream) {
		rest += decoder.decode(chunk, { stream: true });
		const lines = rest.split("\n");
		rest = lines.pop()!;
		for (const line of lines) if (line.trim() !== "") yield JSON.parse(line);
	}
	rest += decoder.decode();
	if (rest.trim() !== "") yield JSON.parse(rest);
}
