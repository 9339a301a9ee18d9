import { readFileSync } from "node:fs";
import type { RequestMessage } from "../../src/access/message-signature.ts";
import { toWireValue } from "../../src/api/wire/wire-value.ts";
import { type Clock, systemClock } from "../../src/base/clock.ts";
import type { HiveError } from "../../src/base/errors.ts";
import { type RunningNode, startNode } from "../../src/node/node.ts";
import type { ImportLine } from "../../src/operations/import-run.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import type { PipelineAnswer } from "../../src/operations/pipeline-types.ts";
import { Workshop } from "../node/node-fixture.ts";

/** Real time, with a wall clock that can be set. */
export class MovableClock implements Clock {
	offsetMs = 0;

	nowMs(): number {
		return systemClock.nowMs() + this.offsetMs;
	}

	monotonicMs(): number {
		return systemClock.monotonicMs();
	}
}

export interface CallOptions {
	readonly key?: string | undefined;
	readonly actingTenant?: string;
	readonly protocol?: "rest" | "graphql" | "mcp";
	readonly remoteAddress?: string;
	readonly signal?: AbortSignal;
	/** What was signed, and the body as it came. */
	readonly message?: RequestMessage;
	readonly body?: Uint8Array;
}

// biome-ignore lint/suspicious/noExplicitAny: whatever an operation answers; each test looks at what it needs.
export type Output = any;
export type Input = Readonly<Record<string, unknown>>;

const WITHOUT_LIMITS = {
	HIVE_VECTOR_RATE_LIMITS_REQUESTS_PER_MINUTE: "1000000",
	HIVE_VECTOR_RATE_LIMITS_REQUESTS_PER_HOUR: "1000000",
	HIVE_VECTOR_RATE_LIMITS_MCP_REQUESTS_PER_MINUTE: "1000000",
	HIVE_VECTOR_AUTH_BRUTE_FORCE_FAILURES: "1000000",
};

/** A whole node of several tenants in this process, called through its pipeline. */
export class OperationsNode {
	readonly clock = new MovableClock();
	readonly workshop = new Workshop();
	node!: RunningNode;
	adminKey!: string;
	#addressCount = 0;

	static async start(env: Record<string, string> = {}): Promise<OperationsNode> {
		const made = new OperationsNode();
		const settings = made.workshop.settings(made.workshop.newDataDir(), {
			HIVE_VECTOR_CLUSTER_ENABLED: "true",
			HIVE_VECTOR_SERVER_WORKERS: "1",
			...WITHOUT_LIMITS,
			...env,
		});
		made.node = await startNode(settings, { ...(await made.workshop.parts()), clock: made.clock });
		made.adminKey = made.node.adminKeyPath === undefined ? "" : readFileSync(made.node.adminKeyPath, "utf8").trim();
		return made;
	}

	async stop(): Promise<void> {
		await this.node.stop();
		await this.workshop.clear();
	}

	/** Answers are held against the operation's schema, in the form in which they travel; streams are left to the caller. */
	async call(operation: string, input: Input, options: CallOptions = {}): Promise<PipelineAnswer> {
		const answer = await this.node.pipeline.execute({
			operation,
			credentials: options.key === undefined ? {} : { authorization: `Bearer ${options.key}` },
			...(options.actingTenant !== undefined && { actingTenant: options.actingTenant }),
			requestId: "req_test",
			// Each call from elsewhere: limits by address have tests of their own.
			remoteAddress: options.remoteAddress ?? `10.0.${this.#addressCount >> 8}.${this.#addressCount++ & 255}`,
			message: options.message ?? { method: "POST", url: "http://node.test/", headers: new Headers() },
			bodyBytes: options.body?.length ?? 0,
			protocol: options.protocol ?? "rest",
			signal: options.signal ?? new AbortController().signal,
			readInput: async (checkBody) => {
				checkBody?.(options.body ?? new Uint8Array(0));
				return input;
			},
		});
		const known = OPERATIONS.find(({ name }) => name === operation);
		if (!answer.ok || known === undefined || known.rest.answer === "ndjson") return answer;
		return { ...answer, output: known.output.parse(toWireValue(answer.output)) };
	}

	/** What an admitted call answers; a stream whole, each line held against the schema. */
	async ask(operation: string, input: Input, options: CallOptions = {}): Promise<Output> {
		const answer = await this.call(operation, input, options);
		if (!answer.ok) throw answer.error;
		const { rest, output } = OPERATIONS.find(({ name }) => name === operation)!;
		if (rest.answer !== "ndjson") return answer.output;
		const lines: Output[] = [];
		for await (const line of answer.output as AsyncIterable<unknown>) {
			lines.push(output.parse(toWireValue(line)));
		}
		return lines;
	}

	/** The error that a call is refused with. */
	async refusal(operation: string, input: Input, options: CallOptions = {}): Promise<HiveError> {
		const answer = await this.call(operation, input, options);
		if (!answer.ok) return answer.error;
		throw new Error(`${operation} was not refused`);
	}

	asAdmin(operation: string, input: Input, actingTenant?: string): Promise<Output> {
		return this.ask(operation, input, { key: this.adminKey, ...(actingTenant !== undefined && { actingTenant }) });
	}

	/** @returns a key of a tenant, which is made unless it is there. */
	async newKey(tenant_id: string, permissions: readonly string[] = ["READ_WRITE"], more: Input = {}): Promise<Output> {
		return this.asAdmin("keys.create", { tenant_id, permissions, ...more });
	}

	/** A tenant with a key that reads and writes. */
	async newTenant(id: string, more: Input = {}): Promise<TenantCalls> {
		await this.asAdmin("tenants.create", { id, ...more });
		return this.callsWith((await this.newKey(id)).api_key);
	}

	callsWith(key: string): TenantCalls {
		return {
			key,
			ask: (operation, input) => this.ask(operation, input, { key }),
			refusal: (operation, input) => this.refusal(operation, input, { key }),
		};
	}
}

/** Calls with one key. */
export interface TenantCalls {
	readonly key: string;
	ask(operation: string, input: Input): Promise<Output>;
	refusal(operation: string, input: Input): Promise<HiveError>;
}

/** Lines as an adapter reads them. */
export async function* linesOf(texts: Iterable<string>): AsyncGenerator<ImportLine> {
	let line = 0;
	for (const text of texts) yield { line: ++line, text };
}

/** Whatever a call throws, at once or later. */
export async function thrownBy(call: () => unknown): Promise<unknown> {
	try {
		await call();
	} catch (error) {
		return error;
	}
	throw new Error("nothing was thrown");
}
