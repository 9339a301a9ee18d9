import { z } from "zod";
import type { CollectionId, NodeId } from "../../base/ids.ts";
import { LIMITS } from "../../base/limits.ts";
import { tenantIdSchema } from "../../base/schemas.ts";

/** What nodes ask of each other about accounts. Unknown fields are a newer node's: left out. */

const count = z.int().min(0);
export const nodeIdSchema = z.string().transform((text) => text as NodeId);
const collectionIdSchema = z.string().transform((text) => text as CollectionId);

/** To whom a question goes is told by the tenant; `asker` is set by whoever passes it on. */
export const homeQuestionSchema = z.object({ tenantId: tenantIdSchema, asker: nodeIdSchema.optional() });

export const reserveQuestionSchema = homeQuestionSchema.extend({ vectorCount: count, bytes: count });
export const usageQuestionSchema = homeQuestionSchema.extend({ isExact: z.boolean() });

/** Which of the home's answers from shards a write is younger than. */
const markSchema = z.object({
	/** Of the home's process: in another one marks mean something else. */
	incarnation: z.string(),
	mark: z.int().min(-1),
});
export type HomeMark = z.output<typeof markSchema>;
export const UNKNOWN_MARK: HomeMark = { incarnation: "", mark: -1 };

export const grantSchema = markSchema.extend({ reservation: z.string() });
export const usageAnswerSchema = markSchema.extend({ storageBytes: z.number(), vectorCount: z.number() });

const shardSchema = z.object({
	collectionId: collectionIdSchema,
	shardIndex: z
		.int()
		.min(0)
		.max(LIMITS.shardCountMax - 1),
});
const changeSchema = shardSchema.extend({ vectorCountDelta: z.int(), bytesDelta: z.int() });
export type ShardChange = z.output<typeof changeSchema>;

/** What a write came to, or what else changes an account. */
const newsSchema = markSchema.extend({
	tenantId: tenantIdSchema,
	/** To be released with this. */
	reservation: z.string().optional(),
	changes: z.array(changeSchema),
	/** Shards of which it is not known what they hold. */
	doubts: z.array(shardSchema),
	/** Collections that are gone. */
	forgotten: z.array(collectionIdSchema),
	/** All of the tenant's shards are in doubt. */
	isLost: z.boolean(),
	/** It was sent to another node first. */
	isPassedOn: z.boolean(),
});
export type AccountNews = z.output<typeof newsSchema>;

export const newsBatchSchema = z.object({
	incarnation: z.string(),
	/** Rises by one a batch; one that comes twice counts once. */
	sequence: count,
	news: z.array(newsSchema),
});

export const handoverQuestionSchema = homeQuestionSchema.extend({ topologyVersion: z.int() });
export const handoverAnswerSchema = z.object({
	/** Higher than the asker's: the asker may not be the home at all. */
	topologyVersion: z.int(),
	open: z.array(z.object({ reservation: z.string(), holder: nodeIdSchema, vectorCount: count, bytes: count })),
});

export const ACCOUNT_METHODS = {
	reserve: "accounts.reserve",
	usage: "accounts.usage",
	news: "accounts.news",
	handover: "accounts.handover",
} as const;
