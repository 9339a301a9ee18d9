import type { RequestId } from "@modelcontextprotocol/server";
import { HiveError } from "../../base/errors.ts";
import type { Visit } from "../../operations/pipeline-types.ts";
import { labelOf, type McpMessage } from "./mcp-message.ts";

/** Where the messages of one caller are worked on: who it is, and what is still under way. */
export class McpDesk {
	readonly #running = new Map<RequestId, Promise<unknown>>();
	#finishedCount = 0;
	#watchers: { readonly count: number; readonly resolve: () => void }[] = [];

	constructor(
		readonly visit: Visit,
		/** Of the HTTP request, or the handshake: errors and the log name it. */
		readonly requestId: string,
	) {}

	/**
	 * Pays for a message, unless it will run an operation, which pays for itself.
	 *
	 * @returns what it is refused with
	 */
	async charge(message: McpMessage, runsOperation: boolean): Promise<HiveError | undefined> {
		if (runsOperation) return undefined;
		const answer = await this.visit.charge(labelOf(message));
		if (!answer.ok) return answer.error;
		// The SDK would keep a stream open on which nothing ever comes.
		return message.method === "subscriptions/listen"
			? new HiveError("NOT_FOUND", "nothing here tells of changes: there is nothing to subscribe to")
			: undefined;
	}

	/** Work that a message asked for, which may outlast its answer. */
	async track<T>(id: RequestId, work: Promise<T>): Promise<T> {
		const settled = work.then(
			() => {},
			() => {},
		);
		this.#running.set(id, settled);
		try {
			return await work;
		} finally {
			if (this.#running.get(id) === settled) this.#running.delete(id);
			this.#finishedCount++;
			this.#watchers = this.#watchers.filter(({ count, resolve }) => {
				if (this.#finishedCount < count) return true;
				resolve();
				return false;
			});
		}
	}

	/** Settles when what this message asked for is done, or at once when nothing is under way. */
	async idle(id: RequestId): Promise<void> {
		await this.#running.get(id);
	}

	/** Settles when so many pieces of work are done. */
	finished(count: number): Promise<void> {
		if (this.#finishedCount >= count) return Promise.resolve();
		return new Promise((resolve) => {
			this.#watchers.push({ count, resolve });
		});
	}
}
