import { z } from "zod";
import type { NodeId } from "../../base/ids.ts";
import { HUB_LIMITS } from "../../hub/hub-limits.ts";
import type { Topology } from "../../hub/models.ts";
import { collectionAnswer, keyAnswer, tenantAnswer, topologyAnswer } from "../../hub/response-schemas.ts";
import type { Rank } from "./fact-set.ts";
import { GOSSIP_LIMITS } from "./gossip-limits.ts";
import type { FactKind, StatePlace, StateSummary } from "./gossip-state.ts";
import { FACT_KINDS, type HubRecordFact, type KindedFact } from "./gossip-state.ts";
import type { DigestFact, Heartbeat, UsageFact, Vouched } from "./gossip-types.ts";

/**
 * Facts as they travel. Not strict: a field that a newer node adds is left out. What names a fact's version is never left out, so
 * that nodes of two versions agree on which facts they have.
 */

const whole = z.int().min(0);
const amount = z.number().min(0).max(Number.MAX_VALUE);
const text = z.string().max(GOSSIP_LIMITS.textLengthMax);
const nodeIdSchema = z
	.string()
	.min(1)
	.max(HUB_LIMITS.nodeIdLengthMax)
	.transform((id) => id as NodeId);

const transferSchema = z.object({
	tenantId: text,
	collectionId: text,
	shard: whole,
	from: nodeIdSchema,
	rowsDone: whole,
	rowsTotal: whole,
	bytesDone: whole,
});

const incarnation = whole.max(GOSSIP_LIMITS.incarnationMax);

const heartbeatSchema = z.object({
	nodeId: nodeIdSchema,
	incarnation,
	sequence: whole,
	url: text,
	addresses: z.array(text).max(GOSSIP_LIMITS.addressesMax),
	version: text,
	protocol: text,
	topologyVersion: whole,
	settledVersion: whole,
	isStopping: z.boolean(),
	hasHub: z.boolean(),
	isHubUp: z.boolean(),
	load: z.object({
		openShards: whole,
		queueDepth: whole,
		eventLoopLagSeconds: amount,
		storedBytes: amount,
		vectorCount: amount,
	}),
	transfers: z.array(transferSchema).max(GOSSIP_LIMITS.transfersMax),
	transfersWaiting: whole,
	hintsPending: whole,
}) satisfies z.ZodType<Heartbeat>;

const keyHash = z.string().regex(/^[0-9a-f]{64}$/);

const recordFactSchema = z.discriminatedUnion("kind", [
	z
		.object({ kind: z.literal("key"), keyHash, tenantId: text, revision: whole, record: keyAnswer.nullable() })
		.refine(({ tenantId, record }) => record === null || record.tenant_id === tenantId),
	z
		.object({ kind: z.literal("tenant"), tenantId: text, revision: whole, record: tenantAnswer.nullable() })
		.refine(({ tenantId, record }) => record === null || record.id === tenantId),
	z
		.object({
			kind: z.literal("collection"),
			tenantId: text,
			collectionId: text,
			name: text,
			revision: whole,
			record: collectionAnswer.nullable(),
		})
		.refine(
			({ tenantId, collectionId, name, record }) =>
				record === null || (record.tenant_id === tenantId && record.id === collectionId && record.name === name),
		),
]) satisfies z.ZodType<HubRecordFact>;

/** What a record says of its revision counts only when the record agrees. */
const vouchedSchema = z
	.object({
		fact: recordFactSchema,
		askedAt: whole,
		vouchedAtMs: whole,
		by: z.string().max(HUB_LIMITS.nodeIdLengthMax),
		ageMs: amount.nullable(),
	})
	.refine(({ fact, askedAt }) => askedAt >= fact.revision && (fact.record?.revision ?? fact.revision) === fact.revision)
	.refine(({ by, ageMs }) => (by === "") === (ageMs === null)) satisfies z.ZodType<Vouched<HubRecordFact>>;

const usageSchema = z.object({
	nodeId: nodeIdSchema,
	tenantId: text,
	createdAtMs: whole,
	requests: whole,
	searches: whole,
	vectorsWritten: whole,
	lastRequestMs: whole,
}) satisfies z.ZodType<UsageFact>;

const digestSchema = z.object({
	nodeId: nodeIdSchema,
	shard: text,
	incarnation,
	sequence: whole,
	root: text,
}) satisfies z.ZodType<DigestFact>;

/** Facts of each kind on their way: with ages, since no two nodes' clocks agree. */
export interface FactsOnWire {
	readonly record: Vouched<HubRecordFact>;
	readonly topology: Topology;
	readonly heartbeat: { readonly heartbeat: Heartbeat; readonly ageMs: number };
	readonly usage: UsageFact;
	readonly digest: DigestFact;
}

