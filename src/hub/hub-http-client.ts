import type { z } from "zod";
import type { Clock } from "../base/clock.ts";
import { type ErrorCode, HiveError } from "../base/errors.ts";
import type { ApiKeyId, RandomBytes, TenantId } from "../base/ids.ts";
import { backoffMs, pause } from "./backoff.ts";
import { CallSlots } from "./call-slots.ts";
import { type CallVerdict, CircuitBreaker, CircuitOpenError } from "./circuit-breaker.ts";
import { openDeadline, orAborted } from "./deadline.ts";
import type { HubAge } from "./hub-age.ts";
import { PASSED_ON, readHubAnswer } from "./hub-answer.ts";
import type { HubClient } from "./hub-client-types.ts";
import { HUB_LIMITS } from "./hub-limits.ts";
import type {
	ChangePage,
	CollectionPatch,
	CollectionRecord,
	KeyLookup,
	KeyRecord,
	MintedKey,
	NewCollection,
	NewKey,
	NewTenant,
	Quota,
	TenantPatch,
	TenantRecord,
	Topology,
	UsageReport,
} from "./models.ts";
import {
	acknowledgement,
	changePageAnswer,
	collectionAnswer,
	collectionListAnswer,
	healthAnswer,
	keyAnswer,
	keyListAnswer,
	keyLookupAnswer,
	mintedKeyAnswer,
	quotaOnlyAnswer,
	tenantAnswer,
	tenantPageAnswer,
	topologyAnswer,
} from "./response-schemas.ts";

/** `fetch`, or the embedded hub's `handle`. */
export type HubTransport = (request: Request) => Promise<Response>;

/** What became of a call: `ok`, `refused` (the hub said no) or `unavailable`. */
export type HubCallOutcome = "ok" | "refused" | "unavailable";

export interface HubHttpClientOptions {
	/** `https://hub.example`, with or without `/api/v1`. */
	readonly baseUrl: string;
	readonly serviceKey: string;
	readonly transport: HubTransport;
	/** For one call, its retries included. */
	readonly timeoutSeconds: number;
	/** Attempts after the first, of calls that may be repeated. */
	readonly retries: number;
	/** Calls on their way at the same time; the long poll for changes has a connection of its own. */
	readonly maxConcurrent: number;
	readonly clock: Clock;
	readonly random: RandomBytes;
	/** Absent: whichever hub answers is followed. */
	readonly age?: HubAge | undefined;
	readonly onCall?: (endpoint: string, outcome: HubCallOutcome, seconds: number) => void;
}

interface Call<Schema extends z.ZodType> {
	readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
	/** With names in braces: what metrics call it. */
	readonly endpoint: string;
	readonly path: readonly string[];
	readonly query?: Readonly<Record<string, string>>;
	readonly body?: unknown;
	readonly answer: Schema;
	/** Whether an answer that is well formed is one to this question. */
	readonly fits?: (answer: z.output<Schema>) => boolean;
	/** Sending it twice is as good as once. */
	readonly repeatable: boolean;
	/** For calls that have a connection of their own and are made however the others fare. */
	readonly poll?: {
		/** Time the hub was asked to take. */
		readonly waitSeconds: number;
		readonly signal: AbortSignal;
	};
}

/** `https://hub.example`, of the same with `/api/v1` or slashes behind it. */
export const hubOrigin = (url: string): string => url.replace(/\/+$/, "").replace(/\/api\/v1$/, "");

/**
 * The HiveHub protocol over HTTP. A hub that is away, slow, broken or incomprehensible is HUB_UNAVAILABLE; once it has been so
 * a few times in a row, calls fail without being made until it answers again.
 */
export class HubHttpClient implements HubClient {
	readonly #options: HubHttpClientOptions;
	readonly #baseUrl: string;
	readonly #slots: CallSlots;
	readonly #breaker: CircuitBreaker;

