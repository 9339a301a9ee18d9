import { connect } from "node:net";
import { z } from "zod";
import type { BodyCheck } from "../../src/access/message-signature.ts";
import type { RestOperation } from "../../src/api/rest/rest-route.ts";
import { createRestServer, type RestServer, type RestSettings } from "../../src/api/rest/rest-server.ts";
import type { Mount } from "../../src/api/wire/mount.ts";
import { HiveError } from "../../src/base/errors.ts";
import { systemRandom } from "../../src/base/ids.ts";
import type { Log } from "../../src/observe/log.ts";
import type { AnswerFacts, PipelineAnswer, PipelineRequest } from "../../src/operations/pipeline-types.ts";

export type Run = (input: Record<string, unknown>, request: PipelineRequest) => unknown;

export interface TestOperation extends RestOperation {
	readonly run: Run;
}

/** An operation with as little as a test needs to say. */
export function operation(
	name: string,
	rest: RestOperation["rest"],
	input: z.ZodType,
	run: Run = (given) => given,
	more: Partial<RestOperation> = {},
): TestOperation {
	return {
		name,
		summary: `Does ${name}`,
		scope: "tenant",
		permissions: ["READ_WRITE"],
		input,
		output: z.unknown(),
		rest,
		run,
		...more,
	};
}

export interface LogLine {
	readonly level: string;
	readonly facts: Record<string, unknown>;
	readonly message: string;
}

export interface TestServer {
	readonly url: string;
	readonly port: number;
	readonly server: RestServer;
	/** What reached the pipeline, in order. */
	readonly requests: PipelineRequest[];
	readonly log: LogLine[];
	/** Facts of all answers to come, besides the request id. */
	facts: Omit<AnswerFacts, "requestId">;
	/** Thrown before the input is read. */
	refusal: HiveError | undefined;
	/** As if every request were signed. */
	checkBody: BodyCheck | undefined;
	fetch(path: string, init?: RequestInit): Promise<Response>;
}

export const MAX_BODY_BYTES = 200_000;

/** A server on a free port, over a pipeline that validates and runs and knows no callers. */
export function startServer(
	operations: readonly TestOperation[],
	settings: Partial<RestSettings> = {},
	mounts: readonly Mount[] = [],
): TestServer {
	const requests: PipelineRequest[] = [];
	const log: LogLine[] = [];
	const write = (level: string) => (facts: unknown, message?: unknown) => {
		log.push({ level, facts: facts as Record<string, unknown>, message: String(message) });
	};
	const byName = new Map(operations.map((each) => [each.name, each]));
	const execute = async (request: PipelineRequest): Promise<PipelineAnswer> => {
		requests.push(request);
		const facts = { requestId: request.requestId, ...test.facts };
		try {
			if (test.refusal !== undefined) throw test.refusal;
			const { input, run } = byName.get(request.operation)!;
			const parsed = input.safeParse(await request.readInput(test.checkBody));
			if (!parsed.success) {
				const [issue] = parsed.error.issues;
				const field = issue!.code === "unrecognized_keys" ? issue!.keys[0]! : issue!.path.join(".");
				throw new HiveError("VALIDATION_FAILED", issue!.message, { field });
			}
			return { ok: true, output: await run(parsed.data as Record<string, unknown>, request), facts };
		} catch (error) {
			if (!(error instanceof HiveError)) throw error;
			return { ok: false, error, facts };
		}
	};
	const server = createRestServer({
		operations,
		mounts,
		pipeline: { execute },
		settings: { host: "127.0.0.1", port: 0, maxBodyBytes: MAX_BODY_BYTES, ...settings },
		log: Object.fromEntries(
			["trace", "debug", "info", "warn", "error", "fatal"].map((level) => [level, write(level)]),
		) as unknown as Log,
		random: systemRandom,
		version: "1.2.3",
	});
	const address = server.start();
	const test: TestServer = {
		url: address.url,
		port: address.port,
		server,
		requests,
		log,
		facts: {},
		refusal: undefined,
		checkBody: undefined,
		fetch: (path, init) => fetch(address.url + path, init),
	};
	return test;
}

/** A connection that sends what no client library would. */
export class RawClient {
	readonly #socket;
	readonly #waiting: { test: (text: string) => boolean; resolve: () => void }[] = [];
	#text = "";
	readonly closed: Promise<void>;

	constructor(port: number) {
		this.#socket = connect(port, "127.0.0.1");
		this.#socket.on("data", (bytes) => {
			this.#text += bytes.toString("latin1");
			this.#check();
		});
		// A reset is a way of closing here.
		this.#socket.on("error", () => {});
		this.closed = new Promise((resolve) => {
			this.#socket.on("close", () => resolve());
		});
		void this.closed.then(() => {
			for (const { resolve } of this.#waiting.splice(0)) resolve();
		});
	}

	send(...parts: (string | Uint8Array)[]): this {
		for (const part of parts) this.#socket.write(part);
		return this;
	}

	/** All that came, once it passes the test or the connection is closed. */
	async until(test: (text: string) => boolean): Promise<string> {
		if (!test(this.#text)) {
			await new Promise<void>((resolve) => {
				this.#waiting.push({ test, resolve });
			});
		}
		return this.#text;
	}

	#check(): void {
		for (let index = this.#waiting.length - 1; index >= 0; index--) {
			if (!this.#waiting[index]!.test(this.#text)) continue;
			this.#waiting.splice(index, 1)[0]!.resolve();
		}
	}

	forget(): this {
		this.#text = "";
		return this;
	}

	pause(): void {
		this.#socket.pause();
	}

	resume(): void {
		this.#socket.resume();
	}

	/** Closes without a word, as a client does that was killed. */
	drop(): void {
		this.#socket.destroy();
	}
}

/** The answer to one raw request, and the connection's end. */
export async function rawAnswer(port: number, head: string, body: string | Uint8Array = ""): Promise<string> {
	const client = new RawClient(port);
	client.send(`${head}\r\nHost: localhost\r\nConnection: close\r\n\r\n`, body);
	const text = await client.until(() => false);
	client.drop();
	return text;
}

export const statusOf = (answer: string): number => Number(answer.slice(9, 12));
export const bodyOf = (answer: string): string => answer.slice(answer.indexOf("\r\n\r\n") + 4);

/** Resolves when it is called. */
export function signalled<T = void>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
	return Promise.withResolvers<T>();
}
