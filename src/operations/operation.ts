import type { z } from "zod";
import type { AuditEventName } from "../access/audit/audit-types.ts";
import type { TenantId } from "../base/ids.ts";
import type { Permission } from "../base/schemas.ts";
import type { Tenant } from "../cluster/tenant-types.ts";
import type { KeyRecord, TenantRecord } from "../hub/models.ts";

/** Who is asking, as the pipeline found out. `key` is absent in single-tenant mode without a key. */
export interface Caller {
	readonly key?: KeyRecord;
	/** The tenant the key belongs to. */
	readonly homeTenantId: TenantId;
	/** The tenant acted in: the home tenant, or the one an admin named in `X-Tenant-ID`. */
	readonly tenant: TenantRecord;
	readonly permissions: ReadonlySet<Permission>;
}

/**
 * What `run` receives: the tenant's handle, who asks, and the services of the node for admin operations. Where nobody had to
 * authenticate there is neither tenant nor caller: touching them is a defect, and throws.
 */
export interface OperationContext<Services> {
	readonly tenant: Tenant;
	readonly caller: Caller;
	readonly requestId: string;
	/** Aborted when the client went away. */
	readonly signal: AbortSignal;
	readonly services: Services;
}

/** `public`: no key. `tenant`: within one tenant. `admin`: ADMIN only, over the whole node or cluster. */
export type OperationScope = "public" | "tenant" | "admin";

/**
 * One thing hive-vector can do, defined once. REST routes, GraphQL fields, MCP tools, OpenAPI and the permission tests
 * come from this table; a protocol adds nothing to it.
 */
export interface Operation<Services, InputSchema extends z.ZodType, Output> {
	/** `collections.create`: noun, dot, verb. Also the `operation` label of metrics and audit lines. */
	readonly name: string;
	readonly summary: string;
	readonly description?: string;
	readonly scope: OperationScope;
	/** Any one of these suffices. Empty for public operations. */
	readonly permissions: readonly Permission[];
	/** Strict: unknown fields are refused. */
	readonly input: InputSchema;
	/** For OpenAPI and tool schemas; tests hold real answers against it. */
	readonly output: z.ZodType;
	readonly rest: RestBinding;
	/** Public operations may be called this often a minute from one client address; absent: without limit. */
	readonly addressRequestsPerMinute?: number;
	/** The event that a success is in the audit log, besides what every admin's work is. */
	readonly audit?: AuditEventName;
	/** Another way in than a key: true lets the request pass as if the operation were public. */
	admits?(services: Services, authorization: string | undefined): boolean;
	run(context: OperationContext<Services>, input: z.output<InputSchema>): Promise<Output>;
}

/** Where an operation stands in REST: how path, query and body become its input. */
export interface RestBinding {
	readonly method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
	/** `/collections/{collection}/vectors/{id}`: under `/api/v1` unless `root`. Names in braces are input fields. */
	readonly path: string;
	readonly root?: boolean;
	/** Input fields taken from the query string. */
	readonly query?: readonly string[];
	/** Input fields taken from headers: field to header, `{signature: "webhook-signature"}`; absent headers are absent fields. */
	readonly headers?: Readonly<Record<string, string>>;
	/**
	 * `json`: the body's fields are input fields (JSON or msgpack). `ndjson`: a stream, given as input field `lines`.
	 * `text`: the body as it came, as input field `body`, of any content type.
	 */
	readonly body?: "json" | "ndjson" | "text";
	readonly status?: 200 | 201 | 202;
	/** `json`, or `ndjson`: the output is an async iterable of objects, one a line; `text`, `html`: a string. */
	readonly answer?: "json" | "ndjson" | "text" | "html";
}
