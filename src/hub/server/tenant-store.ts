import type { z } from "zod";
import type { Clock } from "../../base/clock.ts";
import { HiveError } from "../../base/errors.ts";
import { DEFAULT_TENANT, SYSTEM_TENANT, type TenantId } from "../../base/ids.ts";
import type { Quota, RateLimits, TenantRecord } from "../models.ts";
import type { newTenantSchema, tenantPatchSchema } from "../request-schemas.ts";
import type { HubDatabase, HubTransaction, SqlRunner } from "./hub-database.ts";

/** BIGINT columns are numbers on SQLite and text on PostgreSQL. */
type BigIntColumn = number | string;

interface TenantRow {
	readonly id: string;
	readonly name: string;
	readonly active: BigIntColumn;
	readonly max_storage_bytes: BigIntColumn | null;
	readonly max_vectors: BigIntColumn | null;
	readonly max_collections: BigIntColumn | null;
	readonly rate_limits: string | null;
	readonly metadata: string;
	readonly created_at_ms: BigIntColumn;
	readonly revision: BigIntColumn;
	readonly api_keys_count: BigIntColumn;
}

const RESERVED_TENANTS: ReadonlySet<string> = new Set([SYSTEM_TENANT, DEFAULT_TENANT]);
const UNLIMITED: Quota = { max_storage_bytes: null, max_vectors: null, max_collections: null };
/** Operators' tools poll and sweep, so the nodes' default limits would be in their way. */
const SYSTEM_RATE_LIMITS: RateLimits = {
	requests_per_minute: 100_000,
	requests_per_hour: 1_000_000,
	mcp_requests_per_minute: 10_000,
};

export const tenantNotFound = (tenantId: string): HiveError =>
	new HiveError("TENANT_NOT_FOUND", "there is no such tenant", { tenant_id: tenantId });

/** The tenants of a hub. */
export class TenantStore {
	readonly #database: HubDatabase;
	readonly #clock: Clock;

	constructor(database: HubDatabase, clock: Clock) {
		this.#database = database;
		this.#clock = clock;
	}

	/** At most `limit` tenants in the order of their ids, after the id `after`; `next` continues, null at the end. */
	async list(page: {
		limit: number;
		after: string;
	}): Promise<{ readonly tenants: readonly TenantRecord[]; readonly next: string | null }> {
		const nowMs = this.#clock.nowMs();
		const rows = await this.#database.read(
			(sql) => sql<TenantRow[]>`
				SELECT t.*, (
					SELECT COUNT(*) FROM api_keys k WHERE k.tenant_id = t.id AND k.rotation_status <> 'revoked'
					AND (k.expires_at_ms IS NULL OR k.expires_at_ms > ${nowMs})
				) AS api_keys_count
				FROM tenants t WHERE t.id > ${page.after} ORDER BY t.id LIMIT ${page.limit + 1}`,
		);
		const tenants = rows.slice(0, page.limit).map(tenantOfRow);
		return { tenants, next: rows.length > page.limit ? tenants.at(-1)!.id : null };
	}

	/** @throws TENANT_NOT_FOUND */
	async get(tenantId: TenantId): Promise<TenantRecord> {
		const tenant = await this.#database.read((sql) => readTenant(sql, tenantId, this.#clock.nowMs()));
		if (tenant === undefined) throw tenantNotFound(tenantId);
		return tenant;
	}

	/** @throws TENANT_EXISTS, also for the ids that hive-vector keeps for itself. */
	async create(input: z.output<typeof newTenantSchema>): Promise<TenantRecord> {
		if (RESERVED_TENANTS.has(input.id)) {
			throw new HiveError("TENANT_EXISTS", `the tenant id ${input.id} is reserved by hive-vector`, { field: "id" });
		}
		return await this.#database.write(async (transaction) => {
			if ((await readTenant(transaction.sql, input.id, this.#clock.nowMs())) !== undefined) {
				throw new HiveError("TENANT_EXISTS", `a tenant with the id ${input.id} exists`, { field: "id" });
			}
			return await insertTenant(transaction, {
				id: input.id,
				name: input.name,
				active: true,
				quota: input.quota ?? UNLIMITED,
				rate_limits: input.rate_limits ?? null,
				metadata: input.metadata ?? {},
				created_at: new Date(this.#clock.nowMs()).toISOString(),
				api_keys_count: 0,
				revision: 0,
			});
		});
	}

	/** Makes a reserved tenant if it isn't there. Idempotent. */
	async ensureReserved(tenantId: TenantId, name: string): Promise<void> {
		await this.#database.write(async (transaction) => {
			if ((await readTenant(transaction.sql, tenantId, this.#clock.nowMs())) !== undefined) return;
			await insertTenant(transaction, {
				id: tenantId,
				name,
				active: true,
				quota: UNLIMITED,
				rate_limits: tenantId === SYSTEM_TENANT ? SYSTEM_RATE_LIMITS : null,
				metadata: {},
				created_at: new Date(this.#clock.nowMs()).toISOString(),
				api_keys_count: 0,
				revision: 0,
			});
		});
	}

	/** What `patch` leaves out stays. @throws TENANT_NOT_FOUND; CONFLICT when it would suspend the operators. */
	async update(tenantId: TenantId, patch: z.output<typeof tenantPatchSchema>): Promise<TenantRecord> {
		if (tenantId === SYSTEM_TENANT && patch.active === false) {
			throw new HiveError("CONFLICT", "the tenant system can't be suspended: its keys administer the others", {
				field: "active",
			});
		}
		return await this.#database.write(async (transaction) => {
			const tenant = await readTenant(transaction.sql, tenantId, this.#clock.nowMs());
			if (tenant === undefined) throw tenantNotFound(tenantId);
			if (Object.values(patch).every((value) => value === undefined)) return tenant;
			return await replaceTenant(transaction, {
				...tenant,
				name: patch.name ?? tenant.name,
				active: patch.active ?? tenant.active,
				quota: mergeQuota(tenant.quota, patch.quota),
				rate_limits: patch.rate_limits === undefined ? tenant.rate_limits : patch.rate_limits,
				metadata: patch.metadata ?? tenant.metadata,
			});
		});
	}

	/** @throws TENANT_NOT_FOUND */
	async setQuota(tenantId: TenantId, quota: Quota): Promise<Quota> {
		return (await this.update(tenantId, { quota })).quota;
	}

	/**
	 * Removes a tenant with its keys, collection names and usage; the feed tells of each.
	 *
	 * @throws TENANT_NOT_FOUND; CONFLICT for the tenants that hive-vector itself needs.
	 */
	async delete(tenantId: TenantId): Promise<void> {
		if (RESERVED_TENANTS.has(tenantId)) {
			throw new HiveError("CONFLICT", `the tenant ${tenantId} is reserved by hive-vector and can't be deleted`);
		}
		await this.#database.write(async (transaction) => {
			const { sql } = transaction;
			const deleted = await sql<{ id: string }[]>`DELETE FROM tenants WHERE id = ${tenantId} RETURNING id`;
			if (deleted.length === 0) throw tenantNotFound(tenantId);
			const keys = await sql<{ key_hash: string }[]>`
				DELETE FROM api_keys WHERE tenant_id = ${tenantId} RETURNING key_hash`;
			for (const { key_hash } of keys) {
				await transaction.change(() => ({ kind: "key", key_hash, tenant_id: tenantId, record: null }));
			}
			const collections = await sql<{ id: string; name: string }[]>`
				DELETE FROM collections WHERE tenant_id = ${tenantId} RETURNING id, name`;
			for (const { id, name } of collections) {
				await transaction.change(() => ({
					kind: "collection",
					tenant_id: tenantId,
					collection_id: id,
					name,
					record: null,
				}));
			}
			await sql`DELETE FROM usage_totals WHERE tenant_id = ${tenantId}`;
			await transaction.change(() => ({ kind: "tenant", tenant_id: tenantId, record: null }));
		});
	}
}

