import type { z } from "zod";
import type { TenantId } from "../../base/ids.ts";
import { HUB_LIMITS } from "../hub-limits.ts";
import type { Topology } from "../models.ts";
import type { usageQuerySchema, usageReportSchema } from "../request-schemas.ts";
import type { HubDatabase, SqlRunner } from "./hub-database.ts";
import { tenantNotFound } from "./tenant-store.ts";

type UsageReportInput = z.output<typeof usageReportSchema>;

/** What all nodes reported of one tenant: counts since the tenant was made, and what its nodes hold now. */
export interface UsageTotals {
	readonly tenant_id: string;
	readonly requests: number;
	readonly vectors_written: number;
	readonly searches: number;
	readonly storage_bytes: number;
	readonly vectors: number;
	/** null: nothing was reported yet. */
	readonly period_start: string | null;
	readonly period_end: string | null;
}

interface TotalsRow {
	readonly tenant_id: string;
	readonly requests: number | string | null;
	readonly vectors_written: number | string | null;
	readonly searches: number | string | null;
	readonly storage_bytes: number | string | null;
	readonly vectors: number | string | null;
	readonly period_start_ms: number | string | null;
	readonly period_end_ms: number | string | null;
}

/** What tenants used, as the nodes report it. */
export class UsageStore {
	readonly #database: HubDatabase;

	constructor(database: HubDatabase) {
		this.#database = database;
	}

	/**
	 * Counts a report exactly once, however often it is sent. Entries of tenants that are gone are left out, or one deletion
	 * would hold up a node's reports for good; so are those of a tenant that had the name before.
	 *
	 * @returns true when it had been counted before.
	 */
	async record(report: UsageReportInput): Promise<boolean> {
		return await this.#database.write(async ({ sql }) => {
			const [last] = await sql<{ sequence: number | string | null }[]>`
				SELECT MAX(sequence) AS sequence FROM usage_reports WHERE node_id = ${report.node_id}`;
			const lastSequence = Number(last?.sequence ?? 0);
			const forgottenTo = lastSequence - HUB_LIMITS.usageSequencesKept;
			if (report.sequence <= forgottenTo) return true;
			const inserted = await sql<{ sequence: number | string }[]>`
				INSERT INTO usage_reports (node_id, sequence) VALUES (${report.node_id}, ${report.sequence})
				ON CONFLICT (node_id, sequence) DO NOTHING RETURNING sequence`;
			if (inserted.length === 0) return true;
			await sql`
				DELETE FROM usage_reports WHERE node_id = ${report.node_id}
				AND sequence <= ${report.sequence - HUB_LIMITS.usageSequencesKept}`;
			// The last report of a node may come after it has left, when others hold what it held.
			const holdsNothing = await isRetired(sql, report.node_id);
			for (const entry of report.entries) {
				await addEntry(sql, report.node_id, holdsNothing ? { ...entry, storage_bytes: 0, vectors: 0 } : entry);
			}
			for (const key of report.keys ?? []) {
				const usedAtMs = Date.parse(key.last_used_at);
				await sql`
					UPDATE api_keys SET last_used_at_ms = ${usedAtMs}
					WHERE id = ${key.api_key_id} AND (last_used_at_ms IS NULL OR last_used_at_ms < ${usedAtMs})`;
			}
			return false;
		});
	}

	/** Totals in the order of tenant ids; `next` continues. @throws TENANT_NOT_FOUND when one tenant is asked for. */
	async totals(
		query: z.output<typeof usageQuerySchema>,
	): Promise<{ readonly usage: readonly UsageTotals[]; readonly next: string | null }> {
		// One tenant, or a page of them: the same statement, with bounds that leave in the one or the many.
		const rows = await this.#database.read(
			(sql) => sql<TotalsRow[]>`
				SELECT t.id AS tenant_id, SUM(u.requests) AS requests, SUM(u.vectors_written) AS vectors_written,
					SUM(u.searches) AS searches, SUM(u.storage_bytes) AS storage_bytes, SUM(u.vectors) AS vectors,
					MIN(u.period_start_ms) AS period_start_ms, MAX(u.period_end_ms) AS period_end_ms
				FROM tenants t LEFT JOIN usage_totals u ON u.tenant_id = t.id
				WHERE t.id = ${query.tenant_id ?? ""} OR (${query.tenant_id === undefined ? 1 : 0} = 1 AND t.id > ${query.after})
				GROUP BY t.id ORDER BY t.id LIMIT ${query.limit + 1}`,
		);
		if (query.tenant_id !== undefined && rows.length === 0) throw tenantNotFound(query.tenant_id);
		const usage = rows.slice(0, query.limit).map(totalsOfRow);
		return { usage, next: rows.length > query.limit ? usage.at(-1)!.tenant_id : null };
	}
}

