import DataLoader from "dataloader";
import { HiveError } from "../../base/errors.ts";
import type { VectorId } from "../../base/ids.ts";
import type { Visit } from "../../operations/pipeline-types.ts";
import { vectorNotFound } from "../../operations/vectors.ts";
import { GRAPHQL_LIMITS } from "./graphql-limits.ts";

export type Input = Readonly<Record<string, unknown>>;

/** What serves several wishes at once. */
export const BATCH_OPERATIONS = { vectors: "vectors.get_many", searches: "search.batch" } as const;

/** What metrics call a message that asks for no operation. */
const INTROSPECTION = "graphql.introspect";

/** One field's wish for a vector or a search, as the operation for one takes it. */
interface Wish {
	readonly input: Input;
	readonly operation: string;
}

interface ManyVectors {
	readonly vectors: readonly { readonly id: VectorId }[];
}

interface ManySearches {
	readonly results: readonly unknown[];
	readonly plans?: readonly unknown[];
	readonly took_ms: number;
}

/**
 * One GraphQL message at work. Each of its fields that runs an operation goes through the visit, and is charged there like one
 * REST call; wishes that one operation can fulfil together are fulfilled at once, and charged one call each all the same.
 */
export class MessageRun {
	readonly visit: Visit;
	readonly signal: AbortSignal;
	#isPaid = false;
	readonly #vectors: DataLoader<Wish, unknown>;
	readonly #searches: DataLoader<Wish, unknown>;
	readonly #waiting: (() => void)[] = [];
	#runningCount = 0;
	readonly #requireStay: (() => Promise<void>) | undefined;

	/**
	 * @param signal      aborted when the client goes away, or the message is given up
	 * @param requireStay asked before each operation, where the message is of a connection: whether its caller may still be here
	 */
	constructor(visit: Visit, signal: AbortSignal, requireStay?: () => Promise<void>) {
		this.visit = visit;
		this.signal = signal;
		this.#requireStay = requireStay;
		// Two fields that ask for the same are two calls: nothing is cached.
		this.#vectors = new DataLoader((wishes) => this.#together(wishes, (group) => this.#readVectors(group)), {
			cache: false,
		});
		this.#searches = new DataLoader((wishes) => this.#together(wishes, (group) => this.#search(group)), {
			cache: false,
			maxBatchSize: GRAPHQL_LIMITS.aliasCountMax,
		});
	}

	/** Whether it has cost its sender a call. */
	get isPaid(): boolean {
		return this.#isPaid;
	}

	/** For what runs no operation: the schema, or what can't be run. @returns why not, to be answered instead */
	async pay(): Promise<HiveError | undefined> {
		this.#isPaid = true;
		const payment = await this.visit.charge(INTROSPECTION);
		return payment.ok ? undefined : payment.error;
	}

	/** @param input a function is called when the caller was let in and has paid. @throws HiveError */
	async execute(operation: string, input: Input | (() => Promise<Input>)): Promise<unknown> {
		this.#isPaid = true;
		await this.#place();
		try {
			await this.#requireStay?.();
			const call = {
				operation,
				signal: this.signal,
				readInput: async () => (typeof input === "function" ? await input() : input),
			};
			const answer = await this.visit.execute(call);
			if (!answer.ok) throw answer.error;
			return answer.output;
		} finally {
			this.#runningCount--;
			this.#waiting.shift()?.();
		}
	}

	/** A vector by its id. @throws HiveError */
	vector(operation: string, input: Input): Promise<unknown> {
		return this.#vectors.load({ operation, input });
	}

	/** @throws HiveError */
	search(operation: string, input: Input): Promise<unknown> {
		return this.#searches.load({ operation, input });
	}

	async #place(): Promise<void> {
		if (this.#runningCount >= GRAPHQL_LIMITS.runningCountMax) {
			await new Promise<void>((resolve) => {
				this.#waiting.push(resolve);
			});
		}
		this.#runningCount++;
	}

	/** Wishes about the same collection and copies go together; each gets what became of it. */
	async #together(
		wishes: readonly Wish[],
		fulfil: (group: readonly Wish[]) => Promise<readonly unknown[]>,
	): Promise<unknown[]> {
		const outcomes: unknown[] = new Array(wishes.length);
		const groups = Map.groupBy(wishes.keys(), (index) => {
			const { collection, consistency } = wishes[index]!.input;
			return JSON.stringify([collection, consistency ?? null]);
		});
		await Promise.all(
			[...groups.values()].map(async (places) => {
				const group = places.map((place) => wishes[place]!);
				const found = group.length === 1 ? [await this.#alone(group[0]!)] : await fulfil(group);
				for (const [index, place] of places.entries()) outcomes[place] = found[index];
			}),
		);
		return outcomes;
	}

	async #alone({ operation, input }: Wish): Promise<unknown> {
		return await outcomeOf(this.execute(operation, input));
	}

	async #readVectors(group: readonly Wish[]): Promise<readonly unknown[]> {
		const { collection, consistency } = group[0]!.input;
		const payments = new Payments(this.visit, group);
		const answer = await outcomeOf(
			this.#executeFor(payments, BATCH_OPERATIONS.vectors, (paid) => ({
				collection,
				...(consistency !== undefined && { consistency }),
				ids: [...new Set(paid.map(({ input }) => input.id))],
				with_payload: paid.some(({ input }) => input.with_payload !== false),
				with_vector: paid.some(({ input }) => input.with_vector !== false),
			})),
		);
		if (answer instanceof Error) return group.map((wish) => payments.refusalOf(wish) ?? answer);
		const byId = new Map((answer as ManyVectors).vectors.map((vector) => [vector.id, vector]));
		return group.map((wish) => {
			const id = wish.input.id as VectorId;
			return payments.refusalOf(wish) ?? byId.get(id) ?? vectorNotFound(id);
		});
	}

	async #search(group: readonly Wish[]): Promise<readonly unknown[]> {
		const outcomes = new Map<Wish, unknown>();
		const payments = new Payments(this.visit, group);
		const { collection } = group[0]!.input;
		for (let open = group; open.length > 0; open = group.filter((wish) => !outcomes.has(wish))) {
			let searched: readonly Wish[] = open;
			const answer = await outcomeOf(
				this.#executeFor(payments, BATCH_OPERATIONS.searches, () => {
					searched = open.filter((wish) => payments.refusalOf(wish) === undefined);
					return { collection, searches: searched.map(({ input: { collection: _, ...search } }) => search) };
				}),
			);
			for (const wish of open) {
				const refusal = payments.refusalOf(wish);
				if (refusal !== undefined) outcomes.set(wish, refusal);
			}
			// One that is not well formed spoils none of the others: they are asked for once more, without it.
			const faulty = answer instanceof HiveError ? faultySearch(answer) : undefined;
			const faultyWish = faulty === undefined ? undefined : searched[faulty.place];
			if (faulty !== undefined && faultyWish !== undefined) {
				outcomes.set(faultyWish, faulty.error);
				continue;
			}
			for (const [place, wish] of searched.entries()) outcomes.set(wish, searchOutcome(answer, place, wish));
		}
		return group.map((wish) => outcomes.get(wish));
	}

	/** An operation for several wishes at once, which pays for one of them; the others pay once it is let in. */
	async #executeFor(
		payments: Payments,
		operation: string,
		inputOf: (paid: readonly Wish[]) => Input,
	): Promise<unknown> {
		try {
			return await this.execute(operation, async () => inputOf(await payments.take()));
		} catch (error) {
			// What is refused costs as much as what is done; without calls left there is nothing to take.
			if (!(error instanceof HiveError && error.code === "RATE_LIMITED")) await payments.take();
			throw error;
		}
	}
}

