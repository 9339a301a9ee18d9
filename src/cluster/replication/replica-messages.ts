import { z } from "zod";
import { HiveError } from "../../base/errors.ts";
import type { NodeId } from "../../base/ids.ts";
import { LIMITS } from "../../base/limits.ts";
import {
	hnswSchema,
	indexKindSchema,
	metricSchema,
	payloadIndexTypeSchema,
	quantizationSchema,
	tenantIdSchema,
} from "../../base/schemas.ts";
import { lexicalSettingsSchema } from "../../base/text-settings.ts";
import { isCollectionId } from "../../shards/data-folder.ts";
import type { ShardCalls, ShardRef } from "../../shards/pool-types.ts";
import { VERSION_BYTES } from "../../storage/hybrid-clock.ts";
import type { Version } from "../../storage/shard-types.ts";
import type { PeerMethods } from "../peer/peer-types.ts";
import type { ReplicaService } from "./replica-service.ts";
import {
	Outrun,
	type Reconciler,
	ReplicaFailure,
	type ReplicaFailureKind,
	type ReplicaMethod,
} from "./replica-types.ts";
import { REPLICATION_LIMITS } from "./replication-limits.ts";

/** What nodes ask each other about copies of shards. */
export const REPLICA_METHODS = {
	call: "replica.call",
	make: "replica.make",
	state: "replica.state",
	reconcile: "replica.reconcile",
} as const;

const CALLABLE: Readonly<Record<ReplicaMethod, true>> = {
	measure: true,
	upsert: true,
	update: true,
	delete: true,
	merge: true,
	rows: true,
	digest: true,
	versions: true,
	allowPurge: true,
	get: true,
	count: true,
	scroll: true,
	search: true,
	textStatistics: true,
	stats: true,
	createPayloadIndex: true,
	dropPayloadIndex: true,
};

/** The ids become a path. */
const refSchema = z.object({
	tenantId: tenantIdSchema,
	collectionId: z.string().refine(isCollectionId),
	shardIndex: z
		.int()
		.min(0)
		.max(LIMITS.shardCountMax - 1),
	config: z.object({
		dimension: z.int().min(1).max(LIMITS.dimensionMax),
		metric: metricSchema,
		quantization: quantizationSchema,
		index: indexKindSchema,
		hnsw: hnswSchema,
		payloadIndexes: z.record(z.string(), payloadIndexTypeSchema),
		lexical: lexicalSettingsSchema.optional(),
		isReplicated: z.boolean(),
	}),
	configRevision: z.int().min(0),
});
const nodeIdSchema = z.string().transform((text) => text as NodeId);
const versionSchema = z.instanceof(Uint8Array).refine((version) => version.length === VERSION_BYTES);
const callerSchema = z.object({
	topologyVersion: z.int().min(0),
	replicas: z.int().min(1).max(LIMITS.replicaCountMax).optional(),
	claim: z.object({ home: nodeIdSchema, version: versionSchema }).optional(),
});
const callSchema = z.object({
	shard: refSchema,
	method: z.custom<ReplicaMethod>((name) => typeof name === "string" && Object.hasOwn(CALLABLE, name)),
	args: z.array(z.unknown()),
	caller: callerSchema,
});
const makeSchema = z.object({ shard: refSchema, state: z.enum(["complete", "incoming"]), caller: callerSchema });
const stateSchema = z.object({ shard: refSchema });
const reconcileSchema = z.object({ shard: refSchema, peer: nodeIdSchema });

const answerSchema = z.union([
	z.object({ done: z.unknown() }),
	z.object({
		failure: z.object({
			kind: z.enum(["missing", "incoming", "stale_topology", "not_holder", "unreachable", "timeout", "busy", "outrun"]),
			nodeId: nodeIdSchema,
			message: z.string(),
			topologyVersion: z.int().optional(),
			outrunBy: versionSchema.optional(),
		}),
	}),
]);

export type ReplicaAnswer =
	| { readonly done: unknown }
	| {
			readonly failure: {
				readonly kind: ReplicaFailureKind;
				readonly nodeId: string;
				readonly message: string;
				readonly topologyVersion?: number | undefined;
				readonly outrunBy?: Version | undefined;
			};
	  };

/** @returns what the node did. @throws ReplicaFailure it answered with; HiveError when it is no answer */
export function doneOf(answer: unknown): unknown {
	const parsed = answerSchema.safeParse(answer);
	if (!parsed.success) throw new HiveError("INTERNAL", "another node's answer about a copy makes no sense");
	if ("done" in parsed.data) return parsed.data.done;
	const { kind, nodeId, message, topologyVersion, outrunBy } = parsed.data.failure;
	if (outrunBy !== undefined) throw new Outrun(nodeId, outrunBy);
	throw new ReplicaFailure(kind, nodeId, message, topologyVersion);
}

export interface ReplicaCallsParts {
	readonly service: ReplicaService;
	/** This node's. */
	readonly reconciler: Reconciler;
}

/** Answers what other nodes ask about copies here. To be called before the network starts. */
export function handleReplicaCalls(methods: PeerMethods, { service, reconciler }: ReplicaCallsParts): void {
	let reconcileCount = 0;

	methods.handle(REPLICA_METHODS.call, (body) => {
		const { shard, method, args, caller } = parsed(callSchema, body);
		return answered(() =>
			service.call(shard as ShardRef, method, args as Parameters<ShardCalls[ReplicaMethod]>, caller),
		);
	});

	methods.handle(REPLICA_METHODS.make, (body) => {
		const { shard, state, caller } = parsed(makeSchema, body);
		return answered(() => service.make(shard as ShardRef, state, caller));
	});

	methods.handle(REPLICA_METHODS.state, (body) => {
		const { shard } = parsed(stateSchema, body);
		return answered(() => service.copyState(shard as ShardRef));
	});

	methods.handle(REPLICA_METHODS.reconcile, async (body, { signal }) => {
		const { shard, peer } = parsed(reconcileSchema, body);
		if (reconcileCount >= REPLICATION_LIMITS.reconcilesMax) {
			throw new HiveError("OVERLOADED", "this node compares as many copies as it can", { retry_after_seconds: 1 });
		}
		reconcileCount++;
		try {
			return await answered(async () => void (await reconciler.reconcile(shard as ShardRef, peer, signal)));
		} finally {
			reconcileCount--;
		}
	});
}

/** A failure that leaves the matter to other copies is an answer; errors of the shard's go as they are. */
async function answered(work: () => Promise<unknown>): Promise<ReplicaAnswer> {
	try {
		return { done: await work() };
	} catch (error) {
		if (!(error instanceof ReplicaFailure)) throw error;
		const { kind, nodeId, message, topologyVersion } = error;
		return {
			failure: {
				kind,
				nodeId,
				message,
				...(topologyVersion !== undefined && { topologyVersion }),
				...(error instanceof Outrun && { outrunBy: error.by }),
			},
		};
	}
}

function parsed<Schema extends z.ZodType>(schema: Schema, body: unknown): z.output<Schema> {
	const result = schema.safeParse(body);
	if (!result.success) throw new HiveError("VALIDATION_FAILED", "this is no question about a copy", { field: "body" });
	return result.data;
}
