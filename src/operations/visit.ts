import type { Identity } from "../access/authenticator.ts";
import type { BodyCheck } from "../access/message-signature.ts";
import { requirePermission } from "../access/permissions.ts";
import { HiveError } from "../base/errors.ts";
import type { Door } from "./door.ts";
import type { AnyOperation } from "./node-services.ts";
import type { Caller } from "./operation.ts";
import { learn, newPassage, type Passage } from "./passage.ts";
import type { AnswerFacts, Arrival, Call, PipelineAnswer, Visit } from "./pipeline-types.ts";
import type { Turnstile } from "./turnstile.ts";

/** What a visit does through the pipeline that let it in. */
export interface VisitParts {
	readonly door: Door;
	readonly turnstile: Turnstile;
	/** The operation, if the protocol has it. */
	offered(name: string): AnyOperation | undefined;
	errorOf(thrown: unknown, passage: Passage): HiveError;
	/** Does the work; counts, audits and settles what became of it. Never throws. */
	counted(passage: Passage, work: () => Promise<unknown>): Promise<PipelineAnswer>;
	/** All that comes after paying. */
	runPaid(passage: Passage, operation: AnyOperation, visitor: Identity, call: Call): Promise<unknown>;
}

export const noSuchOperation = (): HiveError => new HiveError("NOT_FOUND", "there is no such operation");

export class CallerVisit implements Visit {
	readonly #arrival: Arrival;
	readonly #parts: VisitParts;
	#identity: Identity;
	#facts: AnswerFacts;
	/** Whether the call that admission cost has not been used yet. */
	#isPrepaid = true;

	constructor(arrival: Arrival, identity: Identity, facts: AnswerFacts, parts: VisitParts) {
		this.#arrival = arrival;
		this.#identity = identity;
		this.#facts = facts;
		this.#parts = parts;
	}

	get caller(): Caller {
		return this.#identity;
	}

	get facts(): AnswerFacts {
		return this.#facts;
	}

	readonly checkBody: BodyCheck = (body) => this.#identity.checkBody?.(body);

	mayCall(name: string): boolean {
		const operation = this.#parts.offered(name);
		if (operation === undefined) return false;
		try {
			requirePermission(this.#identity.permissions, operation, this.#arrival.protocol);
			return true;
		} catch (error) {
			if (error instanceof HiveError) return false;
			throw error;
		}
	}

	async inTurn<T>(bodyBytes: number | undefined, work: () => Promise<T>): Promise<T> {
		const leave = await this.#parts.turnstile.enter(this.#identity.tenant.id, bodyBytes);
		try {
			return await work();
		} finally {
			leave();
		}
	}

	execute(call: Call): Promise<PipelineAnswer> {
		const operation = this.#parts.offered(call.operation);
		return this.#paidFor(operation, operation?.name ?? "unknown", async (passage, visitor) => {
			if (operation === undefined) throw noSuchOperation();
			return await this.#parts.runPaid(passage, operation, visitor, call);
		});
	}

	charge(label: string): Promise<PipelineAnswer> {
		return this.#paidFor(undefined, label, async () => undefined);
	}

	renew(): HiveError | undefined | Promise<HiveError | undefined> {
		const passage = newPassage(this.#arrival, undefined, this.#arrival.protocol);
		const stay = (identity: Identity): undefined => {
			this.#identity = identity;
			learn(passage, identity);
		};
		const leave = (thrown: unknown): HiveError => this.#parts.errorOf(thrown, passage);
		try {
			const entered = this.#parts.door.enterAgain(passage);
			return entered instanceof Promise ? entered.then(stay, leave) : stay(entered);
		} catch (thrown) {
			return leave(thrown);
		}
	}

	async #paidFor(
		operation: AnyOperation | undefined,
		label: string,
		work: (passage: Passage, visitor: Identity) => Promise<unknown>,
	): Promise<PipelineAnswer> {
		const passage = newPassage(this.#arrival, operation, label);
		const visitor = this.#identity;
		learn(passage, visitor);
		if (this.#facts.rateLimit !== undefined) passage.facts.rateLimit = this.#facts.rateLimit;
		const isPrepaid = this.#isPrepaid;
		this.#isPrepaid = false;
		const answer = await this.#parts.counted(passage, async () => {
			this.#parts.door.requireOpen();
			if (!isPrepaid) await this.#parts.door.pay(visitor, passage);
			return await work(passage, visitor);
		});
		this.#facts = answer.facts;
		return answer;
	}
}
