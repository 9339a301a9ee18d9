import { connect, type Socket } from "node:net";

/** A request as it goes over the wire. Characters of `method`, `target` and headers are bytes (latin-1): see `asBytes`. */
export interface RawRequest {
	readonly method: string;
	/** Path and query as sent: nothing is resolved or encoded. */
	readonly target: string;
	readonly headers: readonly (readonly [name: string, value: string])[];
	readonly body?: Uint8Array;
	/** What `Content-Length` says instead of the truth; the connection is then broken off after the body. */
	readonly declaredBytes?: number;
}

export interface RawAnswer {
	readonly status: number;
	/** Names in lower case, in the order they came. */
	readonly headers: readonly (readonly [name: string, value: string])[];
	readonly body: Buffer;
}

/** The server closed the connection instead of answering, or answered something that is not HTTP. */
export class NoAnswer extends Error {
	override readonly name = "NoAnswer";
}

/** The server neither answered nor closed the connection in time. */
export class Hang extends Error {
	override readonly name = "Hang";
}

/** Text as the latin-1 characters of its UTF-8 bytes. */
export const asBytes = (text: string): string => Buffer.from(text).toString("latin1");

export function headerOf(answer: RawAnswer, name: string): string | undefined {
	return answer.headers.find(([each]) => each === name)?.[1];
}

/** The head of a request, and its body. */
export function encodeRequest(request: RawRequest, host: string): Buffer {
	const given = new Set(request.headers.map(([name]) => name.toLowerCase()));
	let head = `${request.method} ${request.target} HTTP/1.1\r\n`;
	if (!given.has("host")) head += `host: ${host}\r\n`;
	for (const [name, value] of request.headers) head += `${name}: ${value}\r\n`;
	const isFramed = given.has("content-length") || given.has("transfer-encoding");
	if (request.body !== undefined && !isFramed) {
		head += `content-length: ${request.declaredBytes ?? request.body.length}\r\n`;
	}
	return Buffer.concat([Buffer.from(`${head}\r\n`, "latin1"), request.body ?? new Uint8Array(0)]);
}

/**
 * HTTP/1.1 over one kept connection, one request at a time, each byte as the caller wants it: `fetch` would tidy up the very
 * paths and headers that attacks are made of.
 */
export class RawClient {
	#socket: Socket | undefined;
	#isReused = false;

	constructor(
		private readonly host: string,
		private readonly port: number,
	) {}

	/** @throws NoAnswer, Hang */
	async send(request: RawRequest, deadlineMs = 20_000): Promise<RawAnswer> {
		const bytes = encodeRequest(request, `${this.host}:${this.port}`);
		const mayRetry = this.#isReused && this.#socket !== undefined && request.declaredBytes === undefined;
		const reader = new AnswerReader(request.method === "HEAD");
		try {
			return await this.#exchange(request, bytes, reader, deadlineMs);
		} catch (error) {
			// A kept connection may be closed while a request is on its way to it.
			if (!(error instanceof NoAnswer) || !mayRetry || reader.byteCount > 0) throw error;
			return this.#exchange(request, bytes, new AnswerReader(request.method === "HEAD"), deadlineMs);
		}
	}

	close(): void {
		this.#socket?.destroy();
		this.#socket = undefined;
	}

	#exchange(request: RawRequest, bytes: Buffer, reader: AnswerReader, deadlineMs: number): Promise<RawAnswer> {
		const socket = this.#connected();
		// Where the server may see the request's end elsewhere than we do, the next one would be read as the rest of it.
		const isLast =
			request.method === "CONNECT" ||
			request.declaredBytes !== undefined ||
			request.headers.some(([name]) => OWN_FRAMING.test(name));
		return new Promise((resolve, reject) => {
			const finish = (isKept: boolean): void => {
				clearTimeout(timer);
				socket.removeAllListeners("data").removeAllListeners("close");
				this.#isReused = isKept;
				if (!isKept) this.close();
			};
			const timer = setTimeout(() => {
				finish(false);
				reject(new Hang(`no answer within ${deadlineMs} ms`));
			}, deadlineMs);
			socket.on("data", (chunk: Buffer) => {
				try {
					const answer = reader.add(chunk);
					if (answer === undefined) return;
					finish(!isLast && headerOf(answer, "connection")?.toLowerCase() !== "close");
					resolve(answer);
				} catch (error) {
					finish(false);
					reject(error);
				}
			});
			socket.on("close", () => {
				finish(false);
				const answer = reader.end();
				if (answer === undefined) reject(new NoAnswer("the connection was closed without an answer"));
				else resolve(answer);
			});
			// Half-closed it would only be waited for: who breaks off in the midst of a request is gone.
			if (request.declaredBytes !== undefined) socket.write(bytes, () => socket.destroy());
			else socket.write(bytes);
		});
	}

	#connected(): Socket {
		if (this.#socket === undefined || this.#socket.destroyed) {
			this.#socket = connect({ host: this.host, port: this.port, noDelay: true });
			// "close" follows and tells the exchange.
			this.#socket.on("error", () => {});
			this.#isReused = false;
		}
		return this.#socket;
	}
}

