import { HiveError } from "../../base/errors.ts";
import type { NodeId } from "../../base/ids.ts";
import type { KnownChanges } from "../../hub/recent-changes.ts";
import type { PeerCalls, PeerHandler } from "../peer/peer-types.ts";
import { encodedBytes } from "./fact-outbox.ts";
import {
	type ExchangeAnswer,
	exchangeAnswerSchema,
	exchangeQuestionSchema,
	type FactOnWire,
	factOnWire,
} from "./fact-schemas.ts";
import { GOSSIP_LIMITS } from "./gossip-limits.ts";
import type { GossipState, StatePlace } from "./gossip-state.ts";

export const EXCHANGE_METHOD = "gossip.exchange";

export interface StateExchangeParts {
	readonly calls: Pick<PeerCalls, "call">;
	readonly state: GossipState;
	readonly monotonicMs: () => number;
	/** Of what this node's state holds. */
	readonly known: () => KnownChanges | undefined;
	/** Somebody is in that generation, which may be newer. */
	readonly hearGeneration: (generation: number) => void;
	/** @returns whether every hub record among them was taken */
	readonly take: (facts: readonly { readonly kind: string; readonly fact?: unknown }[], from: NodeId) => boolean;
}

/** Brings a state up to another node's: summaries are compared, and what differs comes in pages. Each side asks for itself. */
export class StateExchange {
	readonly #parts: StateExchangeParts;

	constructor(parts: StateExchangeParts) {
		this.#parts = parts;
	}

	/** What another node asks. */
	readonly answer: PeerHandler = async (body) => {
		const { state } = this.#parts;
		const question = exchangeQuestionSchema.safeParse(body);
		if (!question.success) throw new HiveError("VALIDATION_FAILED", "this is no question about gossip's state");
		const { summary, from } = question.data;
		this.#parts.hearGeneration(summary.generation);
		state.adoptFloors(summary);
		const known = this.#parts.known();
		const facts: FactOnWire[] = [];
		let bytes = 0;
		let next: StatePlace | null = null;
		let last: StatePlace | undefined;
		const nowMs = this.#parts.monotonicMs();
		for (const { told, after } of state.difference(summary, from)) {
			const fact = factOnWire(told, nowMs);
			const factBytes = encodedBytes(fact);
			if (bytes + factBytes > GOSSIP_LIMITS.pageBytesMax && last !== undefined) {
				next = last;
				break;
			}
			facts.push(fact);
			bytes += factBytes;
			last = after;
		}
		const { generation, kinds } = state.summary();
		return {
			generation,
			kinds: {
				record: { floor: kinds.record.floor },
				topology: { floor: kinds.topology.floor },
				heartbeat: { floor: kinds.heartbeat.floor },
				usage: { floor: kinds.usage.floor },
				digest: { floor: kinds.digest.floor },
			},
			facts,
			next,
			known: known ?? null,
		} satisfies ExchangeAnswer;
	};

	/**
	 * Asks another node for what this one lacks.
	 *
	 * @returns the changes that this node knows now without a gap because the other does; undefined: none for sure.
	 * @throws PeerFailure; what the other node refuses; ZodError for an answer that is none
	 */
	async askAll(nodeId: NodeId, signal: AbortSignal): Promise<KnownChanges | undefined> {
		const { calls, state } = this.#parts;
		const summary = state.summary();
		let from: StatePlace | undefined;
		let known: KnownChanges | undefined;
		let generation: number | undefined;
		for (let page = 0; page < GOSSIP_LIMITS.pagesMax; page++) {
			const question = from === undefined ? { summary } : { summary, from };
			const answered = await calls.call(nodeId, EXCHANGE_METHOD, question, {
				timeoutMs: GOSSIP_LIMITS.exchangeTimeoutMs,
				signal,
			});
			const answer = exchangeAnswerSchema.parse(answered);
			this.#parts.hearGeneration(answer.generation);
			const isWhole = this.#parts.take(
				answer.generation === state.generation ? answer.facts : withoutRecords(answer),
				nodeId,
			);
			state.adoptFloors(answer);
			// Of a gap between two pages, a generation that ended in between, or a fact that was no fact, nothing is known.
			const isFirst = page === 0;
			if (isFirst) generation = answer.generation;
			if (!isWhole || answer.known === null || answer.generation !== generation) known = undefined;
			else if (isFirst) known = answer.known;
			else if (known !== undefined) known = { from: Math.max(known.from, answer.known.from), to: known.to };
			if (answer.next === null) return generation === state.generation ? known : undefined;
			from = answer.next;
		}
		return undefined;
	}
}

const withoutRecords = ({ facts }: ExchangeAnswer): ExchangeAnswer["facts"] =>
	facts.filter(({ kind }) => kind !== "record");
