import type { AddressLimiter } from "../access/address-limiter.ts";
import { type Authenticator, type Identity, unsignable } from "../access/authenticator.ts";
import { isOffered, requirePermission, requireWayIn } from "../access/permissions.ts";
import type { Protocol } from "../access/rate-limiter.ts";
import type { UsageMeter } from "../access/usage-meter.ts";
import { ERROR_TABLE, HiveError } from "../base/errors.ts";
import { permissionSchema } from "../base/schemas.ts";
import type { TenantSource } from "../cluster/tenant-types.ts";
import { type AuditTrail, isAuthFailure } from "./audit-trail.ts";
import { Door, type RequestLimiter } from "./door.ts";
import { inputError } from "./input-errors.ts";
import type { LoopTurns } from "./loop-turns.ts";
import type { AnyOperation, NodeServices } from "./node-services.ts";
import type { OperationContext } from "./operation.ts";
import { CallerContext, OpenContext } from "./operation-contexts.ts";
import { newPassage, type Passage } from "./passage.ts";
import type {
	Admission,
	AnswerFacts,
	Arrival,
	Call,
	Pipeline,
	PipelineAnswer,
	PipelineObserver,
	PipelineRequest,
	Visit,
} from "./pipeline-types.ts";
import { StorageFacts } from "./storage-facts.ts";
import type { Turnstile } from "./turnstile.ts";
import { CallerVisit, noSuchOperation } from "./visit.ts";

export interface PipelineLog {
	error(fields: Readonly<Record<string, unknown>>, message: string): void;
}

export interface PipelineParts {
	readonly operations: readonly AnyOperation[];
	readonly authenticator: Authenticator;
	readonly limiter: RequestLimiter;
	readonly addressLimiter: AddressLimiter;
	readonly meter: UsageMeter;
	readonly tenants: TenantSource;
	readonly turnstile: Turnstile;
	readonly loopTurns: LoopTurns;
	/** undefined: the audit log is switched off. */
	readonly audit: AuditTrail | undefined;
	/** Why the node takes no requests now, but for public ones; undefined: it does. */
	readonly refusal?: () => HiveError | undefined;
	readonly services: NodeServices;
	readonly observer: PipelineObserver;
	readonly log: PipelineLog;
}

/** Whoever needs no key has no tenant whose turn it could be. */
const nobodyWaits = (): void => {};
const UNAVAILABLE_RETRY_SECONDS = 1;
/** Room comes only when somebody deletes or an operator raises the quota, which a node notices within about a minute. */
const QUOTA_RETRY_SECONDS = 60;

/**
 * The one way through: authenticate → authorise → rate limit → wait for one's turn → read and validate → run → meter →
 * audit. Quotas are enforced beneath, by the gate that stands before every write of a `Tenant`. Whatever is refused was
 * refused before its body was read.
 */
export class OperationPipeline implements Pipeline {
	readonly #parts: PipelineParts;
	readonly #operations: ReadonlyMap<string, AnyOperation>;
	readonly #storageFacts = new StorageFacts();
	readonly #door: Door;

	constructor(parts: PipelineParts) {
		this.#parts = parts;
		this.#operations = new Map(parts.operations.map((operation) => [operation.name, operation]));
		this.#door = new Door(parts);
	}