const FACT_SCHEMAS: { readonly [Kind in FactKind]: z.ZodType<FactsOnWire[Kind]> } = {
	record: vouchedSchema,
	topology: topologyAnswer,
	heartbeat: z.object({ heartbeat: heartbeatSchema, ageMs: amount }),
	usage: usageSchema,
	digest: digestSchema,
};

export type FactOnWire = {
	[Kind in FactKind]: { readonly kind: Kind; readonly fact: FactsOnWire[Kind] };
}[FactKind];

/** A message that is broadcast. Facts are looked at one by one: a bad one takes no other with it. */
const messageSchema = z.object({
	generation: whole,
	facts: z.array(z.object({ kind: z.string(), fact: z.unknown() })).max(GOSSIP_LIMITS.factsPerMessageMax),
});

const rankPart = z.number().min(-1);
const rankSchema = z.tuple([rankPart, rankPart, rankPart]).readonly() satisfies z.ZodType<Rank>;
const floorSchema = z.object({ floor: rankSchema });
const sumsSchema = z.custom<Uint32Array>(
	(value) => value instanceof Uint32Array && value.length === 2 * GOSSIP_LIMITS.bucketCount,
);
const kindSchema = z.object({ floor: rankSchema, sums: sumsSchema });

const placeSchema = z.object({
	kind: z.enum(FACT_KINDS as readonly [FactKind, ...FactKind[]]),
	bucket: whole,
	key: z.string().max(2 * GOSSIP_LIMITS.textLengthMax),
}) satisfies z.ZodType<StatePlace>;

/** "Tell me what I lack": a summary of what the asker has, and where the page before ended. */
export const exchangeQuestionSchema = z.object({
	summary: z.object({
		generation: whole,
		kinds: z.object({
			record: kindSchema,
			topology: kindSchema,
			heartbeat: kindSchema,
			usage: kindSchema,
			digest: kindSchema,
		}),
	}) satisfies z.ZodType<StateSummary>,
	from: placeSchema.optional(),
});

/** `known`: which changes of the hub's feed are in the answers up to the last, without a gap; null: none is sure. */
export const exchangeAnswerSchema = z.object({
	generation: whole,
	kinds: z.object({
		record: floorSchema,
		topology: floorSchema,
		heartbeat: floorSchema,
		usage: floorSchema,
		digest: floorSchema,
	}),
	facts: z.array(z.object({ kind: z.string(), fact: z.unknown() })).max(GOSSIP_LIMITS.factsPerPageMax),
	next: placeSchema.nullable(),
	known: z.object({ from: whole, to: whole }).nullable(),
});

export type ExchangeAnswer = z.infer<typeof exchangeAnswerSchema>;

/** undefined: it is no message. */
export const parseMessage = (body: unknown): z.infer<typeof messageSchema> | undefined =>
	messageSchema.safeParse(body).data;

/** @param nowMs on this node's monotonic clock. @returns undefined for what is no such fact. */
export function parseFact(kind: string, body: unknown, nowMs: number): KindedFact | undefined {
	if (!isFactKind(kind)) return undefined;
	const parsed = FACT_SCHEMAS[kind].safeParse(body);
	return parsed.success ? keptFact({ kind, fact: parsed.data } as FactOnWire, nowMs) : undefined;
}

export const isFactKind = (kind: string): kind is FactKind => (FACT_KINDS as readonly string[]).includes(kind);

function keptFact({ kind, fact }: FactOnWire, nowMs: number): KindedFact {
	if (kind === "record") {
		const { ageMs, ...rest } = fact;
		return { kind, fact: { ...rest, vouchedMs: ageMs === null ? undefined : nowMs - ageMs } };
	}
	if (kind === "heartbeat") return { kind, fact: { heartbeat: fact.heartbeat, heardAtMs: nowMs - fact.ageMs } };
	return { kind, fact } as KindedFact;
}

export function factOnWire({ kind, fact }: KindedFact, nowMs: number): FactOnWire {
	if (kind === "record") {
		const { vouchedMs, ...rest } = fact;
		return { kind, fact: { ...rest, ageMs: vouchedMs === undefined ? null : Math.max(0, nowMs - vouchedMs) } };
	}
	if (kind === "heartbeat") {
		return { kind, fact: { heartbeat: fact.heartbeat, ageMs: Math.max(0, nowMs - fact.heardAtMs) } };
	}
	return { kind, fact } as FactOnWire;
}
