/** What an embeddings call asks. */
export interface EmbeddingCall {
	readonly model: string;
	readonly input: readonly string[];
	readonly authorization: string | null;
	readonly path: string;
}

type Scripted = (call: EmbeddingCall) => Response | Promise<Response>;

export const TEST_MODEL = "words-8";
export const TEST_DIMENSION = 8;

/**
 * A text's vector: each word adds a direction of its own, so that texts with the same words are near each other. Deterministic, of length 1.
 */
export function vectorOfWords(text: string, dimension = TEST_DIMENSION): number[] {
	const vector = new Array<number>(dimension).fill(0);
	for (const word of text.toLowerCase().match(/[\p{L}\p{N}]+/gu) ?? []) {
		const hash = Bun.hash.xxHash32(word);
		vector[hash % dimension]! += 1 + ((hash >>> 8) % 97) / 97;
	}
	const length = Math.hypot(...vector);
	return length === 0 ? vector.map(() => 1 / Math.sqrt(dimension)) : vector.map((value) => value / length);
}

/** The answer as OpenAI writes it. */
export function answerTo(call: EmbeddingCall, dimension = TEST_DIMENSION, model = call.model): Record<string, unknown> {
	return {
		object: "list",
		data: call.input.map((text, index) => ({
			object: "embedding",
			index,
			embedding: vectorOfWords(text, dimension),
		})),
		model,
		usage: { prompt_tokens: 1, total_tokens: 1 },
	};
}

/** A server of OpenAI's embeddings API on a port of its own. What is scripted is answered first, one a call, in order. */
export class EmbeddingServer implements AsyncDisposable {
	readonly calls: EmbeddingCall[] = [];
	readonly #scripted: Scripted[] = [];
	/** Answers whatever no script answers. */
	usual: Scripted = (call) => Response.json(answerTo(call));
	inFlight = 0;
	inFlightMax = 0;
	readonly #server = Bun.serve({
		port: 0,
		hostname: "127.0.0.1",
		idleTimeout: 0,
		fetch: async (request) => {
			const body = (await request.json()) as { model: string; input: string[] };
			const call: EmbeddingCall = {
				model: body.model,
				input: body.input,
				authorization: request.headers.get("authorization"),
				path: new URL(request.url).pathname,
			};
			this.calls.push(call);
			this.inFlight++;
			this.inFlightMax = Math.max(this.inFlightMax, this.inFlight);
			try {
				return await (this.#scripted.shift() ?? this.usual)(call);
			} finally {
				this.inFlight--;
			}
		},
	});

	/** Of the API, as a setting takes it. */
	readonly url = `http://127.0.0.1:${this.#server.port}/v1`;

	script(...answers: Scripted[]): void {
		this.#scripted.push(...answers);
	}

	get texts(): string[] {
		return this.calls.flatMap(({ input }) => input);
	}

	/** A node's settings that point here. */
	env(more: Record<string, string> = {}): Record<string, string> {
		return {
			HIVE_VECTOR_EMBEDDING_PROVIDER: "openai",
			HIVE_VECTOR_EMBEDDING_URL: this.url,
			HIVE_VECTOR_EMBEDDING_MODEL: TEST_MODEL,
			...more,
		};
	}

	async [Symbol.asyncDispose](): Promise<void> {
		await this.#server.stop(true);
	}
}
