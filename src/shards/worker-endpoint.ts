import { systemRandom } from "../base/ids.ts";
import { ShardHost, type ShardHostParts } from "./shard-host.ts";
import { Trash } from "./trash.ts";
import { incoming } from "./vector-transfer.ts";
import type { FromWorker, Gauges, ShardCall, ShardLog, ToWorker, WorkerSettings } from "./worker-messages.ts";

/** Opens and makes shards as the settings say. */
export type StorageOpener = (
	settings: WorkerSettings,
	log: ShardLog,
) => Pick<ShardHostParts, "openShard" | "createShard">;

/** The worker's end of the conversation with the pool: turns messages into calls of a `ShardHost` and answers them. */
export class WorkerEndpoint {
	readonly #storage: StorageOpener;
	readonly #post: (message: FromWorker, transfer: ArrayBuffer[]) => void;
	#host: ShardHost | undefined;
	#told: Gauges = { openShards: 0, memoryBytes: 0 };

	/** @param post sends a message, along with buffers that move. */
	constructor(storage: StorageOpener, post: (message: FromWorker, transfer: ArrayBuffer[]) => void) {
		this.#storage = storage;
		this.#post = post;
	}

	/** Settles when the message is answered. Never throws but for a message that may not come now. */
	async receive(message: ToWorker): Promise<void> {
		if (message.type === "init") {
			this.#host = this.#begin(message.settings);
			this.#post({ type: "ready" }, []);
			return;
		}
		if (this.#host === undefined) throw new Error("a call came before the settings");
		if (message.type === "call") {
			await this.#answer(this.#host, message.callId, message.call);
			return;
		}
		await this.#host.close();
		this.#post({ type: "closed" }, []);
	}

	#begin(settings: WorkerSettings): ShardHost {
		const log: ShardLog = (level, message, facts) =>
			this.#post({ type: "log", level, message, facts: plainFacts(facts) }, []);
		return new ShardHost({
			dataDir: settings.dataDir,
			memoryBudgetBytes: settings.memoryBudgetBytes,
			openShardsMax: settings.openShardsMax,
			...this.#storage(settings, log),
			trash: new Trash(settings.dataDir, systemRandom),
			log,
			changed: (gauges) => this.#tellGauges(gauges),
		});
	}

	async #answer(host: ShardHost, callId: number, call: ShardCall): Promise<void> {
		try {
			const { value, transfer } = incoming(call.method, await host.call(call));
			this.#post({ type: "result", callId, value }, transfer);
		} catch (error) {
			this.#post({ type: "failure", callId, error: host.report(call, error) }, []);
		}
	}

	#tellGauges(gauges: Gauges): void {
		if (gauges.openShards === this.#told.openShards && gauges.memoryBytes === this.#told.memoryBytes) return;
		this.#told = gauges;
		this.#post({ type: "gauges", gauges }, []);
	}
}

/** Facts as they may cross: an error as its stack, with those of what caused it. */
function plainFacts(facts: Readonly<Record<string, unknown>>): Record<string, unknown> {
	return Object.fromEntries(
		Object.entries(facts).map(([name, value]) => [name, value instanceof Error ? stackOf(value) : value]),
	);
}

function stackOf(error: Error): string {
	const own = error.stack ?? `${error.name}: ${error.message}`;
	return error.cause instanceof Error ? `${own}\ncaused by ${stackOf(error.cause)}` : own;
}
