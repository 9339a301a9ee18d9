import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import type { RandomBytes } from "../base/ids.ts";
import { EMBEDDING_LIMITS } from "./embedding-limits.ts";
import { EmbeddingTurns } from "./embedding-turns.ts";
import { type EmbeddingTransport, type EndpointAnswer, EndpointError, OpenAiEndpoint } from "./openai-endpoint.ts";
import type { EmbeddingCaller, TextEmbedder } from "./text-embedder.ts";

export interface OpenAiEmbedderOptions {
	/** See `OpenAiEndpointOptions`. */
	readonly url: string;
	readonly apiKey: string | undefined;
	readonly model: string;
	/** As the operator knows it. */
	readonly dimension: number | undefined;
	readonly transport: EmbeddingTransport;
	/** For one attempt. */
	readonly attemptMs: number;
	readonly clock: Clock;
	readonly random: RandomBytes;
	/** Resolves after so many milliseconds. Rejects when the signal aborts. */
	readonly sleep: (ms: number, signal: AbortSignal) => Promise<void>;
	readonly log: (level: "warn" | "error", message: string, facts: Readonly<Record<string, unknown>>) => void;
}

type Wanted = EmbeddingCaller & { readonly model: string };

/** A run of texts that goes in one call. */
interface Batch {
	readonly first: number;
	readonly texts: readonly string[];
}

const PROBE = ["How long is a vector?"];

/** Vectors from an OpenAI-compatible endpoint: in batches, tenants in turn, tried again where that may help. */
export class OpenAiEmbedder implements TextEmbedder {
	readonly provider = "openai";
	readonly model: string;
	readonly #options: OpenAiEmbedderOptions;
	readonly #endpoint: OpenAiEndpoint;
	readonly #turns = new EmbeddingTurns();
	#dimension: number | undefined;

