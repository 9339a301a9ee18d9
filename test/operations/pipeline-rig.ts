import { z } from "zod";
import { AddressLimiter } from "../../src/access/address-limiter.ts";
import { Authenticator } from "../../src/access/authenticator.ts";
import { BruteForceGuard } from "../../src/access/brute-force-guard.ts";
import { RateLimiter } from "../../src/access/rate-limiter.ts";
import type { SignatureVerifier } from "../../src/access/signature-verifier.ts";
import { UsageMeter } from "../../src/access/usage-meter.ts";
import type { HiveError } from "../../src/base/errors.ts";
import type { TenantId } from "../../src/base/ids.ts";
import type { Tenant, TenantUsage } from "../../src/cluster/tenant-types.ts";
import { AuditTrail } from "../../src/operations/audit-trail.ts";
import { LoopTurns } from "../../src/operations/loop-turns.ts";
import type { AnyOperation, NodeServices } from "../../src/operations/node-services.ts";
import { OperationPipeline } from "../../src/operations/pipeline.ts";
import type { Admission, Arrival, PipelineAnswer, PipelineRequest } from "../../src/operations/pipeline-types.ts";
import { TURNSTILE_BOUNDS, Turnstile } from "../../src/operations/turnstile.ts";
import { FakeClock, MemoryDirectory } from "../access/access-fixture.ts";

type Run = AnyOperation["run"];

/** A pipeline over operations whose inside a test writes; everything before them is real. */
export class Rig {
	readonly clock = new FakeClock();
	readonly directory = new MemoryDirectory();
	readonly meter = new UsageMeter(this.clock);
	readonly observed: unknown[][] = [];
	readonly logged: Record<string, unknown>[] = [];
	readonly audited: Record<string, unknown>[] = [];
	isAuditBroken = false;
	isLimiterElsewhere = false;
	usage: () => Promise<TenantUsage> = async () => ({ storageBytes: 70, vectorCount: 1, collectionCount: 1 });
	usageAskedCount = 0;
	readCount = 0;
	run: Run = async (_, input) => input;
	readonly #pipeline: OperationPipeline;

	/** @param signatures none: no key here demands one */
	constructor(signatures = {} as SignatureVerifier) {
		const { clock, directory, observed } = this;
		const observer =
			(name: string) =>
			(...facts: unknown[]) =>
				void observed.push([name, ...facts]);
		const services = {
			clock,
			metricsAdmits: (authorization) => authorization === "Bearer metrics",
		} as Partial<NodeServices> as NodeServices;
		const limiter = new RateLimiter(clock, {
			requests_per_minute: 3,
			requests_per_hour: 100,
			mcp_requests_per_minute: 1,
		});
		const audit = new AuditTrail({
			record: async (event, until) => {
				if (until === "synced" && this.isAuditBroken) throw new Error("the disk is full");
				this.audited.push({ ...event, until });
			},
		});
		this.#pipeline = new OperationPipeline({
			operations: this.#operations(),
			authenticator: new Authenticator(directory, clock, {
				guard: new BruteForceGuard(clock, { failures: 3, windowSeconds: 60, blockSeconds: 300 }),
				signatures,
				onBlocked: (remoteAddress) => audit.blocked(remoteAddress, 300),
			}),
			limiter: {
				// As where another node keeps the buckets.
				take: (payer, protocol) => {
					const decision = limiter.take(payer, protocol);
					return this.isLimiterElsewhere ? Promise.resolve(decision) : decision;
				},
				settle: (payer) => limiter.settle(payer),
			},
			addressLimiter: new AddressLimiter(clock),
			meter: this.meter,
			tenants: {
				tenant: (id) => this.#tenant(id),
				dropTenant: async () => {},
			},
			turnstile: new Turnstile({
				bounds: {
					...TURNSTILE_BOUNDS,
					streams: { ...TURNSTILE_BOUNDS.streams, perTenant: { countMax: 1, bytesMax: Number.POSITIVE_INFINITY } },
				},
				monotonicMs: () => clock.monotonicMs(),
				repeat: () => () => {},
			}),
			loopTurns: new LoopTurns(setImmediate),
			audit,
			services,
			observer: {
				countRequest: observer("request"),
				countAuthentication: observer("authentication"),
				countAuthFailure: observer("auth failure"),
				countRateLimitExceeded: observer("rate limit"),
				countQuotaExceeded: observer("quota"),
			},
			log: { error: (fields) => void this.logged.push(fields) },
		});
	}

	#tenant(id: TenantId): Tenant {
		return {
			id,
			recentUsage: () => {
				this.usageAskedCount++;
				return this.usage();
			},
		} as Partial<Tenant> as Tenant;
	}

	#operations(): AnyOperation[] {
		const made = (name: string, more: Partial<AnyOperation>): AnyOperation => ({
			name,
			summary: name,
			scope: "tenant",
			permissions: ["ADMIN", "READ_WRITE"],
			input: z.strictObject({ count: z.int().optional() }),
			output: z.unknown(),
			rest: { method: "POST", path: `/${name}`, status: 201 },
			run: (context, input) => this.run(context, input),
			...more,
		});
		return [
			made("things.make", {}),
			made("things.stream", { rest: { method: "GET", path: "/stream", answer: "ndjson" } }),
			made("things.manage", {
				scope: "admin",
				permissions: ["ADMIN"],
				input: z.strictObject({ tenant_id: z.string().optional(), key_id: z.string().optional() }),
				rest: { method: "POST", path: "/tenants/{tenant_id}/things/{key_id}" },
			}),
			made("things.look", { scope: "admin", permissions: ["ADMIN"], rest: { method: "GET", path: "/look" } }),
			made("things.told", { scope: "public", permissions: [], audit: "hub.webhook" }),
			made("things.open", { scope: "public", permissions: [], addressRequestsPerMinute: 2 }),
			made("things.unlimited", { scope: "public", permissions: [] }),
			made("things.doored", {
				scope: "admin",
				permissions: ["ADMIN"],
				admits: (services, authorization) => services.metricsAdmits(authorization),
			}),
		];
	}

	arrival(key: string | undefined, more: Partial<Arrival> = {}): Arrival {
		return {
			credentials: key === undefined ? {} : { authorization: `Bearer ${key}` },
			requestId: "req_1",
			remoteAddress: "192.0.2.7",
			message: { method: "POST", url: "http://node.test/", headers: new Headers() },
			protocol: "rest",
			...more,
		};
	}

	admit(
		key: string | undefined,
		more: Partial<Arrival> = {},
		stay: "message" | "connection" = "message",
	): Promise<Admission> {
		return this.#pipeline.admit(this.arrival(key, more), stay);
	}

	send(operation: string, key: string | undefined, more: Partial<PipelineRequest> = {}): Promise<PipelineAnswer> {
		return this.#pipeline.execute({
			...this.arrival(key),
			operation,
			bodyBytes: 0,
			signal: new AbortController().signal,
			readInput: async () => {
				this.readCount++;
				return {};
			},
			...more,
		});
	}

	async refusal(...sent: Parameters<Rig["send"]>): Promise<HiveError> {
		const answer = await this.send(...sent);
		if (answer.ok) throw new Error("it was not refused");
		return answer.error;
	}

	observedOf(name: string): unknown[][] {
		return this.observed.filter(([observedName]) => observedName === name).map(([, ...facts]) => facts);
	}
}