const OWN_FRAMING = /^(?:content-length|transfer-encoding|connection|upgrade|expect|host)$|[^\w-]/i;
const HEAD_END = Buffer.from("\r\n\r\n");
const LINE_END = Buffer.from("\r\n");

/** @throws NoAnswer for what is not HTTP */
export function readHead(text: string): Pick<RawAnswer, "status" | "headers"> {
	const [statusLine = "", ...lines] = text.split("\r\n");
	const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(statusLine)?.[1] ?? Number.NaN);
	if (Number.isNaN(status)) throw new NoAnswer(`not an HTTP answer: ${JSON.stringify(statusLine.slice(0, 100))}`);
	const headers = lines.map((line): readonly [string, string] => {
		const colon = line.indexOf(":");
		return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()];
	});
	return { status, headers };
}

/** Puts one answer together from what arrives. */
class AnswerReader {
	byteCount = 0;
	#pending: Buffer[] = [];
	#head: Pick<RawAnswer, "status" | "headers"> | undefined;
	#bodyBytes: number | "chunked" | "until-close" = 0;

	constructor(private readonly isHead: boolean) {}

	/** @returns the answer once it is whole */
	add(chunk: Buffer): RawAnswer | undefined {
		this.byteCount += chunk.length;
		this.#pending.push(chunk);
		while (this.#head === undefined) {
			const bytes = this.#joined();
			const end = bytes.indexOf(HEAD_END);
			if (end < 0) return undefined;
			this.#pending = [bytes.subarray(end + HEAD_END.length)];
			this.#readHead(bytes.subarray(0, end).toString("latin1"));
		}
		return this.#whole();
	}

	/** The connection is closed: an answer without a length ends here. */
	end(): RawAnswer | undefined {
		if (this.#head === undefined || this.#bodyBytes !== "until-close") return undefined;
		return { ...this.#head, body: this.#joined() };
	}

	#readHead(text: string): void {
		const { status, headers } = readHead(text);
		if (status >= 100 && status < 200) return;
		this.#head = { status, headers };
		const value = (name: string): string | undefined => headers.find(([each]) => each === name)?.[1];
		const length = value("content-length");
		if (this.isHead || status === 204 || status === 304) this.#bodyBytes = 0;
		else if (value("transfer-encoding")?.toLowerCase() === "chunked") this.#bodyBytes = "chunked";
		else this.#bodyBytes = length === undefined ? "until-close" : Number(length);
	}

	#whole(): RawAnswer | undefined {
		const head = this.#head!;
		if (this.#bodyBytes === "until-close") return undefined;
		if (this.#bodyBytes === "chunked") {
			const body = unchunk(this.#joined());
			return body === undefined ? undefined : { ...head, body };
		}
		let have = 0;
		for (const part of this.#pending) have += part.length;
		return have < this.#bodyBytes ? undefined : { ...head, body: this.#joined().subarray(0, this.#bodyBytes) };
	}

	#joined(): Buffer {
		if (this.#pending.length !== 1) this.#pending = [Buffer.concat(this.#pending)];
		return this.#pending[0]!;
	}
}

/** @returns undefined while the last chunk is missing */
function unchunk(bytes: Buffer): Buffer | undefined {
	const parts: Buffer[] = [];
	let at = 0;
	for (;;) {
		const lineEnd = bytes.indexOf(LINE_END, at);
		if (lineEnd < 0) return undefined;
		const size = Number.parseInt(bytes.subarray(at, lineEnd).toString("latin1"), 16);
		if (Number.isNaN(size)) throw new NoAnswer("a chunk without a size");
		const start = lineEnd + LINE_END.length;
		if (bytes.length < start + size + LINE_END.length) return undefined;
		if (size === 0) return Buffer.concat(parts);
		parts.push(bytes.subarray(start, start + size));
		at = start + size + LINE_END.length;
	}
}