	execute(request: PipelineRequest): Promise<PipelineAnswer> {
		const operation = this.#offered(request.operation, request.protocol);
		const passage = newPassage(request, operation, operation?.name ?? "unknown");
		return this.#counted(passage, async () => {
			if (operation === undefined) throw noSuchOperation();
			const entered = this.#enter(operation, passage, request);
			const context = entered instanceof Promise ? await entered : entered;
			passage.isAdmitted = true;
			return await this.#inTurn(operation, context, passage, request);
		});
	}

	async admit(arrival: Arrival, stay: "message" | "connection"): Promise<Admission> {
		const passage = newPassage(arrival, undefined, arrival.protocol);
		const startMs = this.#parts.services.clock.monotonicMs();
		let identity: Identity | undefined;
		const answer = await this.#answered(passage, async () => {
			identity = await this.#door.enter(passage);
			requireWayIn(identity.permissions, permissionSchema.options, arrival.protocol);
			if (stay === "connection" && identity.checkBody !== undefined) throw unsignable();
		});
		if (answer.ok) return { ok: true, visit: this.#visit(arrival, identity!, answer.facts) };
		this.#count(passage, answer, startMs);
		return answer;
	}

	#visit(arrival: Arrival, identity: Identity, facts: AnswerFacts): Visit {
		const { turnstile } = this.#parts;
		return new CallerVisit(arrival, identity, facts, {
			door: this.#door,
			turnstile,
			offered: (name) => this.#offered(name, arrival.protocol),
			errorOf: (thrown, passage) => this.#errorOf(thrown, passage),
			counted: (passage, work) => this.#counted(passage, work),
			runPaid: async (passage, operation, visitor, call) => {
				const context = this.#admit(operation, visitor, passage, call);
				passage.isAdmitted = true;
				const output = await this.#validated(operation, context, passage, call);
				if (operation.rest.answer !== "ndjson") return output;
				return this.#guarded(output as AsyncIterable<unknown>, passage, nobodyWaits);
			},
		});
	}

	#offered(name: string, protocol: Protocol): AnyOperation | undefined {
		const operation = this.#operations.get(name);
		return operation !== undefined && isOffered(operation, protocol) ? operation : undefined;
	}

	/** Does the work, and all that comes after. */
	async #counted(passage: Passage, work: () => Promise<unknown>): Promise<PipelineAnswer> {
		const startMs = this.#parts.services.clock.monotonicMs();
		const answer = await this.#answered(passage, work);
		this.#count(passage, answer, startMs);
		return answer;
	}

	#count({ facts, operation, label }: Passage, answer: PipelineAnswer, startMs: number): void {
		const { services, observer } = this.#parts;
		const status = answer.ok ? (operation?.rest.status ?? 200) : ERROR_TABLE[answer.error.code].http;
		observer.countRequest(facts.tenantId, label, status, (services.clock.monotonicMs() - startMs) / 1000);
	}

	async #answered(passage: Passage, work: () => Promise<unknown>): Promise<PipelineAnswer> {
		const { facts } = passage;
		let answer: PipelineAnswer;
		try {
			const output = await work();
			await this.#addStorage(passage);
			const audited = this.#audited(passage, (audit) => audit.done(passage, output));
			const unaudited = audited instanceof Promise ? await audited : audited;
			answer = unaudited === undefined ? { ok: true, output, facts } : { ok: false, error: unaudited, facts };
		} catch (thrown) {
			const error = this.#errorOf(thrown, passage);
			await this.#addStorage(passage);
			const audited = this.#audited(passage, (audit) => audit.refused(passage, error));
			const unaudited = audited instanceof Promise ? await audited : audited;
			answer = { ok: false, error: unaudited ?? error, facts };
		}
		this.#settle(passage);
		return answer;
	}

	/** Reads, validates and runs, when it is the tenant's turn. */
	async #inTurn(
		operation: AnyOperation,
		context: OperationContext<NodeServices>,
		passage: Passage,
		request: PipelineRequest,
	): Promise<unknown> {
		const { identity } = passage;
		const { turnstile } = this.#parts;
		const isStream = operation.rest.answer === "ndjson";
		const entered =
			identity === undefined
				? nobodyWaits
				: isStream
					? turnstile.enterStream(identity.tenant.id)
					: turnstile.enter(identity.tenant.id, request.bodyBytes);
		const leave = entered instanceof Promise ? await entered : entered;
		let streams = false;
		try {
			const turn =
				isStream && identity !== undefined ? () => this.#parts.loopTurns.next(identity.tenant.id) : undefined;
			const output = await this.#validated(operation, context, passage, request, turn);
			if (!isStream) return output;
			streams = true;
			return this.#guarded(output as AsyncIterable<unknown>, passage, leave);
		} finally {
			if (!streams) leave();
		}
	}

	async #validated(
		operation: AnyOperation,
		context: OperationContext<NodeServices>,
		passage: Passage,
		call: Call,
		turn?: () => Promise<void>,
	): Promise<unknown> {
		const input = operation.input.safeParse(await call.readInput(passage.identity?.checkBody, turn));
		if (!input.success) throw inputError(input.error);
		passage.input = input.data;
		return await operation.run(context, input.data);
	}

	/**
	 * Synchronous but for what has to be in the audit log before it is answered.
	 *
	 * @returns what to answer instead, when that could not be put there.
	 */
	#audited(
		passage: Passage,
		write: (audit: AuditTrail) => Promise<void> | undefined,
	): HiveError | undefined | Promise<HiveError | undefined> {
		const { audit } = this.#parts;
		if (audit === undefined) return undefined;
		const failed = (thrown: unknown): HiveError => this.#errorOf(thrown, passage);
		try {
			return write(audit)?.then(() => undefined, failed);
		} catch (thrown) {
			return failed(thrown);
		}
	}

	/** Nothing is answered that a crash would have forgotten. */
	#settle({ identity }: Passage): void {
		if (identity === undefined) return;
		this.#parts.meter.settle(identity.tenant.id);
		this.#door.settle(identity);
	}

	/** All checks that need no body. Synchronous while the key is cached and rate-limit tokens are at hand. */
	#enter(
		operation: AnyOperation,
		passage: Passage,
		request: PipelineRequest,
	): OperationContext<NodeServices> | Promise<OperationContext<NodeServices>> {
		const { services, addressLimiter } = this.#parts;
		const { authorization } = request.credentials;
		if (operation.scope === "public" || operation.admits?.(services, authorization) === true) {
			const limitPerMinute = operation.addressRequestsPerMinute;
			if (limitPerMinute !== undefined) {
				const refused = addressLimiter.take(operation.name, request.remoteAddress, limitPerMinute);
				if (refused !== undefined) throw refused.refusal;
			}
			return new OpenContext(request.requestId, request, services);
		}
		const entered = this.#door.enter(passage);
		return entered instanceof Promise
			? entered.then((identity) => this.#admit(operation, identity, passage, request))
			: this.#admit(operation, entered, passage, request);
	}

	/** @throws FORBIDDEN */
	#admit(operation: AnyOperation, identity: Identity, passage: Passage, call: Call): OperationContext<NodeServices> {
		const { meter, tenants, services } = this.#parts;
		requirePermission(identity.permissions, operation, passage.arrival.protocol);
		meter.countRequest(identity.tenant.id, identity.key?.api_key_id, identity.tenant.created_at);
		return new CallerContext(identity, passage.facts.requestId, call, services, tenants);
	}

	async #addStorage({ identity, facts, isAdmitted }: Passage): Promise<void> {
		if (identity === undefined) return;
		const { tenant } = identity;
		const source = this.#parts.tenants;
		const usedBytes = await this.#storageFacts.usedBytes(
			tenant.id,
			() => source.tenant(tenant.id).recentUsage(),
			isAdmitted,
		);
		if (usedBytes !== undefined) facts.storage = { usedBytes, quotaBytes: tenant.quota.max_storage_bytes };
	}

	/**
	 * The error to answer with. What is no HiveError is a defect: it is logged, and the answer says nothing of it. An
	 * INTERNAL that a floor threw itself (a full disk, damaged data) is logged too and answers in that floor's words.
	 */
	#errorOf(thrown: unknown, passage: Passage): HiveError {
		const { observer } = this.#parts;
		const { facts } = passage;
		if (!(thrown instanceof HiveError)) {
			this.#logDefect(thrown, passage);
			return new HiveError("INTERNAL", "internal error; the log tells more under this request id", undefined, {
				cause: thrown,
			});
		}
		if (thrown.code === "INTERNAL") this.#logDefect(thrown, passage);
		if (passage.identity === undefined && isAuthFailure(thrown)) observer.countAuthFailure(thrown.code);
		if (thrown.code === "QUOTA_EXCEEDED" && facts.tenantId !== undefined) {
			observer.countQuotaExceeded(facts.tenantId, quotaName(thrown));
		}
		const retryAfterSeconds = retrySecondsOf(thrown);
		if (retryAfterSeconds !== undefined) facts.retryAfterSeconds = retryAfterSeconds;
		return thrown;
	}

	/** A stream fails after its answer has begun: its errors pass the same door. It leaves when it ends, however that is. */
	#guarded(output: AsyncIterable<unknown>, passage: Passage, leave: () => void): AsyncIterable<unknown> {
		return {
			[Symbol.asyncIterator]: () => {
				const lines = output[Symbol.asyncIterator]();
				return {
					next: async () => {
						try {
							const line = await lines.next();
							if (line.done) leave();
							return line;
						} catch (thrown) {
							leave();
							throw this.#errorOf(thrown, passage);
						}
					},
					// A generator that was never started would not reach its own `finally`.
					return: async (value) => {
						leave();
						return (await lines.return?.(value)) ?? { done: true, value };
					},
				};
			},
		};
	}

	#logDefect(err: unknown, { label, facts }: Passage): void {
		const fields = { request_id: facts.requestId, operation: label, tenant_id: facts.tenantId, err };
		this.#parts.log.error(fields, "an operation failed for a reason that is no one's input");
	}
}

/** When it may go better, where that can be said. */
function retrySecondsOf({ code, details }: HiveError): number | undefined {
	const told = details?.retry_after_seconds;
	if (typeof told === "number") return told;
	if (code === "QUOTA_EXCEEDED") return QUOTA_RETRY_SECONDS;
	return ERROR_TABLE[code].http === 503 ? UNAVAILABLE_RETRY_SECONDS : undefined;
}

/** `max_storage_bytes` is `storage`. */
function quotaName(error: HiveError): string {
	const quota = error.details?.quota;
	return typeof quota === "string" ? (/^max_([a-z]+)/.exec(quota)?.[1] ?? quota) : "unknown";
}
