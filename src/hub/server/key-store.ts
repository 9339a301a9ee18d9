import type { z } from "zod";
import type { Clock } from "../../base/clock.ts";
import { HiveError } from "../../base/errors.ts";
import {
	type ApiKeyId,
	hashKey,
	newApiKey,
	newApiKeyId,
	type RandomBytes,
	SYSTEM_TENANT,
	type TenantId,
} from "../../base/ids.ts";
import type { KeyLookup, KeyRecord, MintedKey } from "../models.ts";
import type { newKeySchema } from "../request-schemas.ts";
import type { HubDatabase, HubTransaction, SqlRunner } from "./hub-database.ts";
import { readTenant, replaceTenant, tenantNotFound } from "./tenant-store.ts";

type BigIntColumn = number | string;
type NewKeyInput = z.output<typeof newKeySchema>;

interface KeyRow {
	readonly id: string;
	readonly key_hash: string;
	readonly tenant_id: string;
	readonly name: string;
	readonly permissions: string;
	readonly environment: "live" | "test";
	readonly created_at_ms: BigIntColumn;
	readonly expires_at_ms: BigIntColumn | null;
	readonly last_used_at_ms: BigIntColumn | null;
	readonly rotation_status: KeyRecord["rotation_status"];
	readonly rate_limit_override: string | null;
	readonly allowed_ips: string | null;
	readonly signing_required: BigIntColumn;
	readonly signing_public_key: string | null;
	readonly revision: BigIntColumn;
}

/** What makes a key, before it has an id and a secret. */
interface KeySpec {
	readonly tenantId: TenantId;
	readonly name: string;
	readonly permissions: KeyRecord["permissions"];
	readonly environment: "live" | "test";
	readonly expiresAtMs: number | null;
	readonly rateLimitOverride: KeyRecord["rate_limit_override"];
	readonly allowedIps: KeyRecord["allowed_ips"];
	readonly signingRequired: boolean;
	readonly signingPublicKey: string | null;
}

const keyNotFound = (): HiveError => new HiveError("KEY_NOT_FOUND", "there is no such API key");

/** The API keys of a hub. A key's text leaves in the answer that mints it; what is stored is its SHA-256. */
export class KeyStore {
	readonly #database: HubDatabase;
	readonly #clock: Clock;
	readonly #random: RandomBytes;

	constructor(database: HubDatabase, clock: Clock, random: RandomBytes) {
		this.#database = database;
		this.#clock = clock;
		this.#random = random;
	}

	/** Revoked and expired keys are found too: it is the asker who says why a key is refused. @throws KEY_NOT_FOUND */
	async lookup(keyHash: string): Promise<KeyLookup> {
		return await this.#database.read(async (sql) => {
			const [row] = await sql<KeyRow[]>`SELECT * FROM api_keys WHERE key_hash = ${keyHash}`;
			const tenant = row && (await readTenant(sql, row.tenant_id, this.#clock.nowMs()));
			if (tenant === undefined) throw keyNotFound();
			return { key: keyOfRow(row!), tenant };
		});
	}

