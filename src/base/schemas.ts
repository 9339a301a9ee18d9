import { z } from "zod";
import {
	COLLECTION_NAME_PATTERN,
	type CollectionName,
	TENANT_ID_PATTERN,
	type TenantId,
	type VectorId,
} from "./ids.ts";
import { LIMITS } from "./limits.ts";

/**
 * Schemas of the values that every floor shares. Each object is strict: an unknown field is an error that names it.
 * Descriptions travel into OpenAPI and tool schemas.
 */

export const metricSchema = z.enum(["cosine", "dot", "euclidean"]);
export const quantizationSchema = z.enum(["f32", "f16", "bf16", "i8"]);
export const indexKindSchema = z.enum(["auto", "hnsw", "exact"]);
export const payloadIndexTypeSchema = z.enum(["keyword", "integer", "float", "bool", "datetime", "text"]);
/** Copies that must have a write, or are asked for a read: one, a majority, or every one. */
export const consistencySchema = z.enum(["one", "quorum", "all"]);
export const permissionSchema = z.enum(["ADMIN", "READ_WRITE", "READ_ONLY", "MCP"]);

export type Metric = z.infer<typeof metricSchema>;
export type Quantization = z.infer<typeof quantizationSchema>;
export type IndexKind = z.infer<typeof indexKindSchema>;
export type PayloadIndexType = z.infer<typeof payloadIndexTypeSchema>;
export type Consistency = z.infer<typeof consistencySchema>;
export type Permission = z.infer<typeof permissionSchema>;

export const tenantIdSchema = z
	.string()
	.regex(TENANT_ID_PATTERN, "a tenant id is 2 to 63 of a-z, 0-9, _ and -, and starts with a letter")
	.transform((text) => text as TenantId);

export const collectionNameSchema = z
	.string()
	.regex(
		COLLECTION_NAME_PATTERN,
		"a collection name is 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-', and starts with a letter or digit",
	)
	.transform((text) => text as CollectionName);

const utf8Bytes = (text: string): number => Buffer.byteLength(text, "utf8");

export const vectorIdSchema: z.ZodType<VectorId> = z.union([
	z
		.string()
		.min(1)
		.refine((text) => text.length <= LIMITS.vectorIdBytesMax && utf8Bytes(text) <= LIMITS.vectorIdBytesMax, {
			error: `an id is at most ${LIMITS.vectorIdBytesMax} bytes of UTF-8`,
		})
		// A lone surrogate has no UTF-8 form, so it could not come out as it went in.
		.refine((text) => text.isWellFormed(), { error: "an id is well-formed Unicode" }),
	z.int().min(0).max(LIMITS.vectorIdIntegerMax),
]);

export const hnswSchema = z.strictObject({
	m: z.int().min(LIMITS.hnswMMin).max(LIMITS.hnswMMax).default(16),
	ef_construction: z.int().min(8).max(LIMITS.efConstructionMax).default(128),
	ef_search: z.int().min(1).max(LIMITS.efSearchMax).default(64),
});

/** A payload: any JSON object. */
export type Payload = Record<string, unknown>;
