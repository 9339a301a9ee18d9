import type { AddressLimiter } from "../access/address-limiter.ts";
import type { Authenticator, Identity } from "../access/authenticator.ts";
import { isOffered, requirePermission } from "../access/permissions.ts";
import type { Protocol, RateLimitDecision, RateLimitPayer } from "../access/rate-limiter.ts";
import type { UsageMeter } from "../access/usage-meter.ts";
import { ERROR_TABLE, HiveError } from "../base/errors.ts";
import type { TenantId } from "../base/ids.ts";
import type { Tenant, TenantSource } from "../cluster/tenant-types.ts";
import { type AuditTrail, isAuthFailure } from "./audit-trail.ts";
import { inputError } from "./input-errors.ts";
import type { LoopTurns } from "./loop-turns.ts";
import type { AnyOperation, NodeServices } from "./node-services.ts";
import type { Caller, OperationContext } from "./operation.ts";
import type { AnswerFacts, Pipeline, PipelineAnswer, PipelineRequest } from "./pipeline-types.ts";
import { StorageFacts } from "./storage-facts.ts";
import type { Turnstile } from "./turnstile.ts";

/** Told of what happens, for metrics. Must not throw. */
export interface PipelineObserver {
	/** @param tenantId absent where the caller was not found out. */
	countRequest(tenantId: string | undefined, operation: string, status: number, seconds: number): void;
	countAuthentication(seconds: number): void;
	/** @param reason an error code. */
	countAuthFailure(reason: string): void;
	countRateLimitExceeded(tenantId: string): void;
	/** @param quota `storage`, `vectors` or `collections`. */
	countQuotaExceeded(tenantId: string, quota: string): void;
}

export interface PipelineLog {
	error(fields: Readonly<Record<string, unknown>>, message: string): void;
}

/** What the pipeline needs of rate limits. */
export interface RequestLimiter {
	/** To be settled before the request is answered. @throws NO_QUORUM, OVERLOADED */
	take(payer: RateLimitPayer, protocol: Protocol): RateLimitDecision | Promise<RateLimitDecision>;
	/** Brings to disk what the payer has spent. */
	settle(payer: RateLimitPayer): void;
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

type MutableFacts = { -readonly [K in keyof AnswerFacts]: AnswerFacts[K] };

/** What became known of a request on its way. */
interface Passage {
	readonly request: PipelineRequest;
	readonly operation: AnyOperation | undefined;
	readonly facts: MutableFacts;
	identity: Identity | undefined;
	/** Once it is validated. */
	input: unknown;
	/** Whether it got as far as running: before that it may cost next to nothing. */
	isAdmitted: boolean;
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

	constructor(parts: PipelineParts) {
		this.#parts = parts;
		this.#operations = new Map(parts.operations.map((operation) => [operation.name, operation]));
	}

	async execute(request: PipelineRequest): Promise<PipelineAnswer> {
		const { services, observer } = this.#parts;
		const startMs = services.clock.monotonicMs();
		const operation = this.#operations.get(request.operation);
		const passage: Passage = {
			request,
			operation,
			facts: { requestId: request.requestId },
			identity: undefined,
			input: undefined,
			isAdmitted: false,
		};
		let answer: PipelineAnswer;
		try {
			if (operation === undefined || !isOffered(operation, request.protocol)) {
				throw new HiveError("NOT_FOUND", "there is no such operation");
			}
			const entered = this.#enter(operation, passage);
			const context = entered instanceof Promise ? await entered : entered;
			passage.isAdmitted = true;
			const output = await this.#inTurn(operation, context, passage);
			await this.#addStorage(passage);
			const audited = this.#audited(passage, (audit) => audit.done(passage, output));
			const unaudited = audited instanceof Promise ? await audited : audited;
			answer =
				unaudited === undefined
					? { ok: true, output, facts: passage.facts }
					: { ok: false, error: unaudited, facts: passage.facts };
		} catch (thrown) {
			const error = this.#errorOf(thrown, passage);
			await this.#addStorage(passage);
			const audited = this.#audited(passage, (audit) => audit.refused(passage, error));
			const unaudited = audited instanceof Promise ? await audited : audited;
			answer = { ok: false, error: unaudited ?? error, facts: passage.facts };
		}
		this.#settle(passage);
		const status = answer.ok ? (operation?.rest.status ?? 200) : ERROR_TABLE[answer.error.code].http;
		const seconds = (services.clock.monotonicMs() - startMs) / 1000;
		observer.countRequest(passage.facts.tenantId, operation?.name ?? "unknown", status, seconds);
		return answer;
	}

