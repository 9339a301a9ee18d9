/** What is written to the audit log. The closed list of events; more may be added, none renamed. */
export type AuditEventName =
	/** A caller could not prove who they are; `code` tells why. */
	| "auth.failed"
	/** An address failed too often and is shut out for a while. */
	| "auth.blocked"
	/** So many authentication failures came that they were counted instead of written one by one. */
	| "auth.failures_suppressed"
	/** Someone without the right to it named another tenant. */
	| "tenant.cross_access"
	/** An admin acted inside a tenant by naming it. */
	| "tenant.impersonated"
	/** An admin operation, done or refused; `operation` names it. */
	| "admin.action"
	/** A caller lacked a permission. */
	| "access.forbidden"
	| "quota.exceeded"
	| "rate_limit.exceeded"
	/** The hub made, changed, rotated or revoked a key, whoever asked it to. */
	| "key.changed"
	/** The hub made, changed, suspended or deleted a tenant, its quota and limits included. */
	| "tenant.changed"
	/** What HiveHub pushed. */
	| "hub.webhook"
	/** As `auth.failures_suppressed`, of another event, which `details.event` names. */
	| "audit.events_suppressed"
	/** At its start the log was not as it was left: a line was torn, entries or the head were missing. */
	| "audit.recovered";

/** Whoever did it, and what came of it. No field may hold a key, a secret, a vector or a payload. */
export interface AuditEvent {
	readonly event: AuditEventName;
	/** `ok`: done. `refused`: not allowed. `failed`: allowed, and went wrong. */
	readonly outcome: "ok" | "refused" | "failed";
	/** The tenant it happened to. */
	readonly tenant_id?: string;
	/** The key that was used, and its own tenant where that is another. */
	readonly api_key_id?: string;
	readonly actor_tenant_id?: string;
	readonly operation?: string;
	/** An error code. */
	readonly code?: string;
	readonly request_id?: string;
	readonly remote_address?: string;
	readonly details?: Readonly<Record<string, string | number | boolean | null>>;
}

/** An event as it stands in the log. */
export interface AuditEntry extends AuditEvent {
	/** Rises by one an entry, over all files. */
	readonly seq: number;
	/** RFC 3339, UTC, milliseconds. */
	readonly time: string;
	/** Lower-case hex SHA-256 of the entry before, and of this one without `hash`. */
	readonly prev: string;
	readonly hash: string;
}

export interface AuditQuery {
	/** RFC 3339 times; `since` inclusive, `until` exclusive. */
	readonly since?: string;
	readonly until?: string;
	readonly tenantId?: string;
	readonly event?: string;
	/** 1..1,000 */
	readonly limit: number;
	/** Entries before this `seq`, as the page before said. */
	readonly before?: number;
}

export interface AuditPage {
	/** Newest first. */
	readonly entries: readonly AuditEntry[];
	/** Pass as `before` for older ones; null: there are none. */
	readonly next: number | null;
}

export interface AuditProblem {
	readonly file: string;
	/** From 1; 0: the file as a whole. */
	readonly line: number;
	readonly problem: string;
}

export interface AuditVerification {
	readonly intact: boolean;
	readonly entries: number;
	readonly files: number;
	readonly first_seq: number | null;
	readonly last_seq: number | null;
	/** At most 100. */
	readonly problems: readonly AuditProblem[];
}

/** Where events go. */
export interface AuditSink {
	/**
	 * @param until `synced`: the entry is on disk when the promise settles; `queued`: it is written soon, in order, and the
	 *        promise settles at once.
	 * @throws what the disk said, for `synced` alone
	 */
	record(event: AuditEvent, until: "queued" | "synced"): Promise<void>;
}

export interface AuditReader {
	list(query: AuditQuery): Promise<AuditPage>;
	verify(): Promise<AuditVerification>;
}
