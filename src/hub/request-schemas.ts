import { z } from "zod";
import { LIMITS } from "../base/limits.ts";
import { isNetwork } from "../base/network.ts";
import { fieldPathSchema } from "../base/payload-path.ts";
import {
	collectionNameSchema,
	hnswSchema,
	payloadIndexTypeSchema,
	permissionSchema,
	tenantIdSchema,
} from "../base/schemas.ts";
import { HUB_LIMITS } from "./hub-limits.ts";
import { collectionRecordSchema, quotaSchema, rateLimitsSchema } from "./models.ts";
import { parseSigningKey } from "./signing-key.ts";

/**
 * What may be asked of a hub (CONTRACT section 6). Strict: an unknown field is refused by its name. Operations that create
 * tenants and keys can take their input from here.
 */

/** Text a person reads. Control characters would garble terminals and logs, and PostgreSQL stores no NUL. */
const labelSchema = (lengthMax: number) =>
	z
		.string()
		.min(1)
		.max(lengthMax)
		.refine((text) => text.isWellFormed() && !/\p{Cc}/u.test(text), {
			error: "no control characters or lone surrogates",
		});

const metadataSchema = z
	.record(z.string(), z.unknown())
	.refine((metadata) => Buffer.byteLength(JSON.stringify(metadata), "utf8") <= LIMITS.tenantMetadataBytesMax, {
		error: `metadata is at most ${LIMITS.tenantMetadataBytesMax} bytes of JSON`,
	});

const instantSchema = z.iso.datetime({ offset: true, error: "an RFC 3339 time, such as 2030-01-31T12:00:00Z" });

export const newTenantSchema = z.strictObject({
	id: tenantIdSchema,
	name: labelSchema(LIMITS.tenantNameLengthMax),
	quota: quotaSchema.optional(),
	rate_limits: rateLimitsSchema.nullable().optional(),
	metadata: metadataSchema.optional(),
});

export const tenantPatchSchema = z.strictObject({
	name: labelSchema(LIMITS.tenantNameLengthMax).optional(),
	active: z.boolean().optional(),
	quota: quotaSchema.partial().optional(),
	rate_limits: rateLimitsSchema.nullable().optional(),
	metadata: metadataSchema.optional(),
});

/** PEM takes 113 characters. */
const SIGNING_PUBLIC_KEY_LENGTH_MAX = 256;

const allowedIpSchema = z
	.string()
	.max(64)
	.refine(isNetwork, { error: "an IP address or a network, such as 203.0.113.7, 10.0.0.0/8 or 2001:db8::/32" });

const signingPublicKeySchema = z
	.string()
	.max(SIGNING_PUBLIC_KEY_LENGTH_MAX)
	.refine((text) => parseSigningKey(text) !== undefined, {
		error: "an Ed25519 public key: PEM, or base64 of its 32 bytes",
	});

/** A key nobody would verify with is a mistake. */
export const signingKeyIsUsed = (input: {
	readonly signing_required: boolean;
	readonly signing_public_key: string | null;
}): boolean => input.signing_public_key === null || input.signing_required;

export const SIGNING_KEY_UNUSED = {
	error: "signing_public_key needs signing_required: true",
	path: ["signing_public_key"],
};

const newKeyFields = z.strictObject({
	name: labelSchema(HUB_LIMITS.keyNameLengthMax),
	permissions: z
		.array(permissionSchema)
		.min(1, "a key needs at least one permission")
		.transform((permissions) => [...new Set(permissions)].sort()),
	environment: z.enum(["live", "test"]).default("live"),
	expires_at: instantSchema.nullable().default(null),
	rate_limit_override: rateLimitsSchema.partial().nullable().default(null),
	allowed_ips: z.array(allowedIpSchema).min(1).max(HUB_LIMITS.allowedIpsMax).nullable().default(null),
	signing_required: z.boolean().default(false),
	signing_public_key: signingPublicKeySchema.nullable().default(null),
});

export const newKeySchema = newKeyFields.refine(signingKeyIsUsed, SIGNING_KEY_UNUSED);

export const keyHashSchema = z.strictObject({
	key_hash: z
		.string()
		.regex(/^[0-9a-f]{64}$/, "a key hash is the SHA-256 of a key, 64 hexadecimal digits in lower case"),
});

export const rotateKeySchema = z.strictObject({
	grace_seconds: z.int().min(0).max(HUB_LIMITS.graceSecondsMax).default(604_800),
});