export async function readTenant(sql: SqlRunner, tenantId: string, nowMs: number): Promise<TenantRecord | undefined> {
	const [row] = await sql<TenantRow[]>`
		SELECT t.*, (
			SELECT COUNT(*) FROM api_keys k WHERE k.tenant_id = t.id AND k.rotation_status <> 'revoked'
			AND (k.expires_at_ms IS NULL OR k.expires_at_ms > ${nowMs})
		) AS api_keys_count
		FROM tenants t WHERE t.id = ${tenantId}`;
	return row === undefined ? undefined : tenantOfRow(row);
}

/** Stores a tenant's fields under a new revision and tells the feed. `api_keys_count` is counted, not stored. */
export async function replaceTenant(transaction: HubTransaction, tenant: TenantRecord): Promise<TenantRecord> {
	const revision = await transaction.change((next) => ({
		kind: "tenant",
		tenant_id: tenant.id,
		record: { ...tenant, revision: next },
	}));
	await transaction.sql`
		UPDATE tenants SET
			name = ${tenant.name},
			active = ${tenant.active ? 1 : 0},
			max_storage_bytes = ${tenant.quota.max_storage_bytes},
			max_vectors = ${tenant.quota.max_vectors},
			max_collections = ${tenant.quota.max_collections},
			rate_limits = ${jsonOrNull(tenant.rate_limits)},
			metadata = ${JSON.stringify(tenant.metadata)},
			revision = ${revision}
		WHERE id = ${tenant.id}`;
	return { ...tenant, revision };
}

async function insertTenant(transaction: HubTransaction, tenant: TenantRecord): Promise<TenantRecord> {
	await transaction.sql`
		INSERT INTO tenants (id, name, active, metadata, created_at_ms, revision)
		VALUES (${tenant.id}, ${tenant.name}, ${1}, ${"{}"}, ${Date.parse(tenant.created_at)}, ${0})`;
	return await replaceTenant(transaction, tenant);
}

function tenantOfRow(row: TenantRow): TenantRecord {
	return {
		id: row.id as TenantId,
		name: row.name,
		active: Number(row.active) === 1,
		quota: {
			max_storage_bytes: numberOrNull(row.max_storage_bytes),
			max_vectors: numberOrNull(row.max_vectors),
			max_collections: numberOrNull(row.max_collections),
		},
		rate_limits: row.rate_limits === null ? null : (JSON.parse(row.rate_limits) as RateLimits),
		metadata: JSON.parse(row.metadata) as Record<string, unknown>,
		created_at: new Date(Number(row.created_at_ms)).toISOString(),
		api_keys_count: Number(row.api_keys_count),
		revision: Number(row.revision),
	};
}

function mergeQuota(quota: Quota, patch: { readonly [Name in keyof Quota]?: Quota[Name] | undefined } = {}): Quota {
	const pick = (name: keyof Quota): number | null => (patch[name] === undefined ? quota[name] : patch[name]);
	return {
		max_storage_bytes: pick("max_storage_bytes"),
		max_vectors: pick("max_vectors"),
		max_collections: pick("max_collections"),
	};
}

const numberOrNull = (column: BigIntColumn | null): number | null => (column === null ? null : Number(column));
const jsonOrNull = (value: unknown): string | null => (value === null ? null : JSON.stringify(value));
