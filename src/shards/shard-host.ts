import { dirname } from "node:path";
import { HiveError, type WireError } from "../base/errors.ts";
import type { ShardConfig } from "../storage/shard-types.ts";
import { makeFolder, shardFolder } from "./data-folder.ts";
import type { NameOnlyMethod, ShardCalls, ShardMethod, ShardName, ShardRef } from "./pool-types.ts";
import type { Trash } from "./trash.ts";
import type { Gauges, ShardCall, ShardLog } from "./worker-messages.ts";

type MaybePromise<T> = T | Promise<T>;
type OpenMethod = Exclude<ShardMethod, "create" | NameOnlyMethod>;

/** A shard that is open: storage's `Shard`, as its host sees it. */
export type OpenShard = {
	[M in OpenMethod]: (...args: Parameters<ShardCalls[M]>) => MaybePromise<ReturnType<ShardCalls[M]>>;
} & {
	/** Applies what may change of a collection: `ef_search`, payload indexes, whether there are copies. */
	reconfigure(config: ShardConfig): MaybePromise<void>;
	/** Saves the snapshot and lets go of every file. */
	close(): MaybePromise<void>;
};

export interface ShardHostParts {
	readonly dataDir: string;
	readonly memoryBudgetBytes: number;
	readonly openShardsMax: number;
	/** Opens what `createShard` made; fails when there is nothing. */
	readonly openShard: (folder: string, config: ShardConfig) => Promise<OpenShard>;
	/** Makes a new shard, its parent folder being there; CONFLICT when it exists. */
	readonly createShard: (folder: string, config: ShardConfig) => Promise<OpenShard>;
	readonly trash: Trash;
	readonly log: ShardLog;
	/** Told when the gauges may have changed. */
	readonly changed: (gauges: Gauges) => void;
}

/** The writes after which a shard is asked anew what memory it takes. */
const WRITES_PER_MEASURE = 32;
const CLOSES_AT_ONCE = 8;

/** One shard's time in memory: from the call that opened it until it is closed. */
class Tenure {
	opened!: Promise<OpenShard>;
	inFlight = 1;
	memoryBytes = 0;
	/** Undefined: never asked. */
	writesSinceMeasure: number | undefined;
	/** Settles when the last change of config was applied, or with what it failed with. */
	configured: Promise<{ readonly failure: unknown } | undefined> = Promise.resolve(undefined);
	#idle: (() => void) | undefined;

	constructor(public configRevision: number) {}

	release(): void {
		this.inFlight--;
		if (this.inFlight === 0) this.#idle?.();
	}

	/** Settles when no call is in flight. To be asked once, when no further call can begin. */
	idle(): Promise<void> {
		if (this.inFlight === 0) return Promise.resolve();
		return new Promise((resolve) => {
			this.#idle = resolve;
		});
	}
}

/**
 * The shards of one worker: opens each on first use, hands calls to it, and closes the least recently used when they are
 * too many or take too much memory. A shard with a call in flight is never closed.
 */
export class ShardHost {
	readonly #parts: ShardHostParts;
	/** By shard, least recently used first. */
	readonly #tenures = new Map<string, Tenure>();
	/**
	 * Shards that are being closed or removed: until that settles, nothing may open them. Whoever waits for it looks again
	 * afterwards and acts in the same tick, or another who waited could come in between.
	 */
	readonly #endings = new Map<string, Promise<void>>();
	#memoryBytes = 0;
	#closing = false;

	constructor(parts: ShardHostParts) {
		this.#parts = parts;
	}

	/**
	 * Runs one call. Calls on one shard reach it in the order in which they came here.
	 *
	 * @throws HiveError what the shard threw; INTERNAL when its files are missing; CONFLICT when `create` finds it existing;
	 *         NODE_DRAINING after `close` began. Anything else is a defect, for `report`.
	 */
	async call(call: ShardCall): Promise<unknown> {
		switch (call.method) {
			case "create":
				return this.#create(call.ref as ShardRef);
			case "drop":
				return this.#drop(call.ref);
			case "close":
				return this.#close(call.ref);
			default:
				return this.#run(call.ref as ShardRef, call);
		}
	}

