import { z } from "zod";
import type { AuditEntry, AuditReader } from "../access/audit/audit-types.ts";
import { HiveError } from "../base/errors.ts";
import { tenantIdSchema } from "../base/schemas.ts";
import { definedFields } from "./input-fields.ts";
import { type AnyOperation, defineOperation, type NodeServices } from "./node-services.ts";

const PAGE_DEFAULT = 100;
const PAGE_MAX = 1_000;
const TIME_LENGTH_MAX = 64;
const EVENTS_LENGTH_MAX = 500;

const auditEntrySchema = z.strictObject({
	seq: z.int().describe("rises by one an entry, over all files"),
	time: z.string(),
	event: z.string(),
	outcome: z.enum(["ok", "refused", "failed"]),
	tenant_id: z.string().optional().describe("the tenant it happened to"),
	api_key_id: z.string().optional(),
	actor_tenant_id: z.string().optional().describe("the tenant of the key, where that is another"),
	operation: z.string().optional(),
	code: z.string().optional().describe("an error code"),
	request_id: z.string().optional(),
	remote_address: z.string().optional(),
	details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])).optional(),
	prev: z.string().describe("hash of the entry before"),
	hash: z.string().describe("SHA-256 of the entry without `hash`, as canonical JSON (RFC 8785)"),
});

const auditPageSchema = z.strictObject({
	entries: z.array(auditEntrySchema).describe("newest first"),
	next_cursor: z.string().nullable().describe("null: there are no older entries; a page may be short before that"),
});

interface AuditPageAnswer {
	readonly entries: readonly AuditEntry[];
	readonly next_cursor: string | null;
}

function auditOf(services: NodeServices): AuditReader {
	if (services.audit === undefined) throw new HiveError("NOT_FOUND", "the audit log is off: audit.enabled is false");
	return services.audit;
}

const listAudit = defineOperation({
	name: "audit.list",
	summary: "List entries of the audit log, newest first, page by page",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({
		since: z.string().max(TIME_LENGTH_MAX).optional().describe("RFC 3339 time; from then on"),
		until: z.string().max(TIME_LENGTH_MAX).optional().describe("RFC 3339 time; before then"),
		tenant_id: tenantIdSchema.optional().describe("the tenant it happened to, or whose key did it"),
		event: z
			.string()
			.max(EVENTS_LENGTH_MAX)
			.regex(/^[a-z_.]+(,[a-z_.]+)*$/, "names of events or the part before the dot, with commas between")
			.optional()
			.describe("`auth.failed`, all that begins with `auth.`: `auth`, or several: `auth,admin.action`"),
		limit: z.int().min(1).max(PAGE_MAX).default(PAGE_DEFAULT),
		cursor: z
			.string()
			.regex(/^\d{1,15}$/, "give `next_cursor` of the page before")
			.optional()
			.describe("`next_cursor` of the page before"),
	}),
	output: auditPageSchema,
	rest: { method: "GET", path: "/audit", query: ["since", "until", "tenant_id", "event", "limit", "cursor"] },
	async run({ services }, input): Promise<AuditPageAnswer> {
		const { since, until, event, limit } = input;
		const before = input.cursor === undefined ? undefined : Number(input.cursor);
		const filter = definedFields({ since, until, event, before, tenantId: input.tenant_id });
		const { entries, next } = await auditOf(services).list({ ...filter, limit });
		return { entries, next_cursor: next === null ? null : String(next) };
	},
});

const verifyAudit = defineOperation({
	name: "audit.verify",
	summary: "Check the audit log's chain of hashes from its oldest entry to its newest",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({}),
	output: z.strictObject({
		intact: z.boolean(),
		entries: z.int(),
		files: z.int(),
		first_seq: z.int().nullable(),
		last_seq: z.int().nullable(),
		problems: z
			.array(
				z.strictObject({
					file: z.string(),
					line: z.int().describe("from 1; 0: the file as a whole"),
					problem: z.string(),
				}),
			)
			.describe("at most 100"),
	}),
	rest: { method: "GET", path: "/audit/verification" },
	run: ({ services }) => auditOf(services).verify(),
});

export const AUDIT_OPERATIONS: readonly AnyOperation[] = [listAudit, verifyAudit];