	constructor(options: OpenAiEmbedderOptions) {
		this.#options = options;
		this.model = options.model;
		this.#dimension = options.dimension;
		this.#endpoint = new OpenAiEndpoint({
			url: options.url,
			apiKey: options.apiKey,
			transport: options.transport,
			attemptMs: options.attemptMs,
			nowMs: () => options.clock.nowMs(),
		});
	}

	async dimension(caller: EmbeddingCaller): Promise<number> {
		if (this.#dimension !== undefined) return this.#dimension;
		const { vectors } = await this.#orExplained({ ...caller, model: this.model }, PROBE);
		this.#dimension = vectors[0]!.length;
		return this.#dimension;
	}

	async embed(
		texts: readonly string[],
		wanted: Wanted & { readonly dimension: number },
	): Promise<readonly (Float32Array | HiveError)[]> {
		const embedded = new Array<Float32Array | HiveError>(texts.length);
		const batches = batchesOf(texts);
		// One that fails ends the others: nothing is made of a part.
		const stop = new AbortController();
		const signal = AbortSignal.any([wanted.signal, stop.signal]);
		const worker = async (): Promise<void> => {
			for (let batch = batches.shift(); batch !== undefined; batch = batches.shift()) {
				await this.#embedBatch(batch, { ...wanted, signal }, embedded);
			}
		};
		const workerCount = Math.min(batches.length, EMBEDDING_LIMITS.requestCallsInFlightMax);
		try {
			await Promise.all(Array.from({ length: workerCount }, worker));
		} catch (error) {
			stop.abort(error);
			throw error;
		}
		return embedded;
	}

	/** Where a batch is refused, halves of it are tried until it is known which texts are. */
	async #embedBatch(
		{ first, texts }: Batch,
		wanted: Wanted & { readonly dimension: number },
		embedded: (Float32Array | HiveError)[],
	): Promise<void> {
		let answer: EndpointAnswer;
		try {
			answer = await this.#orExplained(wanted, texts);
		} catch (error) {
			if (!(error instanceof HiveError) || error.code !== "VALIDATION_FAILED") throw error;
			if (texts.length === 1) {
				embedded[first] = error;
				return;
			}
			const half = texts.length >> 1;
			await this.#embedBatch({ first, texts: texts.slice(0, half) }, wanted, embedded);
			await this.#embedBatch({ first: first + half, texts: texts.slice(half) }, wanted, embedded);
			return;
		}
		const { length } = answer.vectors[0]!;
		if (length !== wanted.dimension) {
			throw new HiveError(
				"DIMENSION_MISMATCH",
				`vectors of model ${wanted.model} have ${length} dimensions, the collection stores ${wanted.dimension}`,
				{ expected: wanted.dimension, actual: length, model: wanted.model },
			);
		}
		for (const [index, vector] of answer.vectors.entries()) embedded[first + index] = vector;
	}

	/** Failures in the words that a caller may read; the log has the rest. */
	async #orExplained(wanted: Wanted, texts: readonly string[]): Promise<EndpointAnswer> {
		let answer: EndpointAnswer;
		try {
			const charCount = texts.reduce((sum, { length }) => sum + length, 0);
			answer = await this.#turns.run(wanted.tenantId, charCount, wanted.signal, () => this.#attempts(wanted, texts));
		} catch (error) {
			if (!(error instanceof EndpointError)) throw error;
			throw this.#explained(error, wanted.model);
		}
		if (answer.model !== undefined && !isSameModel(answer.model, wanted.model)) {
			throw new HiveError(
				"CONFLICT",
				`the embedding provider answers with model ${answer.model.slice(0, 200)} where ${wanted.model} was asked for`,
				{ model: wanted.model },
			);
		}
		return answer;
	}

	async #attempts(wanted: Wanted, texts: readonly string[]): Promise<EndpointAnswer> {
		const { clock, random, sleep } = this.#options;
		const endMs = clock.monotonicMs() + EMBEDDING_LIMITS.callMs;
		for (let attempt = 1; ; attempt++) {
			try {
				return await this.#endpoint.embed(wanted.model, texts, wanted.signal);
			} catch (error) {
				if (!(error instanceof EndpointError) || error.kind !== "away") throw error;
				const ceiling = Math.min(EMBEDDING_LIMITS.backoffFirstMs * 2 ** (attempt - 1), EMBEDDING_LIMITS.backoffMaxMs);
				const pauseMs = Math.max(error.retryAfterMs ?? 0, ceiling * (0.5 + random(1)[0]! / 512));
				const isLast =
					attempt === EMBEDDING_LIMITS.attemptsMax ||
					pauseMs > EMBEDDING_LIMITS.retryAfterMsMax ||
					clock.monotonicMs() + pauseMs > endMs;
				if (isLast) throw error;
				await sleep(pauseMs, wanted.signal);
			}
		}
	}

	#explained(error: EndpointError, model: string): HiveError {
		const { kind, message, retryAfterMs, cause } = error;
		const facts = { model, reason: message, ...(cause instanceof Error && { cause: cause.message }) };
		if (kind === "away") {
			this.#options.log("warn", "the embedding provider does not answer", facts);
			return new HiveError(
				"OVERLOADED",
				"the embedding provider does not answer, or asks to be left alone; retry later",
				{
					retry_after_seconds: Math.max(1, Math.ceil((retryAfterMs ?? 0) / 1000)),
				},
			);
		}
		if (kind === "refused") {
			this.#options.log("warn", "the embedding provider refuses texts", facts);
			return new HiveError(
				"VALIDATION_FAILED",
				`the embedding model ${model} does not take this text; it may be too long`,
			);
		}
		this.#options.log("error", "the embedding provider does not work as the settings have it", facts);
		return new HiveError(
			"INTERNAL",
			"the embedding provider refuses this node, or answers what is no answer; its log tells more",
		);
	}
}

/** At most so many texts and characters a batch, a longer text in one of its own. */
function batchesOf(texts: readonly string[]): Batch[] {
	const batches: Batch[] = [];
	let first = 0;
	let charCount = 0;
	for (const [index, { length }] of texts.entries()) {
		const isFull =
			index - first === EMBEDDING_LIMITS.batchTextsMax || charCount + length > EMBEDDING_LIMITS.batchCharsMax;
		if (isFull && index > first) {
			batches.push({ first, texts: texts.slice(first, index) });
			first = index;
			charCount = 0;
		}
		charCount += length;
	}
	if (first < texts.length) batches.push({ first, texts: texts.slice(first) });
	return batches;
}

/** Servers name a model with its tag or version where it was asked for without: `nomic-embed-text:latest`, `text-embedding-ada-002-v2`. */
function isSameModel(answered: string, asked: string): boolean {
	return (
		answered === asked ||
		(answered.startsWith(asked) && /^(?::latest|-v\d+|[-@]\d{4}-\d{2}-\d{2})$/.test(answered.slice(asked.length)))
	);
}
