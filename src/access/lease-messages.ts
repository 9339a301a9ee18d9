import { z } from "zod";
import { homeQuestionSchema, nodeIdSchema } from "../cluster/accounts/account-messages.ts";
import { BUCKET_KINDS, type BucketIndex } from "./bucket-kinds.ts";

/** What nodes ask of each other about rate limits. */

/** Tokens asked for at once. */
export const LEASED_TOKENS_MAX = 1_000;
export const LEVELS_PER_MESSAGE_MAX = 1_000;

const subjectSchema = z.string().min(1).max(128);
/** Of each bucket; null: unlimited. */
const limitsSchema = z.array(z.int().min(1).nullable()).length(BUCKET_KINDS.length);
/** Of each bucket the milliseconds until it is full. */
const untilFullSchema = z.array(z.number().min(0)).length(BUCKET_KINDS.length);

const subjectQuestionSchema = homeQuestionSchema.extend({ subject: subjectSchema, limits: limitsSchema });

export const leaseQuestionSchema = subjectQuestionSchema.extend({
	isMcp: z.boolean(),
	wanted: z.int().min(1).max(LEASED_TOKENS_MAX),
	/** What a node told of the buckets before. */
	known: z.object({ toldBy: nodeIdSchema, untilFullMs: untilFullSchema }).optional(),
});

export const leaseAnswerSchema = z.object({
	nodeId: nodeIdSchema,
	granted: z.int().min(0),
	waitMs: z.number().min(0),
	refusing: z
		.int()
		.min(0)
		.max(BUCKET_KINDS.length - 1)
		.transform((index) => index as BucketIndex)
		.nullable(),
	untilFullMs: untilFullSchema,
});

export const returnSchema = subjectQuestionSchema.extend({
	isMcp: z.boolean(),
	tokenCount: z.int().min(1).max(LEASED_TOKENS_MAX),
});

export const levelsQuestionSchema = subjectQuestionSchema;
export const levelsAnswerSchema = z.object({ untilFullMs: untilFullSchema });

const levelSchema = z.object({ subject: subjectSchema, limits: limitsSchema, untilFullMs: untilFullSchema });
export type SubjectLevel = z.output<typeof levelSchema>;
export const levelBatchSchema = z.object({ levels: z.array(levelSchema).max(LEVELS_PER_MESSAGE_MAX) });

export const LEASE_METHODS = {
	lease: "limits.lease",
	giveBack: "limits.return",
	levels: "limits.levels",
	heir: "limits.heir",
} as const;

export const limitsFromWire = (limits: readonly (number | null)[]): readonly (number | undefined)[] =>
	limits.map((limit) => limit ?? undefined);
export const limitsToWire = (limits: readonly (number | undefined)[]): readonly (number | null)[] =>
	BUCKET_KINDS.map((_, index) => limits[index] ?? null);