const payloadIndexesSchema = z
	.record(fieldPathSchema, payloadIndexTypeSchema)
	.refine((indexes) => Object.keys(indexes).length <= LIMITS.payloadIndexesMax, {
		error: `a collection has at most ${LIMITS.payloadIndexesMax} payload indexes`,
	});

export const newCollectionSchema = z.strictObject({
	...collectionRecordSchema.omit({
		id: true,
		tenant_id: true,
		topology_version: true,
		created_at: true,
		revision: true,
	}).shape,
	name: collectionNameSchema,
	payload_indexes: payloadIndexesSchema.default({}),
});

export const collectionPatchSchema = z.strictObject({
	ef_search: hnswSchema.shape.ef_search.unwrap().optional(),
	replicas: collectionRecordSchema.shape.replicas.optional(),
	topology_version: collectionRecordSchema.shape.topology_version,
	payload_indexes: payloadIndexesSchema.optional(),
});

const countSchema = z.int().min(0);

/** A report may come long after a tenant is gone, so its ids are any text; the hub leaves out those it does not know. */
export const usageReportSchema = z.strictObject({
	node_id: z.string().min(1).max(HUB_LIMITS.nodeIdLengthMax),
	sequence: z.int().min(1),
	entries: z
		.array(
			z.strictObject({
				tenant_id: tenantIdSchema,
				tenant_created_at: instantSchema.optional(),
				requests: countSchema,
				vectors_written: countSchema,
				searches: countSchema,
				storage_bytes: countSchema,
				vectors: countSchema,
				period_start: instantSchema,
				period_end: instantSchema,
			}),
		)
		.max(HUB_LIMITS.usageEntriesMax),
	keys: z
		.array(z.strictObject({ api_key_id: z.string().min(1).max(64), last_used_at: instantSchema }))
		.max(HUB_LIMITS.usageEntriesMax)
		.optional(),
});

export const logsSchema = z.strictObject({
	entries: z.array(z.record(z.string(), z.unknown())).max(HUB_LIMITS.logEntriesMax),
});

const memberNamesSchema = z.strictObject({
	node_id: z.string().min(1).max(HUB_LIMITS.nodeIdLengthMax),
	peer_id: z.string().max(HUB_LIMITS.peerIdLengthMax),
});

/** What may be left out, and was not known to clients of before, stays as it is. */
export const topologySchema = z.strictObject({
	version: z.int().min(1),
	members: z
		.array(
			memberNamesSchema.partial({ peer_id: true }).extend({
				state: z.enum(["joining", "active", "draining", "removed"]),
				addresses: z.array(z.string().min(1).max(HUB_LIMITS.addressLengthMax)).max(HUB_LIMITS.memberAddressesMax),
				serves_hub: z.boolean().optional(),
			}),
		)
		.max(HUB_LIMITS.topologyMembersMax)
		.refine((members) => new Set(members.map((member) => member.node_id)).size === members.length, {
			error: "each node stands in the topology once",
		})
		.refine(
			(members) => {
				const peerIds = members.map((member) => member.peer_id ?? "").filter((peerId) => peerId !== "");
				return new Set(peerIds).size === peerIds.length;
			},
			{ error: "each identity belongs to one node" },
		),
	/** Newest last. */
	replica_counts: z
		.array(
			z.strictObject({
				tenant_id: tenantIdSchema,
				collection_id: z.string().min(1).max(64),
				from: z.int().min(1).max(LIMITS.replicaCountMax),
				to: z.int().min(1).max(LIMITS.replicaCountMax),
			}),
		)
		.max(HUB_LIMITS.replicaCountsMax)
		.optional(),
	/** Newest last: the oldest go when there are too many. */
	retired: z
		.array(memberNamesSchema)
		.max(HUB_LIMITS.retiredMembersMax + HUB_LIMITS.topologyMembersMax)
		.optional(),
});

/** Query strings, where everything arrives as text. */
const digitsSchema = z
	.string()
	.regex(/^\d{1,15}$/, "a whole number")
	.transform(Number);

export const tenantPageQuerySchema = z.strictObject({
	limit: digitsSchema.pipe(z.int().min(1).max(HUB_LIMITS.tenantPageMax)).default(HUB_LIMITS.tenantPageDefault),
	after: z.string().max(63).default(""),
});

export const changesQuerySchema = z.strictObject({
	cursor: digitsSchema.optional(),
	wait: digitsSchema.pipe(z.int().max(HUB_LIMITS.changeWaitSecondsMax)).default(0),
});

export const usageQuerySchema = z.strictObject({
	...tenantPageQuerySchema.shape,
	tenant_id: tenantIdSchema.optional(),
});
