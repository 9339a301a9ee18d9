import { expect, test } from "bun:test";
import type { Clock } from "../../src/base/clock.ts";
import { HiveError } from "../../src/base/errors.ts";
import { systemRandom, type TenantId } from "../../src/base/ids.ts";
import { EMBEDDING_LIMITS } from "../../src/embedding/embedding-limits.ts";
import { OpenAiEmbedder, type OpenAiEmbedderOptions } from "../../src/embedding/openai-embedder.ts";
import { answerTo, EmbeddingServer, TEST_DIMENSION, TEST_MODEL, vectorOfWords } from "./embedding-server.ts";

const ACME = "acme" as TenantId;
const BETA = "beta" as TenantId;
const KEY = "sk-secret-of-the-operator";

/** Time that only pauses move. */
class TestTime implements Clock {
	ms = 0;
	readonly pauses: number[] = [];

	nowMs(): number {
		return this.ms;
	}

	monotonicMs(): number {
		return this.ms;
	}

	readonly sleep = async (ms: number, signal: AbortSignal): Promise<void> => {
		signal.throwIfAborted();
		this.pauses.push(ms);
		this.ms += ms;
	};
}

interface Rig {
	readonly embedder: OpenAiEmbedder;
	readonly time: TestTime;
	readonly logged: string[];
}

function rigOf(server: EmbeddingServer, changes: Partial<OpenAiEmbedderOptions> = {}): Rig {
	const time = new TestTime();
	const logged: string[] = [];
	const embedder = new OpenAiEmbedder({
		url: server.url,
		apiKey: KEY,
		model: TEST_MODEL,
		dimension: undefined,
		transport: (request) => fetch(request),
		attemptMs: EMBEDDING_LIMITS.attemptMs,
		clock: time,
		random: systemRandom,
		sleep: time.sleep,
		log: (level, message, facts) => logged.push(`${level} ${message} ${JSON.stringify(facts)}`),
		...changes,
	});
	return { embedder, time, logged };
}

const wanted = (changes: { tenantId?: TenantId; signal?: AbortSignal; dimension?: number; model?: string } = {}) => ({
	tenantId: ACME,
	signal: new AbortController().signal,
	model: TEST_MODEL,
	dimension: TEST_DIMENSION,
	...changes,
});

const expectedVector = (text: string): Float32Array => new Float32Array(vectorOfWords(text));

async function failureOf(work: Promise<unknown>): Promise<HiveError> {
	try {
		await work;
	} catch (error) {
		if (error instanceof HiveError) return error;
		throw error;
	}
	throw new Error("it did not fail");
}

test("each text gets its own vector, whichever way the answer is ordered", async () => {
	await using server = new EmbeddingServer();
	server.usual = (call) => {
		const answer = answerTo(call) as { data: unknown[] };
		return Response.json({ ...answer, data: answer.data.reverse() });
	};
	const { embedder } = rigOf(server);
	const texts = ["one fish", "two fish", "red fish"];
	expect(await embedder.embed(texts, wanted())).toEqual(texts.map(expectedVector));
	expect(server.calls).toEqual([
		{ model: TEST_MODEL, input: texts, authorization: `Bearer ${KEY}`, path: "/v1/embeddings" },
	]);
});

test("vectors in base64 are taken too", async () => {
	await using server = new EmbeddingServer();
	server.usual = (call) =>
		Response.json({
			model: call.model,
			data: call.input.map((text, index) => ({
				index,
				embedding: { base64: Buffer.from(expectedVector(text).buffer).toString("base64") },
			})),
		});
	expect(await rigOf(server).embedder.embed(["a fish"], wanted())).toEqual([expectedVector("a fish")]);
});