/** Nodes have left: what they held others hold by now. What happened on them stays counted. */
export async function dropStoredAmounts(sql: SqlRunner, nodeIds: readonly string[]): Promise<void> {
	for (const nodeId of nodeIds) {
		await sql`UPDATE usage_totals SET storage_bytes = 0, vectors = 0 WHERE node_id = ${nodeId}`;
	}
}

async function isRetired(sql: SqlRunner, nodeId: string): Promise<boolean> {
	const [row] = await sql<{ retired: string }[]>`SELECT retired FROM topology`;
	return (JSON.parse(row!.retired) as Topology["retired"]).some(({ node_id }) => node_id === nodeId);
}

async function addEntry(sql: SqlRunner, nodeId: string, entry: UsageReportInput["entries"][number]): Promise<void> {
	const startMs = Date.parse(entry.period_start);
	const endMs = Date.parse(entry.period_end);
	const tenantId: TenantId = entry.tenant_id;
	const [tenant] = await sql<{ created_at_ms: number | string }[]>`
		SELECT created_at_ms FROM tenants WHERE id = ${tenantId}`;
	if (tenant === undefined) return;
	// Counted for a tenant of that name that is gone by now.
	const isOfAnother =
		entry.tenant_created_at !== undefined && Date.parse(entry.tenant_created_at) !== Number(tenant.created_at_ms);
	if (isOfAnother) return;
	// Reports may arrive in any order: counts add up all the same, and of what lies on disk the latest period knows best.
	await sql`
		INSERT INTO usage_totals (
			tenant_id, node_id, requests, vectors_written, searches, storage_bytes, vectors, period_start_ms, period_end_ms
		) VALUES (
			${tenantId}, ${nodeId}, ${entry.requests}, ${entry.vectors_written}, ${entry.searches},
			${entry.storage_bytes}, ${entry.vectors}, ${startMs}, ${endMs}
		)
		ON CONFLICT (tenant_id, node_id) DO UPDATE SET
			requests = usage_totals.requests + excluded.requests,
			vectors_written = usage_totals.vectors_written + excluded.vectors_written,
			searches = usage_totals.searches + excluded.searches,
			storage_bytes = CASE WHEN excluded.period_end_ms >= usage_totals.period_end_ms
				THEN excluded.storage_bytes ELSE usage_totals.storage_bytes END,
			vectors = CASE WHEN excluded.period_end_ms >= usage_totals.period_end_ms
				THEN excluded.vectors ELSE usage_totals.vectors END,
			period_start_ms = CASE WHEN excluded.period_start_ms < usage_totals.period_start_ms
				THEN excluded.period_start_ms ELSE usage_totals.period_start_ms END,
			period_end_ms = CASE WHEN excluded.period_end_ms > usage_totals.period_end_ms
				THEN excluded.period_end_ms ELSE usage_totals.period_end_ms END`;
}

function totalsOfRow(row: TotalsRow): UsageTotals {
	const instant = (ms: number | string | null): string | null =>
		ms === null ? null : new Date(Number(ms)).toISOString();
	return {
		tenant_id: row.tenant_id,
		requests: Number(row.requests ?? 0),
		vectors_written: Number(row.vectors_written ?? 0),
		searches: Number(row.searches ?? 0),
		storage_bytes: Number(row.storage_bytes ?? 0),
		vectors: Number(row.vectors ?? 0),
		period_start: instant(row.period_start_ms),
		period_end: instant(row.period_end_ms),
	};
}
