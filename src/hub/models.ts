import { z } from "zod";
import type { ApiKeyId, CollectionId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import {
	collectionNameSchema,
	hnswSchema,
	indexKindSchema,
	metricSchema,
	payloadIndexTypeSchema,
	permissionSchema,
	quantizationSchema,
	tenantIdSchema,
} from "../base/schemas.ts";
import { textSettingsSchema } from "../base/text-settings.ts";

/** Records of the HiveHub protocol (CONTRACT section 6). `revision` is raised only by the hub: higher is newer. */

export const quotaSchema = z.strictObject({
	max_storage_bytes: z.int().min(0).nullable().describe("null: unlimited"),
	max_vectors: z.int().min(0).nullable(),
	max_collections: z.int().min(0).nullable(),
});

export const rateLimitsSchema = z.strictObject({
	requests_per_minute: z.int().min(1),
	requests_per_hour: z.int().min(1),
	mcp_requests_per_minute: z.int().min(1),
});

export const tenantRecordSchema = z.strictObject({
	id: tenantIdSchema,
	name: z.string(),
	active: z.boolean(),
	quota: quotaSchema,
	/** null: the node's `rate_limits` settings apply. */
	rate_limits: rateLimitsSchema.nullable(),
	metadata: z.record(z.string(), z.unknown()),
	created_at: z.string(),
	api_keys_count: z.int(),
	revision: z.int(),
});

export const keyRecordSchema = z.strictObject({
	api_key_id: z.string().transform((text) => text as ApiKeyId),
	tenant_id: tenantIdSchema,
	name: z.string(),
	permissions: z.array(permissionSchema),
	created_at: z.string(),
	expires_at: z.string().nullable(),
	last_used_at: z.string().nullable(),
	/** `active`; `deprecated`: replaced, works until `expires_at`; `revoked`. */
	rotation_status: z.enum(["active", "deprecated", "revoked"]),
	rate_limit_override: rateLimitsSchema.partial().nullable(),
	allowed_ips: z.array(z.string()).nullable(),
	signing_required: z.boolean(),
	/** Ed25519 in PEM or 32 bytes of base64: signed requests must then be signed with it; null: with HMAC over the API key. */
	signing_public_key: z.string().nullable(),
	revision: z.int(),
});

export const collectionRecordSchema = z.strictObject({
	id: z.string().transform((text) => text as CollectionId),
	tenant_id: tenantIdSchema,
	name: collectionNameSchema,
	dimension: z.int().min(1).max(LIMITS.dimensionMax),
	metric: metricSchema,
	quantization: quantizationSchema,
	index: indexKindSchema,
	shards: z.int().min(1).max(LIMITS.shardCountMax),
	replicas: z.int().min(1).max(LIMITS.replicaCountMax),
	/** Only who knows that version of the topology, or a newer one, may go by the number of copies; absent: it was never changed. */
	topology_version: z.int().min(0).optional(),
	hnsw: hnswSchema,
	payload_indexes: z.record(z.string(), payloadIndexTypeSchema),
	/** Absent: the collection knows vectors only. */
	text: textSettingsSchema.optional(),
	created_at: z.string(),
	revision: z.int(),
});

export type Quota = z.infer<typeof quotaSchema>;
export type RateLimits = z.infer<typeof rateLimitsSchema>;
export type TenantRecord = z.infer<typeof tenantRecordSchema>;
export type KeyRecord = z.infer<typeof keyRecordSchema>;
export type CollectionRecord = z.infer<typeof collectionRecordSchema>;

/** `POST /keys/validate`: a key that exists, revoked and expired ones included, with its tenant. */
export interface KeyLookup {
	readonly key: KeyRecord;
	readonly tenant: TenantRecord;
}

/** One entry of `GET /changes`, in the order of `cursor`. A deletion has no record. */
export type HubChange = { readonly cursor: number } & (
	| { readonly kind: "tenant"; readonly tenant_id: string; readonly record: TenantRecord | null }
	| { readonly kind: "key"; readonly key_hash: string; readonly tenant_id: string; readonly record: KeyRecord | null }
	| {
			readonly kind: "collection";
			readonly tenant_id: string;
			readonly collection_id: string;
			readonly name: string;
			readonly record: CollectionRecord | null;
	  }
	| { readonly kind: "topology"; readonly version: number }
);

export interface ChangePage {
	readonly changes: readonly HubChange[];
	/** Pass as `cursor` next time. */
	readonly cursor: number;
	/** The feed no longer reaches back to the cursor that was given: forget everything cached. */
	readonly reset: boolean;
}

export type NewTenant = Pick<TenantRecord, "id" | "name"> &
	Partial<Pick<TenantRecord, "quota" | "rate_limits" | "metadata">>;
export type TenantPatch = Partial<Pick<TenantRecord, "name" | "active" | "rate_limits" | "metadata">> & {
	readonly quota?: Partial<Quota>;
};

export interface NewKey {
	readonly name: string;
	readonly permissions: KeyRecord["permissions"];
	readonly environment: "live" | "test";
	readonly expires_at: string | null;
	readonly rate_limit_override?: KeyRecord["rate_limit_override"];
	readonly allowed_ips?: readonly string[] | null;
	readonly signing_required?: boolean;
	readonly signing_public_key?: string | null;
}

/** The answer that shows the key, the only time. */
export interface MintedKey {
	readonly api_key: string;
	readonly record: KeyRecord;
}

export type NewCollection = Omit<CollectionRecord, "id" | "tenant_id" | "created_at" | "revision" | "topology_version">;
export type CollectionPatch = {
	readonly ef_search?: number;
	readonly replicas?: number;
	readonly topology_version?: number;
	readonly payload_indexes?: CollectionRecord["payload_indexes"];
};

/** One tenant on one node: what happened in a period, and what lay on the node's disk at its end. */
export interface UsageEntry {
	readonly tenant_id: string;
	/** Of the tenant that was counted: one that had the name before, or got it since, is another. */
	readonly tenant_created_at?: string;
	/** Counted within the period; the hub adds periods up. */
	readonly requests: number;
	readonly vectors_written: number;
	readonly searches: number;
	/** As of `period_end`; the hub keeps each node's latest. */
	readonly storage_bytes: number;
	readonly vectors: number;
	readonly period_start: string;
	readonly period_end: string;
}

export interface UsageReport {
	readonly node_id: string;
	/** Rises by one a report; a sequence the hub has seen from this node is acknowledged and not counted again. */
	readonly sequence: number;
	readonly entries: readonly UsageEntry[];
	/** When keys were last used, as this node saw it. */
	readonly keys?: readonly { readonly api_key_id: string; readonly last_used_at: string }[];
}

/**
 * `joining`: takes writes and is being filled; `draining`: still answers, and is being emptied; `removed`: dead, its copies are being
 * replaced. A member that has left, one way or the other, is among the retired.
 */
export type MemberState = "joining" | "active" | "draining" | "removed";

export interface TopologyMember {
	readonly node_id: string;
	/** The node's identity, as libp2p writes it: only its holder is heard as this node. */
	readonly peer_id: string;
	readonly state: MemberState;
	/** Where it was reached last, as multiaddresses. */
	readonly addresses: readonly string[];
	/** Whether it runs the cluster's embedded hub, which the others reach through it. */
	readonly serves_hub: boolean;
}

/** How many copies a collection has: where it was changed the topology decides, so that no node goes by another number. */
export interface ReplicaCount {
	readonly tenant_id: string;
	readonly collection_id: string;
	/** So many hold it now. */
	readonly from: number;
	/** So many shall; equal to `from` once they do. */
	readonly to: number;
}

export interface Topology {
	readonly version: number;
	readonly members: readonly TopologyMember[];
	/** Of collections whose number of copies is changed, or was changed of late. Newest last. */
	readonly replica_counts?: readonly ReplicaCount[] | undefined;
	/** Nodes that have left. Their identities are never let in again: they may hold what was deleted since. Newest last. */
	readonly retired: readonly { readonly node_id: string; readonly peer_id: string }[];
}
