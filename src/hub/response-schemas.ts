import { z } from "zod";
import { isErrorCode } from "../base/errors.ts";
import { textSettingsSchema } from "../base/text-settings.ts";
import {
	collectionRecordSchema,
	keyRecordSchema,
	quotaSchema,
	rateLimitsSchema,
	tenantRecordSchema,
} from "./models.ts";

/**
 * What a hub may answer. Unlike requests these are not strict: a field that a newer hub adds is left out, not refused, or
 * every upgrade of the hub would stop the nodes.
 */

const quotaAnswer = z.object(quotaSchema.shape);
const rateLimitsAnswer = z.object(rateLimitsSchema.shape);

export const tenantAnswer = z.object({
	...tenantRecordSchema.shape,
	quota: quotaAnswer,
	rate_limits: rateLimitsAnswer.nullable(),
});

export const keyAnswer = z.object({
	...keyRecordSchema.shape,
	rate_limit_override: rateLimitsAnswer.partial().nullable(),
	/** Hubs before signed requests with public keys do not send it. */
	signing_public_key: keyRecordSchema.shape.signing_public_key.default(null),
});

export const collectionAnswer = z.object({
	...collectionRecordSchema.shape,
	hnsw: z.object(collectionRecordSchema.shape.hnsw.shape),
	text: z.object(textSettingsSchema.shape).optional(),
});

export const keyLookupAnswer = z.object({ key: keyAnswer, tenant: tenantAnswer });
export const mintedKeyAnswer = z.object({ api_key: z.string().min(1), record: keyAnswer });
export const tenantPageAnswer = z.object({ tenants: z.array(tenantAnswer), next: z.string().nullable() });
export const keyListAnswer = z.object({ keys: z.array(keyAnswer) });
export const collectionListAnswer = z.object({ collections: z.array(collectionAnswer) });
export const healthAnswer = z.object({ status: z.literal("ok"), version: z.string() });
export const quotaOnlyAnswer = quotaAnswer;
/** Answers whose content nobody needs. */
export const acknowledgement = z.object({});

const cursorAnswer = z.int().min(0);

export const changeAnswer = z.discriminatedUnion("kind", [
	z.object({
		cursor: cursorAnswer,
		kind: z.literal("tenant"),
		tenant_id: z.string(),
		record: tenantAnswer.nullable(),
	}),
	z.object({
		cursor: cursorAnswer,
		kind: z.literal("key"),
		key_hash: z.string(),
		tenant_id: z.string(),
		record: keyAnswer.nullable(),
	}),
	z.object({
		cursor: cursorAnswer,
		kind: z.literal("collection"),
		tenant_id: z.string(),
		collection_id: z.string(),
		name: z.string(),
		record: collectionAnswer.nullable(),
	}),
	z.object({ cursor: cursorAnswer, kind: z.literal("topology"), version: z.int().min(0) }),
]);

export const changePageAnswer = z.object({
	changes: z.array(changeAnswer),
	cursor: cursorAnswer,
	reset: z.boolean(),
});

export const topologyAnswer = z.object({
	version: z.int().min(0),
	members: z.array(
		z.object({
			node_id: z.string(),
			peer_id: z.string().default(""),
			state: z.enum(["joining", "active", "draining", "removed"]),
			addresses: z.array(z.string()),
			serves_hub: z.boolean().default(false),
		}),
	),
	replica_counts: z
		.array(z.object({ tenant_id: z.string(), collection_id: z.string(), from: z.int().min(1), to: z.int().min(1) }))
		.optional(),
	retired: z.array(z.object({ node_id: z.string(), peer_id: z.string() })).default([]),
});

export const errorAnswer = z.object({
	error: z.string(),
	code: z.string().refine(isErrorCode),
	details: z.record(z.string(), z.unknown()).optional(),
});
