import { LIMITS } from "../base/limits.ts";
import { parseVector } from "../base/vector.ts";
import { EMBEDDING_LIMITS } from "./embedding-limits.ts";

/** `fetch`, or what a test puts in its place. */
export type EmbeddingTransport = (request: Request) => Promise<Response>;

export interface OpenAiEndpointOptions {
	/** Of the API: `https://api.openai.com/v1`, `http://127.0.0.1:11434/v1`. */
	readonly url: string;
	readonly apiKey: string | undefined;
	readonly transport: EmbeddingTransport;
	/** For one attempt. */
	readonly attemptMs: number;
	/** Unix milliseconds. */
	readonly nowMs: () => number;
}

/**
 * What became of a call that brought no vectors. `away`: it may go better later; `refused`: it takes these texts not; `broken`: it will
 * go no better until somebody changes something. The message is for the log: it may name what the endpoint said, never the key.
 */
export class EndpointError extends Error {
	override readonly name = "EndpointError";

	constructor(
		readonly kind: "away" | "refused" | "broken",
		message: string,
		/** After which it asked to be left alone. */
		readonly retryAfterMs?: number,
		options?: { cause?: unknown },
	) {
		super(message, options);
	}
}

export interface EndpointAnswer {
	/** As the endpoint names it; undefined: it does not. */
	readonly model: string | undefined;
	/** One a text, in the order of the texts, all of one length. */
	readonly vectors: readonly Float32Array[];
}

/** One call of `POST /embeddings` as OpenAI defined it, which Ollama, vLLM, llama.cpp and others serve too. */
export class OpenAiEndpoint {
	readonly #options: OpenAiEndpointOptions;
	readonly #url: string;

	constructor(options: OpenAiEndpointOptions) {
		this.#options = options;
		this.#url = embeddingsUrl(options.url);
	}

	/** @throws EndpointError; the signal's reason */
	async embed(model: string, texts: readonly string[], signal: AbortSignal): Promise<EndpointAnswer> {
		const { apiKey, transport, attemptMs } = this.#options;
		const timeout = AbortSignal.timeout(attemptMs);
		const request = new Request(this.#url, {
			method: "POST",
			headers: {
				"content-type": "application/json",
				accept: "application/json",
				...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
			},
			body: JSON.stringify({ model, input: texts, encoding_format: "float" }),
			// The operator named one address: whoever answers there sends neither texts nor the key elsewhere.
			redirect: "manual",
			signal: AbortSignal.any([signal, timeout]),
		});
		try {
			const response = await transport(request);
			if (!response.ok) throw await this.#failure(response);
			const bytesMax =
				texts.length * LIMITS.dimensionMax * EMBEDDING_LIMITS.answerBytesPerNumber + EMBEDDING_LIMITS.answerBytesExtra;
			return readAnswer(await boundedText(response, bytesMax), texts.length);
		} catch (error) {
			if (error instanceof EndpointError) throw error;
			signal.throwIfAborted();
			const why = timeout.aborted ? `no answer within ${attemptMs} ms` : "no connection";
			throw new EndpointError("away", why, undefined, { cause: error });
		}
	}

	async #failure(response: Response): Promise<EndpointError> {
		const { status } = response;
		const body = await boundedText(response, EMBEDDING_LIMITS.answerBytesExtra).catch(() => "");
		const message = `status ${status}${this.#said(body)}`;
		if (status === 408 || status === 409 || status === 425 || status === 429 || status >= 500) {
			return new EndpointError("away", message, this.#retryAfterMs(response.headers.get("retry-after")));
		}
		return new EndpointError(status === 400 || status === 413 || status === 422 ? "refused" : "broken", message);
	}

	/** What an error's own message says; without the key, should the endpoint repeat it. */
	#said(body: string): string {
		let answer: unknown;
		try {
			answer = JSON.parse(body);
		} catch {
			return "";
		}
		const error = isObject(answer) ? answer.error : undefined;
		const said = isObject(error) ? error.message : error;
		if (typeof said !== "string") return "";
		const { apiKey } = this.#options;
		const shown = apiKey === undefined ? said : said.replaceAll(apiKey, "********");
		return `: ${shown.slice(0, EMBEDDING_LIMITS.refusalCharsMax)}`;
	}

	/** Seconds or a date (RFC 9110, 10.2.3). */
	#retryAfterMs(header: string | null): number | undefined {
		if (header === null) return undefined;
		if (/^\d{1,9}$/.test(header)) return Number(header) * 1000;
		const at = Date.parse(header);
		return Number.isNaN(at) ? undefined : Math.max(0, at - this.#options.nowMs());
	}
}

function embeddingsUrl(base: string): string {
	const url = new URL(base);
	const path = url.pathname.replace(/\/+$/, "");
	url.pathname = path.endsWith("/embeddings") ? path : `${path}/embeddings`;
	return url.href;
}

async function boundedText(response: Response, bytesMax: number): Promise<string> {
	const chunks: Uint8Array[] = [];
	let byteCount = 0;
	for await (const chunk of response.body ?? []) {
		byteCount += chunk.byteLength;
		// Leaving the loop closes the connection.
		if (byteCount > bytesMax) throw new EndpointError("broken", `the answer is larger than ${bytesMax} bytes`);
		chunks.push(chunk);
	}
	return Buffer.concat(chunks).toString("utf8");
}

const broken = (why: string, cause?: unknown): EndpointError => new EndpointError("broken", why, undefined, { cause });

function readAnswer(text: string, textCount: number): EndpointAnswer {
	let answer: unknown;
	try {
		answer = JSON.parse(text);
	} catch (cause) {
		throw broken("the answer is not JSON", cause);
	}
	const { data, model } = isObject(answer) ? answer : {};
	if (!Array.isArray(data)) throw broken("the answer has no list data");
	if (data.length !== textCount) throw broken(`the answer has ${data.length} vectors for ${textCount} texts`);
	const vectors = new Array<Float32Array | undefined>(textCount);
	for (const [position, entry] of data.entries()) {
		const { index, embedding } = isObject(entry) ? entry : {};
		// The order is that of `index`, whichever way they come.
		if (typeof index !== "number" || !Number.isInteger(index) || index < 0 || index >= textCount) {
			throw broken(`data[${position}].index names no text`);
		}
		if (vectors[index] !== undefined) throw broken(`data[${position}].index names a text again`);
		vectors[index] = vectorOf(embedding, `data[${position}].embedding`);
	}
	const whole = vectors as Float32Array[];
	if (whole.some(({ length }) => length !== whole[0]!.length)) throw broken("the vectors have different lengths");
	return { model: typeof model === "string" ? model : undefined, vectors: whole };
}

function vectorOf(embedding: unknown, field: string): Float32Array {
	try {
		return parseVector(embedding, field);
	} catch (cause) {
		throw broken((cause as Error).message, cause);
	}
}

const isObject = (value: unknown): value is Record<string, unknown> =>
	typeof value === "object" && value !== null && !Array.isArray(value);
