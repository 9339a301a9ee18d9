import type { AuditEvent, AuditSink } from "../access/audit/audit-types.ts";
import type { Identity } from "../access/authenticator.ts";
import { ERROR_TABLE, HiveError } from "../base/errors.ts";
import type { HubChange } from "../hub/models.ts";
import type { AnyOperation } from "./node-services.ts";
import type { Arrival } from "./pipeline-types.ts";

/** What is known of a request when it is time to write it down. */
export interface AuditedRequest {
	readonly arrival: Arrival;
	readonly operation: AnyOperation | undefined;
	/** The operation's name, or what else the request came to. */
	readonly label: string;
	/** undefined: who asked was not found out. */
	readonly identity: Identity | undefined;
	/** Validated; undefined where it was not read. */
	readonly input: unknown;
}

/** Which requests go to the audit log, as what, and whether their answer waits for the disk. */
export class AuditTrail {
	readonly #sink: AuditSink;

	/** @param sink sums what could flood it, so that a limit met a thousand times fills no disk */
	constructor(sink: AuditSink) {
		this.#sink = sink;
	}

	/**
	 * Notes a request that did what it should. Settles at once unless an admin changed something: then when that is on disk.
	 *
	 * @throws INTERNAL when it was done and could not be written down
	 */
	done(audited: AuditedRequest, output: unknown): Promise<void> | undefined {
		const named = audited.operation?.audit;
		if (named !== undefined) return this.#queue({ ...originOf(audited), event: named, outcome: "ok" });
		const event = adminEventOf(audited);
		if (event === undefined) return undefined;
		const created = createdKeyOf(output);
		return this.#recordAdmin(audited, {
			...event,
			outcome: "ok",
			...(created !== undefined && { details: { ...event.details, created_api_key_id: created } }),
		});
	}

	/** Notes a request that was refused or failed, if that is worth an entry. @throws as `done` */
	refused(audited: AuditedRequest, error: HiveError): Promise<void> | undefined {
		const { code } = error;
		const outcome = ERROR_TABLE[code].http >= 500 ? "failed" : "refused";
		if (audited.identity === undefined) {
			// Whoever is shut out was written down when that began.
			if (!isAuthFailure(error) || code === "AUTH_RATE_LIMIT") return undefined;
			return this.#queue({ ...originOf(audited), event: "auth.failed", outcome: "refused", code });
		}
		const isAdmin = audited.identity.permissions.has("ADMIN");
		const about = { ...originOf(audited), outcome, code } as const;
		if (code === "TENANT_NOT_FOUND" && !isAdmin) return this.#queue({ ...about, event: "tenant.cross_access" });
		if (code === "FORBIDDEN") return this.#queue({ ...about, event: "access.forbidden" });
		if (code === "RATE_LIMITED") return this.#queue({ ...about, event: "rate_limit.exceeded" });
		if (code === "QUOTA_EXCEEDED") {
			const quota = error.details?.quota;
			return this.#queue({
				...about,
				event: "quota.exceeded",
				...(typeof quota === "string" && { details: { quota } }),
			});
		}
		const event = adminEventOf(audited);
		return event === undefined ? undefined : this.#recordAdmin(audited, { ...event, outcome, code });
	}

	/** The hub changed a record, whoever asked it to. A change may be told twice after a crash. */
	hubChanged(change: HubChange): void {
		if (change.kind === "key") {
			const { record } = change;
			void this.#queue({
				event: "key.changed",
				outcome: "ok",
				tenant_id: change.tenant_id,
				details: {
					cursor: change.cursor,
					...(record === null
						? { deleted: true }
						: {
								changed_api_key_id: record.api_key_id,
								rotation_status: record.rotation_status,
								expires_at: record.expires_at,
							}),
				},
			});
		} else if (change.kind === "tenant") {
			const { record } = change;
			void this.#queue({
				event: "tenant.changed",
				outcome: "ok",
				tenant_id: change.tenant_id,
				details: {
					cursor: change.cursor,
					...(record === null ? { deleted: true } : { active: record.active, ...record.quota, ...record.rate_limits }),
				},
			});
		}
	}

	/** An address is shut out from now on. */
	blocked(remoteAddress: string, blockSeconds: number): void {
		void this.#queue({
			event: "auth.blocked",
			outcome: "refused",
			remote_address: remoteAddress,
			details: { block_seconds: blockSeconds },
		});
	}

	#queue(event: AuditEvent): Promise<void> {
		return this.#sink.record(event, "queued");
	}

	async #recordAdmin({ operation }: AuditedRequest, event: AuditEvent): Promise<void> {
		if (operation !== undefined && isRead(operation)) return await this.#queue(event);
		try {
			await this.#sink.record(event, "synced");
		} catch (cause) {
			const message =
				event.outcome === "ok"
					? "what was asked is done, but could not be written to the audit log"
					: "what was asked was refused, which could not be written to the audit log";
			throw new HiveError("INTERNAL", message, undefined, { cause });
		}
	}
}

