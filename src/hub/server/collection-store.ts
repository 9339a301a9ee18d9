import type { z } from "zod";
import type { Clock } from "../../base/clock.ts";
import { HiveError } from "../../base/errors.ts";
import {
	type CollectionId,
	type CollectionName,
	newCollectionId,
	type RandomBytes,
	type TenantId,
} from "../../base/ids.ts";
import type { CollectionRecord, NewCollection } from "../models.ts";
import type { collectionPatchSchema, newCollectionSchema } from "../request-schemas.ts";
import type { HubDatabase, HubTransaction, SqlRunner } from "./hub-database.ts";
import { readTenant, tenantNotFound } from "./tenant-store.ts";

interface CollectionRow {
	readonly tenant_id: string;
	readonly name: string;
	readonly id: string;
	readonly body: string;
	readonly created_at_ms: number | string;
	readonly revision: number | string;
}

/** What the column `body` holds: the settings, which nothing is searched by. */
type CollectionBody = Omit<NewCollection, "name">;

/** The names of collections, and what each was created with. The hub decides, so two nodes can't create the same one. */
export class CollectionStore {
	readonly #database: HubDatabase;
	readonly #clock: Clock;
	readonly #random: RandomBytes;

	constructor(database: HubDatabase, clock: Clock, random: RandomBytes) {
		this.#database = database;
		this.#clock = clock;
		this.#random = random;
	}

	/** In the order of names. @throws TENANT_NOT_FOUND */
	async list(tenantId: TenantId): Promise<readonly CollectionRecord[]> {
		return await this.#database.read(async (sql) => {
			if ((await readTenant(sql, tenantId, this.#clock.nowMs())) === undefined) throw tenantNotFound(tenantId);
			const rows = await sql<CollectionRow[]>`SELECT * FROM collections WHERE tenant_id = ${tenantId} ORDER BY name`;
			return rows.map(collectionOfRow);
		});
	}

	/** @throws TENANT_NOT_FOUND, COLLECTION_EXISTS; QUOTA_EXCEEDED past the tenant's `max_collections`. */
	async create(tenantId: TenantId, input: z.output<typeof newCollectionSchema>): Promise<CollectionRecord> {
		return await this.#database.write(async (transaction) => {
			const { sql } = transaction;
			const tenant = await readTenant(sql, tenantId, this.#clock.nowMs());
			if (tenant === undefined) throw tenantNotFound(tenantId);
			const { name, ...body } = input;
			if ((await readCollectionRow(sql, tenantId, name)) !== undefined) {
				throw new HiveError("COLLECTION_EXISTS", `a collection named ${name} exists`, { field: "name" });
			}
			const limit = tenant.quota.max_collections;
			const [counted] = await sql<{ count: number | string }[]>`
				SELECT COUNT(*) AS count FROM collections WHERE tenant_id = ${tenantId}`;
			const current = Number(counted!.count);
			if (limit !== null && current >= limit) {
				throw new HiveError("QUOTA_EXCEEDED", `the tenant may have ${limit} collections and has ${current}`, {
					quota: "max_collections",
					usage: { current, limit, requested: 1 },
				});
			}
			return await storeCollection(transaction, {
				...body,
				id: newCollectionId(this.#random),
				tenant_id: tenantId,
				name,
				created_at: new Date(this.#clock.nowMs()).toISOString(),
				revision: 0,
			});
		});
	}

	/** @throws COLLECTION_NOT_FOUND */
	async update(
		tenantId: TenantId,
		name: CollectionName,
		patch: z.output<typeof collectionPatchSchema>,
	): Promise<CollectionRecord> {
		return await this.#database.write(async (transaction) => {
			const row = await readCollectionRow(transaction.sql, tenantId, name);
			if (row === undefined) throw collectionNotFound();
			const record = collectionOfRow(row);
			if (Object.values(patch).every((value) => value === undefined)) return record;
			return await storeCollection(transaction, {
				...record,
				replicas: patch.replicas ?? record.replicas,
				topology_version: patch.topology_version ?? record.topology_version,
				hnsw: { ...record.hnsw, ef_search: patch.ef_search ?? record.hnsw.ef_search },
				payload_indexes: patch.payload_indexes ?? record.payload_indexes,
			});
		});
	}

	/** @returns the record as it last was. @throws COLLECTION_NOT_FOUND */
	async delete(tenantId: TenantId, name: CollectionName): Promise<CollectionRecord> {
		return await this.#database.write(async (transaction) => {
			const [row] = await transaction.sql<CollectionRow[]>`
				DELETE FROM collections WHERE tenant_id = ${tenantId} AND name = ${name} RETURNING *`;
			if (row === undefined) throw collectionNotFound();
			await transaction.change(() => ({
				kind: "collection",
				tenant_id: tenantId,
				collection_id: row.id,
				name,
				record: null,
			}));
			return collectionOfRow(row);
		});
	}
}

const collectionNotFound = (): HiveError => new HiveError("COLLECTION_NOT_FOUND", "there is no such collection");

async function readCollectionRow(
	sql: SqlRunner,
	tenantId: TenantId,
	name: CollectionName,
): Promise<CollectionRow | undefined> {
	const [row] = await sql<CollectionRow[]>`SELECT * FROM collections WHERE tenant_id = ${tenantId} AND name = ${name}`;
	return row;
}

async function storeCollection(transaction: HubTransaction, record: CollectionRecord): Promise<CollectionRecord> {
	const { id, tenant_id, name, created_at, revision: _replaced, ...settings } = record;
	const revision = await transaction.change((next) => ({
		kind: "collection",
		tenant_id,
		collection_id: id,
		name,
		record: { ...record, revision: next },
	}));
	const body = JSON.stringify(settings satisfies CollectionBody);
	await transaction.sql`
		INSERT INTO collections (tenant_id, name, id, body, created_at_ms, revision)
		VALUES (${tenant_id}, ${name}, ${id}, ${body}, ${Date.parse(created_at)}, ${revision})
		ON CONFLICT (tenant_id, name) DO UPDATE SET body = excluded.body, revision = excluded.revision`;
	return { ...record, revision };
}

function collectionOfRow(row: CollectionRow): CollectionRecord {
	return {
		...(JSON.parse(row.body) as CollectionBody),
		id: row.id as CollectionId,
		tenant_id: row.tenant_id as TenantId,
		name: row.name as CollectionName,
		created_at: new Date(Number(row.created_at_ms)).toISOString(),
		revision: Number(row.revision),
	};
}