	/** What a caller may know of an error; what it may not goes to the log. */
	report(call: ShardCall, error: unknown): WireError {
		const known = error instanceof HiveError;
		if (!known || error.code === "INTERNAL") {
			const { tenantId, collectionId, shardIndex } = call.ref;
			const cause = known && error.cause !== undefined ? error.cause : error;
			this.#parts.log("error", "a call on a shard failed", {
				tenant_id: tenantId,
				collection_id: collectionId,
				shard: shardIndex,
				method: call.method,
				error: cause,
			});
		}
		return known ? error.toWire() : { code: "INTERNAL", message: "the shard failed; the log has the cause" };
	}

	gauges(): Gauges {
		return { openShards: this.#tenures.size, memoryBytes: this.#memoryBytes };
	}

	/** Refuses further calls, waits for those in flight and closes every shard. Failures are logged. */
	async close(): Promise<void> {
		this.#closing = true;
		const keys = [...this.#tenures.keys()].filter((key) => !this.#endings.has(key));
		const closeNext = async (): Promise<void> => {
			for (let key = keys.pop(); key !== undefined; key = keys.pop()) await this.#end(key);
		};
		await Promise.all(Array.from({ length: CLOSES_AT_ONCE }, closeNext));
		await Promise.all(this.#endings.values());
	}

	async #run(ref: ShardRef, call: ShardCall): Promise<unknown> {
		const tenure = await this.#claim(ref);
		try {
			const shard = await tenure.opened;
			const isNews = ref.configRevision > tenure.configRevision;
			if (isNews) this.#reconfigure(tenure, shard, ref);
			// All wait for the same promise, so that they go on in the order in which they came.
			const unconfigured = await tenure.configured;
			if (isNews && unconfigured !== undefined) throw unconfigured.failure;
			const result = await invoke(shard, call);
			this.#measureWhenDue(tenure, shard, call.method);
			return result;
		} finally {
			this.#release(tenure);
		}
	}

	/** The shard's tenure, begun when there is none, with the call counted as in flight. */
	async #claim(ref: ShardRef): Promise<Tenure> {
		const key = keyOf(ref);
		while (this.#endings.has(key)) await this.#endings.get(key);
		this.#refuseWhenClosing();
		const tenure = this.#tenures.get(key);
		if (tenure === undefined) return this.#begin(key, ref, (folder) => this.#parts.openShard(folder, ref.config));
		this.#tenures.delete(key);
		this.#tenures.set(key, tenure);
		tenure.inFlight++;
		return tenure;
	}

	#refuseWhenClosing(): void {
		if (this.#closing) throw new HiveError("NODE_DRAINING", "the node is stopping");
	}

	#begin(key: string, ref: ShardRef, start: (folder: string) => Promise<OpenShard>): Tenure {
		const folder = shardFolder(this.#parts.dataDir, ref);
		const tenure = new Tenure(ref.configRevision);
		this.#tenures.set(key, tenure);
		this.#parts.changed(this.gauges());
		tenure.opened = this.#makeRoom().then(() => start(folder));
		// Only forgets: each waiting call gets the error itself.
		tenure.opened.catch(() => this.#tenures.delete(key));
		return tenure;
	}

	async #create(ref: ShardRef): Promise<void> {
		const key = keyOf(ref);
		while (this.#endings.has(key)) await this.#endings.get(key);
		this.#refuseWhenClosing();
		if (this.#tenures.has(key)) throw new HiveError("CONFLICT", "the shard exists already");
		const tenure = this.#begin(key, ref, async (folder) => {
			await makeFolder(dirname(folder));
			return this.#parts.createShard(folder, ref.config);
		});
		try {
			await tenure.opened;
		} finally {
			this.#release(tenure);
		}
	}

	async #drop(name: ShardName): Promise<void> {
		const folder = shardFolder(this.#parts.dataDir, name);
		const key = keyOf(name);
		while (this.#endings.has(key)) await this.#endings.get(key);
		this.#refuseWhenClosing();
		await this.#end(key, () => this.#parts.trash.discard(folder));
	}

	async #close(name: ShardName): Promise<void> {
		const key = keyOf(name);
		while (this.#endings.has(key)) await this.#endings.get(key);
		this.#refuseWhenClosing();
		await this.#end(key);
	}

	/**
	 * Waits for the calls in flight, closes the shard and does what is left to do while nobody can open it. Not to be called
	 * while the shard is ending already.
	 *
	 * @throws what `then` throws. A failure to close is logged: there is nothing a caller could do about it.
	 */
	async #end(key: string, then?: () => Promise<void>): Promise<void> {
		const tenure = this.#tenures.get(key);
		const work = (async () => {
			await tenure?.idle();
			if (tenure !== undefined) await this.#letGo(tenure);
			this.#tenures.delete(key);
			this.#parts.changed(this.gauges());
			await then?.();
		})();
		const ending = work.catch(() => {}).finally(() => this.#endings.delete(key));
		this.#endings.set(key, ending);
		await work;
	}

	async #letGo(tenure: Tenure): Promise<void> {
		try {
			const shard = await tenure.opened.catch(() => undefined);
			await shard?.close();
		} catch (error) {
			this.#parts.log("error", "closing a shard failed", { error });
		}
		this.#account(tenure, 0);
	}

	#reconfigure(tenure: Tenure, shard: OpenShard, ref: ShardRef): void {
		const revisionBefore = tenure.configRevision;
		tenure.configRevision = ref.configRevision;
		const configuredBefore = tenure.configured;
		tenure.configured = (async () => {
			await configuredBefore;
			try {
				await shard.reconfigure(ref.config);
				return undefined;
			} catch (failure) {
				// The next call that knows of the change tries again.
				tenure.configRevision = Math.min(revisionBefore, tenure.configRevision);
				return { failure };
			}
		})();
	}

	#release(tenure: Tenure): void {
		tenure.release();
		this.#shrink();
	}

	/**
	 * Keeps the account of memory: a shard is asked after its first call and some writes, since asking is not free. It counts as
	 * a call in flight, but the caller need not wait for it.
	 */
	#measureWhenDue(tenure: Tenure, shard: OpenShard, method: ShardMethod): void {
		if (tenure.writesSinceMeasure !== undefined) {
			if (!WRITES.has(method)) return;
			tenure.writesSinceMeasure++;
			if (tenure.writesSinceMeasure < WRITES_PER_MEASURE) return;
		}
		tenure.writesSinceMeasure = 0;
		tenure.inFlight++;
		void this.#measure(tenure, shard);
	}

	async #measure(tenure: Tenure, shard: OpenShard): Promise<void> {
		try {
			this.#account(tenure, (await shard.stats()).memoryBytes);
			this.#parts.changed(this.gauges());
		} catch (error) {
			this.#parts.log("warn", "a shard did not tell its size", { error });
		} finally {
			this.#release(tenure);
		}
	}

	#account(tenure: Tenure, memoryBytes: number): void {
		this.#memoryBytes += memoryBytes - tenure.memoryBytes;
		tenure.memoryBytes = memoryBytes;
	}

	/** Closes idle shards until they are few enough. Where none is idle there are more for a while: calls in flight are few. */
	async #makeRoom(): Promise<void> {
		while (this.#tenures.size > this.#parts.openShardsMax) {
			const [victim] = this.#idleKeys();
			if (victim === undefined) return;
			await this.#end(victim);
		}
	}

	/** Closes idle shards while together they take more memory than they may; the one used last stays. */
	#shrink(): void {
		let excessBytes = this.#memoryBytes - this.#parts.memoryBudgetBytes;
		if (excessBytes <= 0) return;
		for (const key of this.#endings.keys()) excessBytes -= this.#tenures.get(key)?.memoryBytes ?? 0;
		const lastUsed = [...this.#tenures.keys()].at(-1);
		for (const key of this.#idleKeys()) {
			if (excessBytes <= 0 || key === lastUsed) return;
			excessBytes -= this.#tenures.get(key)!.memoryBytes;
			void this.#end(key);
		}
	}

	/** Shards that nothing uses, least recently used first. */
	*#idleKeys(): Generator<string> {
		for (const [key, tenure] of this.#tenures) {
			if (tenure.inFlight === 0 && !this.#endings.has(key)) yield key;
		}
	}
}

const WRITES: ReadonlySet<ShardMethod> = new Set<ShardMethod>(["upsert", "update", "delete", "merge"]);

const keyOf = (name: ShardName): string => `${name.tenantId}/${name.collectionId}/${name.shardIndex}`;

function invoke(shard: OpenShard, call: ShardCall): unknown {
	const method = shard[call.method as OpenMethod] as (...args: readonly unknown[]) => unknown;
	return method.apply(shard, call.args as unknown[]);
}