test("many texts go in calls of bounded size, few at a time", async () => {
	await using server = new EmbeddingServer();
	const { embedder } = rigOf(server);
	const texts = Array.from({ length: 500 }, (_, index) => `text number ${index}`);
	texts[250] = "long ".repeat(EMBEDDING_LIMITS.batchCharsMax / 5 + 1);
	expect(await embedder.embed(texts, wanted())).toEqual(texts.map(expectedVector));
	expect([...server.texts].sort()).toEqual([...texts].sort());
	for (const { input } of server.calls) {
		expect(input.length).toBeLessThanOrEqual(EMBEDDING_LIMITS.batchTextsMax);
		const charCount = input.reduce((sum, text) => sum + text.length, 0);
		if (input.length > 1) expect(charCount).toBeLessThanOrEqual(EMBEDDING_LIMITS.batchCharsMax);
	}
	expect(server.inFlightMax).toBeLessThanOrEqual(EMBEDDING_LIMITS.requestCallsInFlightMax);
});

test("one tenant's flood delays another's first text by a turn, not by the flood", async () => {
	await using server = new EmbeddingServer();
	const { embedder } = rigOf(server);
	let open = (): void => {};
	const gate = new Promise<void>((resolve) => {
		open = resolve;
	});
	const usual = server.usual;
	server.usual = async (call) => {
		await gate;
		return await usual(call);
	};
	const floods = Array.from({ length: 100 }, (_, index) => embedder.embed([`flood ${index}`], wanted()));
	const quiet = embedder.embed(["quiet"], wanted({ tenantId: BETA }));
	while (server.inFlight < EMBEDDING_LIMITS.callsInFlightMax) await Bun.sleep(1);
	open();
	await quiet;
	expect(server.texts.indexOf("quiet")).toBeLessThan(2 * EMBEDDING_LIMITS.callsInFlightMax + 1);
	await Promise.all(floods);
	expect(server.inFlightMax).toBe(EMBEDDING_LIMITS.callsInFlightMax);
});

test("a busy provider is asked again after the time it asks for", async () => {
	await using server = new EmbeddingServer();
	const { embedder, time } = rigOf(server);
	server.script(
		() => new Response("busy", { status: 429, headers: { "retry-after": "7" } }),
		() => new Response("busy", { status: 503, headers: { "retry-after": new Date(10_000).toUTCString() } }),
		() => new Response("no", { status: 500 }),
	);
	expect(await embedder.embed(["a fish"], wanted())).toEqual([expectedVector("a fish")]);
	expect(time.pauses[0]).toBe(7_000);
	expect(time.pauses[1]).toBe(3_000);
	expect(time.pauses).toHaveLength(3);
	expect(server.calls).toHaveLength(4);
});

test("a provider that asks to be left alone for long is not waited for, and the caller told for how long", async () => {
	await using server = new EmbeddingServer();
	const { embedder, time } = rigOf(server);
	server.script(() => new Response("quota", { status: 429, headers: { "retry-after": "3600" } }));
	const error = await failureOf(embedder.embed(["a fish"], wanted()));
	expect(error.code).toBe("OVERLOADED");
	expect(error.details).toEqual({ retry_after_seconds: 3600 });
	expect(time.pauses).toEqual([]);
});

test("a provider that is not there is tried a bounded number of times, then OVERLOADED", async () => {
	const server = new EmbeddingServer();
	const { embedder, time, logged } = rigOf(server);
	await server[Symbol.asyncDispose]();
	const error = await failureOf(embedder.embed(["a fish"], wanted()));
	expect(error.code).toBe("OVERLOADED");
	expect(time.pauses).toHaveLength(EMBEDDING_LIMITS.attemptsMax - 1);
	expect(JSON.stringify(error.toWire())).not.toContain("127.0.0.1");
	expect(logged.join()).not.toContain(KEY);
});

test("a provider that hangs is given up in time and tried again", async () => {
	await using server = new EmbeddingServer();
	const { embedder } = rigOf(server, { attemptMs: 20 });
	server.script(
		() => new Promise<Response>(() => {}),
		() => new Response(new ReadableStream({ pull: () => new Promise<void>(() => {}) })),
	);
	expect(await embedder.embed(["a fish"], wanted())).toEqual([expectedVector("a fish")]);
	expect(server.calls).toHaveLength(3);
	server.usual = () => new Promise<Response>(() => {});
	expect((await failureOf(embedder.embed(["a fish"], wanted()))).code).toBe("OVERLOADED");
});