	/** Oldest first. @throws TENANT_NOT_FOUND */
	async list(tenantId: TenantId): Promise<readonly KeyRecord[]> {
		return await this.#database.read(async (sql) => {
			if ((await readTenant(sql, tenantId, this.#clock.nowMs())) === undefined) throw tenantNotFound(tenantId);
			const rows = await sql<KeyRow[]>`
				SELECT * FROM api_keys WHERE tenant_id = ${tenantId} ORDER BY created_at_ms, id`;
			return rows.map(keyOfRow);
		});
	}

	/** @throws TENANT_NOT_FOUND; VALIDATION_FAILED for ADMIN outside `system` and for an expiry that has passed. */
	async create(tenantId: TenantId, input: NewKeyInput): Promise<MintedKey> {
		if (input.permissions.includes("ADMIN") && tenantId !== SYSTEM_TENANT) {
			throw new HiveError("VALIDATION_FAILED", "permissions: only keys of the tenant system can hold ADMIN", {
				field: "permissions",
			});
		}
		const expiresAtMs = input.expires_at === null ? null : Date.parse(input.expires_at);
		if (expiresAtMs !== null && expiresAtMs <= this.#clock.nowMs()) {
			throw new HiveError("VALIDATION_FAILED", "expires_at: lies in the past", { field: "expires_at" });
		}
		return await this.#database.write((transaction) =>
			this.#mint(transaction, {
				tenantId,
				name: input.name,
				permissions: input.permissions,
				environment: input.environment,
				expiresAtMs,
				rateLimitOverride: input.rate_limit_override,
				allowedIps: input.allowed_ips,
				signingRequired: input.signing_required,
				signingPublicKey: input.signing_public_key,
			}),
		);
	}

	/**
	 * Mints an ADMIN key of `system` unless a usable one exists.
	 *
	 * @param keep is given the key's text before the key is committed, so that a crash can't leave an admin key that nobody knows.
	 * @returns the key's text, the only time; undefined when there is one already.
	 */
	async mintAdminKeyIfAbsent(keep?: (apiKey: string) => Promise<void>): Promise<string | undefined> {
		return await this.#database.write(async (transaction) => {
			const rows = await transaction.sql<KeyRow[]>`SELECT * FROM api_keys WHERE tenant_id = ${SYSTEM_TENANT}`;
			const nowMs = this.#clock.nowMs();
			if (rows.map(keyOfRow).some((key) => key.permissions.includes("ADMIN") && isUsable(key, nowMs))) return undefined;
			const minted = await this.#mint(transaction, {
				tenantId: SYSTEM_TENANT,
				name: "admin",
				permissions: ["ADMIN"],
				environment: "live",
				expiresAtMs: null,
				rateLimitOverride: null,
				allowedIps: null,
				signingRequired: false,
				signingPublicKey: null,
			});
			await keep?.(minted.api_key);
			return minted.api_key;
		});
	}

	/**
	 * Mints a successor that can do what the old key could, for as long. The old key goes on as `deprecated` for the grace
	 * period, or is revoked at once when that is 0.
	 *
	 * @throws KEY_NOT_FOUND; CONFLICT when the key is revoked, replaced or expired already.
	 */
	async rotate(apiKeyId: ApiKeyId, graceSeconds: number): Promise<MintedKey> {
		return await this.#database.write(async (transaction) => {
			const row = await readKeyRow(transaction.sql, apiKeyId);
			const old = keyOfRow(row);
			const nowMs = this.#clock.nowMs();
			if (old.rotation_status !== "active" || !isUsable(old, nowMs)) {
				const state = old.rotation_status === "active" ? "expired" : old.rotation_status;
				throw new HiveError("CONFLICT", `only an active key can be rotated; this one is ${state}`, {
					api_key_id: apiKeyId,
				});
			}
			const expiresAtMs = row.expires_at_ms === null ? null : Number(row.expires_at_ms);
			const graceEndMs = Math.min(expiresAtMs ?? Number.POSITIVE_INFINITY, nowMs + graceSeconds * 1_000);
			if (graceSeconds === 0) await revoke(transaction, row);
			else await replaceKey(transaction, row, "deprecated", graceEndMs);
			return await this.#mint(transaction, {
				tenantId: old.tenant_id,
				name: old.name,
				permissions: old.permissions,
				environment: row.environment,
				expiresAtMs,
				rateLimitOverride: old.rate_limit_override,
				allowedIps: old.allowed_ips,
				signingRequired: old.signing_required,
				signingPublicKey: old.signing_public_key,
			});
		});
	}

	/** Idempotent. @throws KEY_NOT_FOUND */
	async revoke(apiKeyId: ApiKeyId): Promise<KeyRecord> {
		return await this.#database.write(async (transaction) => {
			const row = await readKeyRow(transaction.sql, apiKeyId);
			if (row.rotation_status === "revoked") return keyOfRow(row);
			const revoked = await revoke(transaction, row);
			await this.#recountKeys(transaction, revoked.tenant_id);
			return revoked;
		});
	}

	async #mint(transaction: HubTransaction, spec: KeySpec): Promise<MintedKey> {
		const tenant = await readTenant(transaction.sql, spec.tenantId, this.#clock.nowMs());
		if (tenant === undefined) throw tenantNotFound(spec.tenantId);
		const apiKey = newApiKey(this.#random, spec.environment);
		const keyHash = hashKey(apiKey);
		const createdAtMs = this.#clock.nowMs();
		const record: KeyRecord = {
			api_key_id: newApiKeyId(this.#random),
			tenant_id: spec.tenantId,
			name: spec.name,
			permissions: spec.permissions,
			created_at: new Date(createdAtMs).toISOString(),
			expires_at: spec.expiresAtMs === null ? null : new Date(spec.expiresAtMs).toISOString(),
			last_used_at: null,
			rotation_status: "active",
			rate_limit_override: spec.rateLimitOverride,
			allowed_ips: spec.allowedIps,
			signing_required: spec.signingRequired,
			signing_public_key: spec.signingPublicKey,
			revision: 0,
		};
		const revision = await transaction.change((next) => ({
			kind: "key",
			key_hash: keyHash,
			tenant_id: spec.tenantId,
			record: { ...record, revision: next },
		}));
		await transaction.sql`
			INSERT INTO api_keys (
				id, key_hash, tenant_id, name, permissions, environment, created_at_ms, expires_at_ms, last_used_at_ms,
				rotation_status, rate_limit_override, allowed_ips, signing_required, signing_public_key, revision
			) VALUES (
				${record.api_key_id}, ${keyHash}, ${record.tenant_id}, ${record.name}, ${JSON.stringify(record.permissions)},
				${spec.environment}, ${createdAtMs}, ${spec.expiresAtMs}, ${null}, ${record.rotation_status},
				${jsonOrNull(record.rate_limit_override)}, ${jsonOrNull(record.allowed_ips)},
				${record.signing_required ? 1 : 0}, ${record.signing_public_key}, ${revision}
			)`;
		await this.#recountKeys(transaction, spec.tenantId);
		return { api_key: apiKey, record: { ...record, revision } };
	}

	/** A tenant's record says how many keys it has, so it changes with them. */
	async #recountKeys(transaction: HubTransaction, tenantId: TenantId): Promise<void> {
		const tenant = await readTenant(transaction.sql, tenantId, this.#clock.nowMs());
		await replaceTenant(transaction, tenant!);
	}
}

async function readKeyRow(sql: SqlRunner, apiKeyId: ApiKeyId): Promise<KeyRow> {
	const [row] = await sql<KeyRow[]>`SELECT * FROM api_keys WHERE id = ${apiKeyId}`;
	if (row === undefined) throw keyNotFound();
	return row;
}

async function revoke(transaction: HubTransaction, row: KeyRow): Promise<KeyRecord> {
	return await replaceKey(transaction, row, "revoked", row.expires_at_ms === null ? null : Number(row.expires_at_ms));
}

async function replaceKey(
	transaction: HubTransaction,
	row: KeyRow,
	rotationStatus: KeyRecord["rotation_status"],
	expiresAtMs: number | null,
): Promise<KeyRecord> {
	const record = keyOfRow({ ...row, rotation_status: rotationStatus, expires_at_ms: expiresAtMs });
	const revision = await transaction.change((next) => ({
		kind: "key",
		key_hash: row.key_hash,
		tenant_id: row.tenant_id,
		record: { ...record, revision: next },
	}));
	await transaction.sql`
		UPDATE api_keys SET rotation_status = ${rotationStatus}, expires_at_ms = ${expiresAtMs}, revision = ${revision}
		WHERE id = ${row.id}`;
	return { ...record, revision };
}

function isUsable(key: KeyRecord, nowMs: number): boolean {
	return key.rotation_status !== "revoked" && (key.expires_at === null || Date.parse(key.expires_at) > nowMs);
}

function keyOfRow(row: KeyRow): KeyRecord {
	return {
		api_key_id: row.id as ApiKeyId,
		tenant_id: row.tenant_id as TenantId,
		name: row.name,
		permissions: JSON.parse(row.permissions) as KeyRecord["permissions"],
		created_at: new Date(Number(row.created_at_ms)).toISOString(),
		expires_at: instantOrNull(row.expires_at_ms),
		last_used_at: instantOrNull(row.last_used_at_ms),
		rotation_status: row.rotation_status,
		rate_limit_override: parseOrNull<NonNullable<KeyRecord["rate_limit_override"]>>(row.rate_limit_override),
		allowed_ips: parseOrNull<string[]>(row.allowed_ips),
		signing_required: Number(row.signing_required) === 1,
		signing_public_key: row.signing_public_key,
		revision: Number(row.revision),
	};
}

const instantOrNull = (column: BigIntColumn | null): string | null =>
	column === null ? null : new Date(Number(column)).toISOString();
const parseOrNull = <T>(text: string | null): T | null => (text === null ? null : (JSON.parse(text) as T));
const jsonOrNull = (value: unknown): string | null => (value === null ? null : JSON.stringify(value));
