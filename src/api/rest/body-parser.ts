import { HiveError } from "../../base/errors.ts";
import type { Log } from "../../observe/log.ts";
import { parseBody, type WireFormat } from "./body-format.ts";
import type { FromBodyThread } from "./body-messages.ts";
import { unpackVectors } from "./body-packing.ts";
import type { BodyThread, StartBodyThread } from "./body-thread.ts";

interface Pending {
	resolve(fields: Record<string, unknown>): void;
	reject(error: HiveError): void;
}

export interface BodyParserParts {
	/** Bodies from here on are parsed off the main thread: below, the way there costs more than the parsing. */
	readonly offThreadBytesMin: number;
	/** Bodies under way to the thread and back. */
	readonly pendingMax: number;
	readonly start: StartBodyThread;
	readonly log: Pick<Log, "error">;
}

/** Parses bodies: small ones on the spot, large ones in a thread that is started by the first of them. */
export class BodyParser {
	readonly #parts: BodyParserParts;
	readonly #pending = new Map<number, Pending>();
	#thread: BodyThread | undefined;
	#nextId = 0;
	#isClosed = false;

	constructor(parts: BodyParserParts) {
		this.#parts = parts;
	}

	/**
	 * The fields of a body. An empty body has none. In large ones, vectors come as Float32Array where they are sound.
	 *
	 * @param bytes not to be used afterwards: large ones are moved away.
	 * @throws VALIDATION_FAILED when it can't be parsed, is nested too deep, or is not an object; OVERLOADED when too many are
	 *         under way; INTERNAL when the thread ended.
	 */
	parse(bytes: Uint8Array, format: WireFormat): Record<string, unknown> | Promise<Record<string, unknown>> {
		if (bytes.length < this.#parts.offThreadBytesMin) return parseBody(bytes, format);
		if (this.#isClosed) throw new HiveError("NODE_DRAINING", "the node is stopping");
		if (this.#pending.size >= this.#parts.pendingMax) {
			throw new HiveError("OVERLOADED", "too many large bodies are under way; retry in a moment", {
				retry_after_seconds: 1,
			});
		}
		return new Promise((resolve, reject) => {
			const id = this.#nextId++;
			const own = ownBuffer(bytes);
			this.#thread ??= this.#start();
			this.#pending.set(id, { resolve, reject });
			this.#thread.post({ id, bytes: own, format }, [own.buffer]);
		});
	}

	/** Ends the thread. What is still under way fails. Idempotent. */
	close(): void {
		this.#isClosed = true;
		const thread = this.#thread;
		this.#thread = undefined;
		thread?.terminate();
		this.#failPending();
	}

	#start(): BodyThread {
		const thread = this.#parts.start({
			message: (message) => this.#receive(message),
			ended: (cause) => {
				if (this.#thread !== thread) return;
				this.#thread = undefined;
				this.#parts.log.error({ err: cause, bodies_lost: this.#pending.size }, "the thread that parses bodies stopped");
				this.#failPending();
			},
		});
		return thread;
	}

	#receive(message: FromBodyThread): void {
		const pending = this.#pending.get(message.id);
		if (pending === undefined) return;
		this.#pending.delete(message.id);
		if ("error" in message) pending.reject(HiveError.fromWire(message.error));
		else pending.resolve(unpackVectors(message.body));
	}

	#failPending(): void {
		for (const { reject } of this.#pending.values()) {
			reject(new HiveError("INTERNAL", "the body could not be parsed; nothing was done. Retry"));
		}
		this.#pending.clear();
	}
}

/** A view into a larger buffer would take what else is in it along. */
function ownBuffer(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
	const isWhole = bytes.buffer instanceof ArrayBuffer && bytes.byteLength === bytes.buffer.byteLength;
	return isWhole ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes);
}
