import { HiveError } from "../../base/errors.ts";
import { REST_LIMITS } from "./rest-limits.ts";

/** Settles when a slice of work may be done on the main thread. */
export type Turn = () => Promise<void>;

/** Lines of an import that are parsed and checked within half a millisecond. */
const SLICE_BYTES = 32 * 1024;

/** Refusing a flood of large bodies costs four times as much when each is read to its end. */
const DISCARDED_BYTES_MAX = 64 * 1024;

export interface BodyDeadlines {
	readonly stallMs: number;
	readonly totalMs: number;
}

/**
 * A request's body, read at most once and never beyond what was allowed. Knows afterwards whether bytes are left on the
 * connection, which decides whether the connection can be used again.
 */
export class RequestBody {
	/** 0 without a body; undefined where the length is not told beforehand. */
	readonly declaredBytes: number | undefined;
	#state: "unread" | "reading" | "read" = "unread";

	constructor(
		private readonly request: Request,
		private readonly deadlines: BodyDeadlines,
	) {
		const declared = request.headers.get("content-length");
		if (declared !== null) this.declaredBytes = Number(declared);
		else this.declaredBytes = request.headers.has("transfer-encoding") ? undefined : 0;
	}

	/**
	 * Whether bytes may be left that are not worth waiting for, only to be thrown away: more than `bytesMax` or than takes
	 * longer than a new connection, of unknown number, or of a body whose reading was given up.
	 */
	leavesUnread(bytesMax: number): boolean {
		if (this.#state === "read" || this.request.body === null) return false;
		if (this.#state === "reading" || this.declaredBytes === undefined) return true;
		return this.declaredBytes > Math.min(bytesMax, DISCARDED_BYTES_MAX);
	}

	/**
	 * The whole body.
	 *
	 * @throws PAYLOAD_TOO_LARGE at once when `Content-Length` says so, else as soon as more than `bytesMax` have come;
	 *         VALIDATION_FAILED when the client goes away or stops sending.
	 */
	async readWhole(bytesMax: number): Promise<Uint8Array> {
		const declared = this.declaredBytes;
		if (declared !== undefined && declared > bytesMax) throw tooLarge(bytesMax);
		if (declared === 0 || this.request.body === null) return new Uint8Array(0);
		if (declared !== undefined && declared <= REST_LIMITS.bodyWholeReadBytesMax) {
			this.#state = "reading";
			const whole = await withDeadline(this.request.arrayBuffer(), this.deadlines.stallMs);
			this.#state = "read";
			return new Uint8Array(whole);
		}
		const chunks: Uint8Array[] = [];
		let byteCount = 0;
		const startedMs = performance.now();
		for await (const chunk of this.chunks()) {
			byteCount += chunk.length;
			if (byteCount > bytesMax) throw tooLarge(bytesMax);
			if (performance.now() - startedMs > this.deadlines.totalMs) throw stalled(this.deadlines.totalMs);
			chunks.push(chunk);
		}
		return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks, byteCount);
	}

	/**
	 * The body as it comes, read on only when asked for more, without a limit.
	 *
	 * @param turn asked before each piece is handed out, which are small then: what is done with one is one slice of work.
	 * @throws VALIDATION_FAILED when the client goes away or stops sending; what `turn` rejects with
	 */
	async *chunks(turn?: Turn): AsyncGenerator<Uint8Array, void, undefined> {
		const reader = this.request.body?.getReader();
		if (reader === undefined) return;
		this.#state = "reading";
		try {
			for (;;) {
				const { value, done } = await withDeadline(reader.read(), this.deadlines.stallMs);
				if (done) {
					this.#state = "read";
					return;
				}
				if (turn === undefined) {
					yield value;
					continue;
				}
				for (let from = 0; from < value.length; from += SLICE_BYTES) {
					await turn();
					yield value.subarray(from, from + SLICE_BYTES);
				}
			}
		} finally {
			// Tells the server not to gather what still comes. A reader of a connection that broke refuses, which is fine.
			if (this.#state === "reading") reader.cancel().catch(() => {});
		}
	}
}

const tooLarge = (bytesMax: number): HiveError =>
	new HiveError("PAYLOAD_TOO_LARGE", `the body is larger than ${bytesMax} bytes`, { max_bytes: bytesMax });

const stalled = (afterMs: number): HiveError =>
	new HiveError("VALIDATION_FAILED", `the body did not arrive within ${Math.ceil(afterMs / 1000)} seconds`);

function withDeadline<T>(work: Promise<T>, deadlineMs: number): Promise<T> {
	return new Promise((resolve, reject) => {
		const timer = setTimeout(() => reject(stalled(deadlineMs)), deadlineMs);
		work.then(
			(value) => {
				clearTimeout(timer);
				resolve(value);
			},
			(cause) => {
				clearTimeout(timer);
				reject(new HiveError("VALIDATION_FAILED", "the body broke off before its end", undefined, { cause }));
			},
		);
	});
}