/** What the wishes of a group pay, each its own call: the first by the operation that serves them all. */
class Payments {
	readonly #visit: Visit;
	readonly #group: readonly Wish[];
	readonly #refusals = new Map<Wish, HiveError>();
	#isTaken = false;

	constructor(visit: Visit, group: readonly Wish[]) {
		this.#visit = visit;
		this.#group = group;
	}

	/** Once, however often it is asked. @returns who could pay */
	async take(): Promise<readonly Wish[]> {
		if (!this.#isTaken) {
			this.#isTaken = true;
			for (const wish of this.#group.slice(1)) {
				const payment = await this.#visit.charge(wish.operation);
				if (!payment.ok) this.#refusals.set(wish, payment.error);
			}
		}
		return this.#group.filter((wish) => !this.#refusals.has(wish));
	}

	refusalOf(wish: Wish): HiveError | undefined {
		return this.#refusals.get(wish);
	}
}

function searchOutcome(answer: unknown, place: number, { input }: Wish): unknown {
	if (answer instanceof Error) return answer;
	const { results, plans, took_ms } = answer as ManySearches;
	const isExplained = plans !== undefined && input.explain === true;
	return { results: results[place], took_ms, ...(isExplained && { plan: plans[place] }) };
}

/** Errors are outcomes among others: a loader hands each to the field that it is for. */
const outcomeOf = (work: Promise<unknown>): Promise<unknown> =>
	work.catch((error: unknown) => (error instanceof Error ? error : new Error(String(error))));

/** Which search of a batch an error is about, and the error as the search alone would have had it. */
function faultySearch(error: HiveError): { readonly place: number; readonly error: HiveError } | undefined {
	const field = String(error.details?.field ?? "");
	const found = /^searches\[(\d+)\]\.?/.exec(field);
	if (found === null) return undefined;
	const prefix = found[0];
	const own = (text: string): string => text.replaceAll(prefix, "");
	const details = JSON.parse(JSON.stringify(error.details), (_, value: unknown) =>
		typeof value === "string" ? own(value) : value,
	) as Record<string, unknown>;
	return { place: Number(found[1]), error: new HiveError(error.code, own(error.message), details, { cause: error }) };
}
