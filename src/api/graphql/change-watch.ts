import { HiveError } from "../../base/errors.ts";
import type { TenantId } from "../../base/ids.ts";
import type { SubscriptionSource } from "./field-types.ts";
import type { MessageRun } from "./message-run.ts";

/**
 * Tells whether something of a tenant may have changed: a text that differs then. Nothing of it is ever answered; what is, the
 * operations say.
 */
export type TenantMark = (tenantId: TenantId) => Promise<string>;

export interface ChangeWatchParts {
	readonly mark: TenantMark;
	/** Settles when it is time to look again. */
	readonly nextLook: (signal: AbortSignal) => Promise<void>;
}

interface CollectionState {
	readonly name: string;
}

/** Looks about once a second whether there is something to tell, and runs an operation only then. */
export class ChangeWatch implements SubscriptionSource {
	readonly #parts: ChangeWatchParts;

	constructor(parts: ChangeWatchParts) {
		this.#parts = parts;
	}

	usage(run: MessageRun): AsyncIterableIterator<unknown> {
		return stoppable(run.signal, (signal) => this.#usages(run, signal));
	}

	collections(run: MessageRun, name: string | undefined): AsyncIterableIterator<unknown> {
		return stoppable(run.signal, (signal) => this.#collectionChanges(run, name, signal));
	}

	async *#usages(run: MessageRun, signal: AbortSignal): AsyncGenerator<unknown> {
		let isFirst = true;
		for await (const _ of this.#occasions(run, signal)) {
			const look = (): Promise<unknown> => run.execute("usage.own", {});
			yield isFirst ? await look() : await this.#patiently(look, signal);
			isFirst = false;
		}
	}

	async *#collectionChanges(run: MessageRun, name: string | undefined, signal: AbortSignal): AsyncGenerator<unknown> {
		let known: ReadonlyMap<string, CollectionState> | undefined;
		for await (const _ of this.#occasions(run, signal)) {
			const look = () => collectionsNow(run, name);
			const present: ReadonlyMap<string, CollectionState> =
				known === undefined ? await look() : await this.#patiently(look, signal);
			if (known !== undefined) yield* changesBetween(known, present);
			known = present;
		}
	}

	/** Who is asked to come again later does: what changed is told late rather than never. @throws HiveError */
	async #patiently<T>(look: () => Promise<T>, signal: AbortSignal): Promise<T> {
		for (;;) {
			try {
				return await look();
			} catch (error) {
				const seconds = error instanceof HiveError ? error.details?.retry_after_seconds : undefined;
				if (typeof seconds !== "number" || signal.aborted) throw error;
				for (let waited = 0; waited < seconds && !signal.aborted; waited++) await this.#parts.nextLook(signal);
			}
		}
	}

	/** At once, and whenever something may have changed since the last one was taken. Looks at who asks as of then. */
	async *#occasions(run: MessageRun, signal: AbortSignal): AsyncGenerator<void> {
		let seen: string | undefined;
		while (!signal.aborted) {
			const mark = await this.#parts.mark(run.visit.caller.tenant.id);
			if (mark !== seen) {
				seen = mark;
				yield;
			}
			if (!signal.aborted) await this.#parts.nextLook(signal);
		}
	}
}

/** @throws HiveError */
async function collectionsNow(
	run: MessageRun,
	name: string | undefined,
): Promise<ReadonlyMap<string, CollectionState>> {
	if (name === undefined) {
		const { collections } = (await run.execute("collections.list", {})) as { readonly collections: CollectionState[] };
		return new Map(collections.map((collection) => [collection.name, collection]));
	}
	try {
		return new Map([[name, (await run.execute("collections.get", { collection: name })) as CollectionState]]);
	} catch (error) {
		if (error instanceof HiveError && error.code === "COLLECTION_NOT_FOUND") return new Map();
		throw error;
	}
}

function* changesBetween(
	before: ReadonlyMap<string, CollectionState>,
	now: ReadonlyMap<string, CollectionState>,
): Generator<unknown> {
	for (const [name, collection] of now) {
		const known = before.get(name);
		if (known === undefined) yield { change: "CREATED", name, collection };
		else if (!Bun.deepEquals(known, collection)) yield { change: "UPDATED", name, collection };
	}
	for (const name of before.keys()) if (!now.has(name)) yield { change: "DELETED", name, collection: null };
}

/** An iterator that can be ended while it waits: a generator alone would answer only after its wait. */
function stoppable<T>(outer: AbortSignal, start: (signal: AbortSignal) => AsyncGenerator<T>): AsyncIterableIterator<T> {
	const end = new AbortController();
	const source = start(AbortSignal.any([outer, end.signal]));
	return {
		next: () => source.next(),
		return: async () => {
			end.abort();
			return await source.return(undefined);
		},
		[Symbol.asyncIterator]() {
			return this;
		},
	};
}