/** What counts as a failure to prove who one is. */
export const isAuthFailure = (error: HiveError): boolean =>
	ERROR_TABLE[error.code].http === 401 ||
	error.code === "AUTH_IP_DENIED" ||
	error.code === "AUTH_RATE_LIMIT" ||
	error.code === "TENANT_SUSPENDED" ||
	error.code === "HUB_UNAVAILABLE";

/** Whoever may only read may do it. */
const isRead = ({ rest, permissions }: AnyOperation): boolean =>
	rest.method === "GET" || permissions.includes("READ_ONLY");

function originOf({ arrival, label, identity }: AuditedRequest): Omit<AuditEvent, "event" | "outcome"> {
	const key = identity?.key;
	return {
		...(identity !== undefined && { tenant_id: identity.tenant.id }),
		...(key !== undefined && { api_key_id: key.api_key_id }),
		...(identity !== undefined &&
			identity.homeTenantId !== identity.tenant.id && { actor_tenant_id: identity.homeTenantId }),
		operation: label,
		request_id: arrival.requestId,
		remote_address: arrival.remoteAddress,
	};
}

/** What an admin does to the node, or inside a tenant that is not their own. */
function adminEventOf(audited: AuditedRequest): Omit<AuditEvent, "outcome"> | undefined {
	const { operation, identity, input } = audited;
	if (operation === undefined || identity?.permissions.has("ADMIN") !== true) return undefined;
	const isElsewhere = identity.homeTenantId !== identity.tenant.id;
	if (operation.scope !== "admin" && !isElsewhere) return undefined;
	const named = targetsOf(operation, input);
	const { tenant_id: targetTenant, ...details } = named;
	const origin = originOf(audited);
	return {
		...origin,
		event: isElsewhere ? "tenant.impersonated" : "admin.action",
		...(targetTenant !== undefined && { tenant_id: targetTenant, actor_tenant_id: identity.homeTenantId }),
		...(Object.keys(details).length > 0 && { details }),
	};
}

/** The names in an operation's address: which tenant, key or collection it was about. */
function targetsOf(operation: AnyOperation, input: unknown): Record<string, string> {
	const targets: Record<string, string> = {};
	if (typeof input !== "object" || input === null) return targets;
	const fields = input as Readonly<Record<string, unknown>>;
	for (const [, field = ""] of operation.rest.path.matchAll(/\{(\w+)\}/g)) {
		const value = fields[field];
		if (typeof value === "string" || typeof value === "number") targets[field] = String(value);
	}
	// A tenant in the making has its name in the body.
	if (operation.name === "tenants.create" && typeof fields.id === "string") targets.tenant_id = fields.id;
	return targets;
}

function createdKeyOf(output: unknown): string | undefined {
	if (typeof output !== "object" || output === null || !("api_key" in output) || !("api_key_id" in output))
		return undefined;
	return String(output.api_key_id);
}
