import DataLoader from "dataloader";
import { HiveError } from "../../base/errors.ts";
import type { VectorId } from "../../base/ids.ts";
import type { Visit } from "../../operations/pipeline-types.ts";
import { vectorNotFound } from "../../operations/vectors.ts";
import { GRAPHQL_LIMITS } from "./graphql-limits.ts";

export type Input = Readonly<Record<string, unknown>>;

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

	/** @throws HiveError */
	async execute(operation: string, input: Input): Promise<unknown> {
		this.#isPaid = true;
		await this.#place();
		try {
			await this.#requireStay?.();
			const call = { operation, signal: this.signal, readInput: async () => input };
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
		const outcomes = await this.#paid(group);
		const paid = group.filter((_, index) => outcomes[index] === undefined);
		const any = (field: string): boolean => paid.some(({ input }) => input[field] !== false);
		const { collection, consistency } = group[0]!.input;
		const answer = await outcomeOf(
			this.execute("vectors.get_many", {
				collection,
				...(consistency !== undefined && { consistency }),
				ids: [...new Set(paid.map(({ input }) => input.id))],
				with_payload: any("with_payload"),
				with_vector: any("with_vector"),
			}),
		);
		if (answer instanceof Error) return outcomes.map((outcome) => outcome ?? answer);
		const byId = new Map((answer as ManyVectors).vectors.map((vector) => [vector.id, vector]));
		return outcomes.map((outcome, index) => {
			const id = group[index]!.input.id as VectorId;
			return outcome ?? byId.get(id) ?? vectorNotFound(id);
		});
	}

	async #search(group: readonly Wish[]): Promise<readonly unknown[]> {
		const outcomes: unknown[] = [...(await this.#paid(group))];
		for (;;) {
			const open = [...group.keys()].filter((index) => outcomes[index] === undefined);
			if (open.length === 0) return outcomes;
			if (open.length === 1) {
				outcomes[open[0]!] = await this.#alone(group[open[0]!]!);
				return outcomes;
			}
			const { collection } = group[0]!.input;
			const searches = open.map((index) => {
				const { collection: _, ...search } = group[index]!.input;
				return search;
			});
			const answer = await outcomeOf(this.execute("search.batch", { collection, searches }));
			if (!(answer instanceof Error)) {
				const { results, plans, took_ms } = answer as ManySearches;
				for (const [place, index] of open.entries()) {
					const isExplained = plans !== undefined && group[index]!.input.explain === true;
					outcomes[index] = { results: results[place], took_ms, ...(isExplained && { plan: plans[place] }) };
				}
				return outcomes;
			}
			// One that is not well formed spoils none of the others: they are asked for once more, without it.
			const faulty = faultySearch(answer);
			if (faulty === undefined || open[faulty.place] === undefined) {
				for (const index of open) outcomes[index] = answer;
			} else {
				outcomes[open[faulty.place]!] = faulty.error;
			}
		}
	}

	/** Pays for all but the one that the common operation pays for. @returns the refusal of each that could not pay */
	async #paid(group: readonly Wish[]): Promise<readonly (HiveError | undefined)[]> {
		const refusals: (HiveError | undefined)[] = [undefined];
		for (const { operation } of group.slice(1)) {
			const payment = await this.visit.charge(operation);
			refusals.push(payment.ok ? undefined : payment.error);
		}
		return refusals;
	}
}

/** Errors are outcomes among others: a loader hands each to the field that it is for. */
const outcomeOf = (work: Promise<unknown>): Promise<unknown> =>
	work.catch((error: unknown) => (error instanceof Error ? error : new Error(String(error))));

/** Which search of a batch an error is about, and the error as the search alone would have had it. */
function faultySearch(error: Error): { readonly place: number; readonly error: HiveError } | undefined {
	if (!(error instanceof HiveError)) return undefined;
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