	/** Reads, validates and runs, when it is the tenant's turn. */
	async #inTurn(operation: AnyOperation, context: OperationContext<NodeServices>, passage: Passage): Promise<unknown> {
		const { request, identity } = passage;
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
			const input = operation.input.safeParse(await request.readInput(identity?.checkBody, turn));
			if (!input.success) throw inputError(input.error);
			passage.input = input.data;
			const output = await operation.run(context, input.data);
			if (!isStream) return output;
			streams = true;
			return this.#guarded(output as AsyncIterable<unknown>, passage, leave);
		} finally {
			if (!streams) leave();
		}
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
		this.#parts.limiter.settle(payerOf(identity));
	}

	/** All checks that need no body. Synchronous while the key is cached and rate-limit tokens are at hand. */
	#enter(
		operation: AnyOperation,
		passage: Passage,
	): OperationContext<NodeServices> | Promise<OperationContext<NodeServices>> {
		const { request } = passage;
		const { services, authenticator, addressLimiter, observer } = this.#parts;
		const { authorization } = request.credentials;
		if (operation.scope === "public" || operation.admits?.(services, authorization) === true) {
			const limitPerMinute = operation.addressRequestsPerMinute;
			if (limitPerMinute !== undefined) {
				const refused = addressLimiter.take(operation.name, request.remoteAddress, limitPerMinute);
				if (refused !== undefined) throw refused.refusal;
			}
			return new OpenContext(request, services);
		}
		const refusal = this.#parts.refusal?.();
		if (refusal !== undefined) throw refusal;
		const startMs = services.clock.monotonicMs();
		const admit = (identity: Identity): OperationContext<NodeServices> | Promise<OperationContext<NodeServices>> => {
			observer.countAuthentication((services.clock.monotonicMs() - startMs) / 1000);
			this.#learn(identity, passage);
			// Whoever names a tenant that is none for them pays as for any other request.
			const charge = async (refusal: unknown): Promise<never> => {
				await this.#takeToken(identity, passage);
				throw refusal;
			};
			let acting: Identity | Promise<Identity>;
			try {
				acting = authenticator.actIn(identity, request.actingTenant);
			} catch (refusal) {
				return charge(refusal);
			}
			return acting instanceof Promise
				? acting.catch(charge).then((found) => this.#admit(operation, found, passage))
				: this.#admit(operation, acting, passage);
		};
		const found = authenticator.identify(request.credentials, request);
		return found instanceof Promise ? found.then(admit) : admit(found);
	}

	#learn(identity: Identity, passage: Passage): void {
		passage.identity = identity;
		passage.facts.tenantId = identity.tenant.id;
		if (identity.keyDeprecatedUntil !== undefined) passage.facts.keyDeprecatedUntil = identity.keyDeprecatedUntil;
	}

	#admit(
		operation: AnyOperation,
		identity: Identity,
		passage: Passage,
	): OperationContext<NodeServices> | Promise<OperationContext<NodeServices>> {
		this.#learn(identity, passage);
		// First, so that what is refused costs the caller as much as what is done.
		const taken = this.#takeToken(identity, passage);
		return taken instanceof Promise
			? taken.then(() => this.#admitPaid(operation, identity, passage))
			: this.#admitPaid(operation, identity, passage);
	}

	#admitPaid(operation: AnyOperation, identity: Identity, { request }: Passage): OperationContext<NodeServices> {
		const { meter, tenants, services } = this.#parts;
		requirePermission(identity.permissions, operation, request.protocol);
		meter.countRequest(identity.tenant.id, identity.key?.api_key_id, identity.tenant.created_at);
		return new CallerContext(identity, request, services, tenants);
	}

	/** @throws RATE_LIMITED, NO_QUORUM, OVERLOADED */
	#takeToken(identity: Identity, passage: Passage): void | Promise<void> {
		const decision = this.#parts.limiter.take(payerOf(identity), passage.request.protocol);
		return decision instanceof Promise
			? decision.then((decided) => this.#requireTaken(decided, identity, passage))
			: this.#requireTaken(decision, identity, passage);
	}

	/** @throws RATE_LIMITED */
	#requireTaken(decision: RateLimitDecision, identity: Identity, { facts }: Passage): void {
		if (decision.facts !== undefined) facts.rateLimit = decision.facts;
		if (decision.refusal === undefined) return;
		this.#parts.observer.countRateLimitExceeded(identity.homeTenantId);
		throw decision.refusal;
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

	#logDefect(err: unknown, { request, facts }: Passage): void {
		const fields = { request_id: request.requestId, operation: request.operation, tenant_id: facts.tenantId, err };
		this.#parts.log.error(fields, "an operation failed for a reason that is no one's input");
	}
}

/** An admin's work in a tenant is charged to the admin's own tenant. */
const payerOf = ({ homeTenant, key }: Identity): RateLimitPayer =>
	key === undefined ? { tenant: homeTenant } : { tenant: homeTenant, key };

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

/** For whoever proved who they are. The tenant's handle is made when it is asked for. */
class CallerContext implements OperationContext<NodeServices> {
	readonly caller: Caller;
	readonly requestId: string;
	readonly services: NodeServices;
	readonly #request: PipelineRequest;
	readonly #tenantId: TenantId;
	readonly #tenants: TenantSource;
	#tenant: Tenant | undefined;

	constructor(identity: Identity, request: PipelineRequest, services: NodeServices, tenants: TenantSource) {
		this.caller = identity;
		this.requestId = request.requestId;
		this.#request = request;
		this.services = services;
		this.#tenantId = identity.tenant.id;
		this.#tenants = tenants;
	}

	/** Made when asked for: most operations never look. */
	get signal(): AbortSignal {
		return this.#request.signal;
	}

	get tenant(): Tenant {
		this.#tenant ??= this.#tenants.tenant(this.#tenantId);
		return this.#tenant;
	}
}

/** Where nobody had to say who they are, there is no tenant to work in. */
class OpenContext implements OperationContext<NodeServices> {
	readonly requestId: string;
	readonly services: NodeServices;
	readonly #request: PipelineRequest;

	constructor(request: PipelineRequest, services: NodeServices) {
		this.requestId = request.requestId;
		this.#request = request;
		this.services = services;
	}

	get signal(): AbortSignal {
		return this.#request.signal;
	}

	get tenant(): never {
		throw new Error("a public operation has no tenant");
	}

	get caller(): never {
		throw new Error("a public operation has no caller");
	}
}