test("a caller who leaves ends the call, also while it waits for its turn", async () => {
	await using server = new EmbeddingServer();
	const { embedder } = rigOf(server);
	server.usual = () => new Promise<Response>(() => {});
	const leaving = new AbortController();
	const hanging = Array.from({ length: EMBEDDING_LIMITS.callsInFlightMax }, (_, index) =>
		embedder.embed([`hanging ${index}`], wanted({ signal: leaving.signal })),
	);
	const waiting = embedder.embed(["waiting"], wanted({ signal: leaving.signal }));
	while (server.inFlight < EMBEDDING_LIMITS.callsInFlightMax) await Bun.sleep(1);
	const outcomes = Promise.allSettled([...hanging, waiting]);
	leaving.abort(new Error("the client left"));
	for (const outcome of await outcomes) {
		expect(outcome).toMatchObject({ status: "rejected", reason: { message: "the client left" } });
	}
	expect(server.texts).not.toContain("waiting");
	// The turns are free again.
	server.usual = (call) => Response.json(answerTo(call));
	expect(await embedder.embed(["a fish"], wanted())).toEqual([expectedVector("a fish")]);
});

test("what waits is bounded", async () => {
	await using server = new EmbeddingServer();
	const { embedder } = rigOf(server);
	const leaving = new AbortController();
	server.usual = () => new Promise<Response>(() => {});
	const all = Array.from(
		{ length: EMBEDDING_LIMITS.callsInFlightMax + EMBEDDING_LIMITS.tenantCallsWaitingMax + 1 },
		(_, index) => embedder.embed([`text ${index}`], wanted({ signal: leaving.signal })),
	);
	const outcomes = Promise.allSettled(all);
	expect((await failureOf(all.at(-1)!)).code).toBe("OVERLOADED");
	leaving.abort(new Error("done"));
	expect((await outcomes).every(({ status }) => status === "rejected")).toBe(true);
});

const ANSWERS_OF_NO_USE: Readonly<Record<string, (call: { input: readonly string[]; model: string }) => Response>> = {
	"no JSON": () => new Response("<html>"),
	"a NaN": () => new Response('{"data":[{"index":0,"embedding":[NaN,1,1,1,1,1,1,1]}]}'),
	"a null": () => Response.json({ data: [{ index: 0, embedding: [null, 1, 1, 1, 1, 1, 1, 1] }] }),
	"a number that is no float32": () => Response.json({ data: [{ index: 0, embedding: [1e300, 1, 1, 1, 1, 1, 1, 1] }] }),
	"an empty vector": () => Response.json({ data: [{ index: 0, embedding: [] }] }),
	"no data": () => Response.json({ model: TEST_MODEL }),
	"too few vectors": () => Response.json({ data: [] }),
	"too many vectors": (call) =>
		Response.json(answerTo({ ...call, input: ["a", "b"], authorization: null, path: "" } as never)),
	"an index of no text": () => Response.json({ data: [{ index: 1, embedding: vectorOfWords("a") }] }),
	"no index": () => Response.json({ data: [{ embedding: vectorOfWords("a") }] }),
	"an endless answer": () =>
		new Response(
			new ReadableStream({
				pull: (controller) => controller.enqueue(new Uint8Array(64 * 1024).fill(32)),
			}),
		),
	"a redirect": () => Response.redirect("http://127.0.0.1:1/", 307),
	"a wrong key": () => Response.json({ error: { message: `Incorrect API key: ${KEY}` } }, { status: 401 }),
	"an unknown model": () => Response.json({ error: { message: "no such model" } }, { status: 404 }),
};

for (const [what, answer] of Object.entries(ANSWERS_OF_NO_USE)) {
	test(`${what} for an answer is INTERNAL, not asked for again, and shows neither key nor address`, async () => {
		await using server = new EmbeddingServer();
		server.usual = answer;
		const { embedder, logged } = rigOf(server);
		const error = await failureOf(embedder.embed(["a fish"], wanted()));
		expect(error.code).toBe("INTERNAL");
		expect(server.calls).toHaveLength(1);
		for (const told of [JSON.stringify(error.toWire()), logged.join()]) {
			expect(told).not.toContain(KEY);
			expect(told).not.toContain(server.url);
		}
		expect(logged).toHaveLength(1);
	});
}