	constructor(options: HubHttpClientOptions) {
		this.#options = options;
		this.#baseUrl = `${hubOrigin(options.baseUrl)}/api/v1`;
		this.#breaker = new CircuitBreaker({ clock: options.clock, random: options.random, judge: verdictOn });
		this.#slots = new CallSlots(options.maxConcurrent);
	}

	health(): Promise<{ readonly status: "ok"; readonly version: string }> {
		return this.#get("/health", ["health"], healthAnswer);
	}

	validateKey(keyHash: string): Promise<KeyLookup | undefined> {
		return absentOn(
			"KEY_NOT_FOUND",
			this.#call({
				method: "POST",
				endpoint: "/keys/validate",
				path: ["keys", "validate"],
				body: { key_hash: keyHash },
				answer: keyLookupAnswer,
				fits: ({ key, tenant }) => key.tenant_id === tenant.id,
				repeatable: true,
			}),
		);
	}

	listTenants(page: {
		limit: number;
		after?: string;
	}): Promise<{ readonly tenants: readonly TenantRecord[]; readonly next: string | null }> {
		const query = { limit: String(page.limit), ...(page.after !== undefined && { after: page.after }) };
		return this.#get("/tenants", ["tenants"], tenantPageAnswer, query);
	}

	createTenant(tenant: NewTenant): Promise<TenantRecord> {
		return this.#send("POST", "/tenants", ["tenants"], tenant, tenantAnswer);
	}

	getTenant(tenantId: TenantId): Promise<TenantRecord | undefined> {
		return absentOn(
			"TENANT_NOT_FOUND",
			this.#call({
				method: "GET",
				endpoint: "/tenants/{id}",
				path: ["tenants", tenantId],
				answer: tenantAnswer,
				fits: (tenant) => tenant.id === tenantId,
				repeatable: true,
			}),
		);
	}

	updateTenant(tenantId: TenantId, patch: TenantPatch): Promise<TenantRecord> {
		return this.#send("PATCH", "/tenants/{id}", ["tenants", tenantId], patch, tenantAnswer);
	}

	async deleteTenant(tenantId: TenantId): Promise<void> {
		await this.#send("DELETE", "/tenants/{id}", ["tenants", tenantId], undefined, acknowledgement);
	}

	getQuota(tenantId: TenantId): Promise<Quota> {
		return this.#get("/tenants/{id}/quota", ["tenants", tenantId, "quota"], quotaOnlyAnswer);
	}

	setQuota(tenantId: TenantId, quota: Quota): Promise<Quota> {
		return this.#send("PUT", "/tenants/{id}/quota", ["tenants", tenantId, "quota"], quota, quotaOnlyAnswer);
	}

	async listKeys(tenantId: TenantId): Promise<readonly KeyRecord[]> {
		return (await this.#get("/tenants/{id}/keys", ["tenants", tenantId, "keys"], keyListAnswer)).keys;
	}

	createKey(tenantId: TenantId, key: NewKey): Promise<MintedKey> {
		return this.#send("POST", "/tenants/{id}/keys", ["tenants", tenantId, "keys"], key, mintedKeyAnswer);
	}

	rotateKey(apiKeyId: ApiKeyId, graceSeconds: number): Promise<MintedKey> {
		const body = { grace_seconds: graceSeconds };
		return this.#send("POST", "/keys/{id}/rotate", ["keys", apiKeyId, "rotate"], body, mintedKeyAnswer);
	}

	revokeKey(apiKeyId: ApiKeyId): Promise<KeyRecord> {
		return this.#send("POST", "/keys/{id}/revoke", ["keys", apiKeyId, "revoke"], undefined, keyAnswer);
	}

	async listCollections(tenantId: TenantId): Promise<readonly CollectionRecord[]> {
		const listed = await this.#call({
			method: "GET",
			endpoint: "/tenants/{id}/collections",
			path: ["tenants", tenantId, "collections"],
			answer: collectionListAnswer,
			fits: ({ collections }) => collections.every((collection) => collection.tenant_id === tenantId),
			repeatable: true,
		});
		return listed.collections;
	}

	createCollection(tenantId: TenantId, collection: NewCollection): Promise<CollectionRecord> {
		const path = ["tenants", tenantId, "collections"];
		return this.#send("POST", "/tenants/{id}/collections", path, collection, collectionAnswer);
	}

	updateCollection(tenantId: TenantId, name: string, patch: CollectionPatch): Promise<CollectionRecord> {
		const path = ["tenants", tenantId, "collections", name];
		return this.#send("PATCH", "/tenants/{id}/collections/{name}", path, patch, collectionAnswer);
	}

	deleteCollection(tenantId: TenantId, name: string): Promise<CollectionRecord> {
		const path = ["tenants", tenantId, "collections", name];
		return this.#send("DELETE", "/tenants/{id}/collections/{name}", path, undefined, collectionAnswer);
	}

	async reportUsage(report: UsageReport): Promise<void> {
		await this.#call({
			method: "POST",
			endpoint: "/usage",
			path: ["usage"],
			body: report,
			answer: acknowledgement,
			// Its sequence lets the hub tell a repetition.
			repeatable: true,
		});
	}

	async sendLogs(entries: readonly Record<string, unknown>[]): Promise<void> {
		await this.#send("POST", "/logs", ["logs"], { entries }, acknowledgement);
	}

	async changes(cursor: number | undefined, waitSeconds: number, signal: AbortSignal): Promise<ChangePage> {
		// Not repeated here: whoever follows the feed has its own way of coming back.
		const query =
			cursor === undefined ? {} : { cursor: String(cursor), wait: String(Math.max(0, Math.floor(waitSeconds))) };
		const page = await this.#call({
			method: "GET",
			endpoint: "/changes",
			path: ["changes"],
			query,
			answer: changePageAnswer,
			repeatable: false,
			poll: { waitSeconds, signal },
		});
		this.#breaker.close();
		const { age } = this.#options;
		// A page that goes on from the last is of the hub that is followed.
		const isAnew = cursor === undefined || page.reset || age?.refusal !== undefined;
		if (isAnew) await age?.check(() => this.getTopology());
		return page;
	}

	getTopology(): Promise<Topology> {
		return this.#get("/topology", ["topology"], topologyAnswer);
	}

	putTopology(topology: Topology): Promise<Topology> {
		return this.#send("PUT", "/topology", ["topology"], topology, topologyAnswer);
	}

	#get<Schema extends z.ZodType>(
		endpoint: string,
		path: readonly string[],
		answer: Schema,
		query: Readonly<Record<string, string>> = {},
	): Promise<z.output<Schema>> {
		return this.#call({ method: "GET", endpoint, path, query, answer, repeatable: true });
	}

	#send<Schema extends z.ZodType>(
		method: "POST" | "PUT" | "PATCH" | "DELETE",
		endpoint: string,
		path: readonly string[],
		body: unknown,
		answer: Schema,
	): Promise<z.output<Schema>> {
		return this.#call({ method, endpoint, path, body, answer, repeatable: false });
	}

	/** The long poll tries its luck whatever became of the last calls: it is how a hub that is back is noticed. */
	async #call<Schema extends z.ZodType>(call: Call<Schema>): Promise<z.output<Schema>> {
		if (call.poll !== undefined) return await this.#attempts(call);
		const refusal = this.#options.age?.refusal;
		if (refusal !== undefined && call.endpoint !== "/topology") throw refusal;
		try {
			return await this.#breaker.run(() => this.#attempts(call));
		} catch (error) {
			if (!(error instanceof CircuitOpenError)) throw error;
			// Of the last call that failed; none while another one finds out whether the hub is back.
			const message = error.cause instanceof HiveError ? error.cause.message : "the hub does not answer";
			throw new HiveError("HUB_UNAVAILABLE", message, { retry_after_seconds: 1 }, { cause: error });
		}
	}

	async #attempts<Schema extends z.ZodType>(call: Call<Schema>): Promise<z.output<Schema>> {
		const { clock, random, retries, onCall } = this.#options;
		const startMs = clock.monotonicMs();
		const timeoutSeconds = this.#timeoutSeconds(call);
		const deadline = openDeadline(timeoutSeconds * 1_000, call.poll?.signal);
		const { signal } = deadline;
		let outcome: HubCallOutcome = "unavailable";
		try {
			for (let attempt = 1; ; attempt++) {
				try {
					const answer = await this.#attempt(call, signal);
					outcome = "ok";
					return answer;
				} catch (error) {
					const failure = asUnavailable(error, deadline.passed() ? timeoutSeconds : undefined);
					if (PASSED_ON.has(failure.code)) outcome = "refused";
					if (!call.repeatable || attempt > retries || signal.aborted || isFinal(failure)) throw failure;
					await pause(backoffMs(attempt, random), signal);
				}
			}
		} finally {
			deadline.end();
			onCall?.(call.endpoint, outcome, (clock.monotonicMs() - startMs) / 1_000);
		}
	}

	#timeoutSeconds({ poll }: Call<z.ZodType>): number {
		const { timeoutSeconds } = this.#options;
		if (poll === undefined) return timeoutSeconds;
		return poll.waitSeconds + Math.min(timeoutSeconds, HUB_LIMITS.pollSpareSecondsMax);
	}

	async #attempt<Schema extends z.ZodType>(call: Call<Schema>, signal: AbortSignal): Promise<z.output<Schema>> {
		const release = call.poll === undefined ? await this.#slots.take(signal) : undefined;
		try {
			signal.throwIfAborted();
			// A transport may ignore the signal, so its promise is raced, not trusted.
			const json = await orAborted(this.#exchange(call, signal), signal);
			const parsed = call.answer.safeParse(json);
			if (!parsed.success) {
				throw new HiveError("HUB_UNAVAILABLE", "the hub's answer makes no sense", undefined, { cause: parsed.error });
			}
			if (call.fits?.(parsed.data) === false) {
				throw new HiveError("HUB_UNAVAILABLE", "the hub's answer is to another question");
			}
			return parsed.data;
		} finally {
			release?.();
		}
	}

	async #exchange(call: Call<z.ZodType>, signal: AbortSignal): Promise<unknown> {
		const query = new URLSearchParams(call.query).toString();
		const path = call.path.map(encodeURIComponent).join("/");
		const headers: Record<string, string> = { authorization: `Bearer ${this.#options.serviceKey}` };
		if (call.body !== undefined) headers["content-type"] = "application/json";
		const request = new Request(`${this.#baseUrl}/${path}${query === "" ? "" : `?${query}`}`, {
			method: call.method,
			headers,
			signal,
			// The service key goes to the hub that was named and to nobody it points at.
			redirect: "error",
			...(call.body !== undefined && { body: JSON.stringify(call.body) }),
		});
		return await readHubAnswer(await this.#options.transport(request));
	}
}

/** A refusal is an answer; and where too many wait at this node, nobody has asked the hub. */
function verdictOn(error: unknown): CallVerdict {
	if (!(error instanceof HiveError) || error.code === "HUB_UNAVAILABLE") return "dead";
	return error.code === "OVERLOADED" ? "unknown" : "alive";
}

async function absentOn<T>(code: ErrorCode, answered: Promise<T>): Promise<T | undefined> {
	try {
		return await answered;
	} catch (error) {
		if (error instanceof HiveError && error.code === code) return undefined;
		throw error;
	}
}

/** What the hub refuses it will refuse a moment later too; and where too many wait already, nobody comes again. */
function isFinal(failure: HiveError): boolean {
	if (failure.code !== "HUB_UNAVAILABLE") return true;
	const status = failure.details?.status;
	return typeof status === "number" && status >= 400 && status < 500 && status !== 429;
}

function asUnavailable(error: unknown, timedOutSeconds: number | undefined): HiveError {
	if (error instanceof HiveError) return error;
	const message =
		timedOutSeconds === undefined
			? "the hub can't be reached"
			: `the hub did not answer within ${timedOutSeconds} seconds`;
	return new HiveError("HUB_UNAVAILABLE", message, undefined, { cause: error });
}
