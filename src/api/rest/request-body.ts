import { HiveError } from "../../base/errors.ts";
import { REST_LIMITS } from "./rest-limits.ts";

export interface BodyDeadlines {
	readonly stallMs: number;
	readonly totalMs: number;
}

/**
 * A request's body, read at most once and never beyond what was allowed. Knows afterwards whether bytes are left on the
 * connection, which decides whether the connection can be used again.
 */
export class RequestBody {
	#state: "unread" | "reading" | "read" = "unread";
	readonly #declaredBytes: number | undefined;

	constructor(
		private readonly request: Request,
		private readonly deadlines: BodyDeadlines,
	) {
		const declared = request.headers.get("content-length");
		this.#declaredBytes = declared === null ? undefined : Number(declared);
	}

	/**
	 * Whether bytes may be left that are not worth waiting for, only to be thrown away: more than `bytesMax`, of unknown
	 * number, or of a body whose reading was given up.
	 */
	leavesUnread(bytesMax: number): boolean {
		if (this.#state === "read" || this.request.body === null) return false;
		return this.#state === "reading" || this.#declaredBytes === undefined || this.#declaredBytes > bytesMax;
	}

	/**
	 * The whole body.
	 *
	 * @throws PAYLOAD_TOO_LARGE at once when `Content-Length` says so, else as soon as more than `bytesMax` have come;
	 *         VALIDATION_FAILED when the client goes away or stops sending.
	 */
	async readWhole(bytesMax: number): Promise<Uint8Array> {
		const declared = this.#declaredBytes;
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
	 * @throws VALIDATION_FAILED when the client goes away or stops sending
	 */
	async *chunks(): AsyncGenerator<Uint8Array, void, undefined> {
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
				yield value;
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