test("an index named twice is refused", async () => {
	await using server = new EmbeddingServer();
	server.usual = () => {
		const embedding = vectorOfWords("a");
		return Response.json({
			data: [
				{ index: 0, embedding },
				{ index: 0, embedding },
			],
		});
	};
	expect((await failureOf(rigOf(server).embedder.embed(["a", "b"], wanted()))).code).toBe("INTERNAL");
});

test("vectors of another length than the collection's are DIMENSION_MISMATCH", async () => {
	await using server = new EmbeddingServer();
	server.usual = (call) => Response.json(answerTo(call, 5));
	const error = await failureOf(rigOf(server).embedder.embed(["a fish"], wanted()));
	expect(error.code).toBe("DIMENSION_MISMATCH");
	expect(error.details).toMatchObject({ expected: TEST_DIMENSION, actual: 5 });
});

test("the collection's model is asked for, and another in its place is refused", async () => {
	await using server = new EmbeddingServer();
	const { embedder } = rigOf(server);
	await embedder.embed(["a fish"], wanted({ model: "older-model" }));
	expect(server.calls[0]!.model).toBe("older-model");
	for (const same of [TEST_MODEL, `${TEST_MODEL}:latest`, `${TEST_MODEL}-v2`, `${TEST_MODEL}-2024-01-25`]) {
		server.script((call) => Response.json(answerTo(call, TEST_DIMENSION, same)));
		expect(await embedder.embed(["a fish"], wanted())).toHaveLength(1);
	}
	for (const other of ["words-16", `${TEST_MODEL}-large`, `${TEST_MODEL}:7b`, "x"]) {
		server.script((call) => Response.json(answerTo(call, TEST_DIMENSION, other)));
		const error = await failureOf(embedder.embed(["a fish"], wanted()));
		expect(error.code).toBe("CONFLICT");
		expect(error.message).toContain(other);
	}
});

test("texts that the model does not take are told from the others", async () => {
	await using server = new EmbeddingServer();
	const usual = server.usual;
	server.usual = (call) =>
		call.input.some((text) => text.startsWith("bad"))
			? Response.json({ error: { message: "too long" } }, { status: 400 })
			: usual(call);
	const { embedder } = rigOf(server);
	const texts = Array.from({ length: 150 }, (_, index) => (index % 37 === 5 ? `bad ${index}` : `good ${index}`));
	const embedded = await embedder.embed(texts, wanted());
	for (const [index, text] of texts.entries()) {
		const found = embedded[index];
		if (text.startsWith("bad")) expect(found).toMatchObject({ code: "VALIDATION_FAILED" });
		else expect(found).toEqual(expectedVector(text));
	}
});

test("the dimension is what the settings say, else the provider is asked once", async () => {
	await using server = new EmbeddingServer();
	const caller = { tenantId: ACME, signal: new AbortController().signal };
	expect(await rigOf(server, { dimension: 77 }).embedder.dimension(caller)).toBe(77);
	expect(server.calls).toHaveLength(0);
	const { embedder } = rigOf(server);
	expect(await embedder.dimension(caller)).toBe(TEST_DIMENSION);
	expect(await embedder.dimension(caller)).toBe(TEST_DIMENSION);
	expect(server.calls).toHaveLength(1);
});

test("the address may end in a slash, or name the endpoint itself, and keeps its query", async () => {
	await using server = new EmbeddingServer();
	for (const url of [`${server.url}/`, `${server.url}/embeddings`, `${server.url}?version=1`]) {
		await rigOf(server, { url, apiKey: undefined }).embedder.embed(["a fish"], wanted());
	}
	expect(server.calls.map(({ path }) => path)).toEqual(["/v1/embeddings", "/v1/embeddings", "/v1/embeddings"]);
	expect(server.calls[0]!.authorization).toBeNull();
});
