import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import { fullName } from "../base/ids.ts";
import { inPages } from "../base/in-pages.ts";
import { LIMITS } from "../base/limits.ts";
import {
	collectionNameSchema,
	hnswSchema,
	indexKindSchema,
	metricSchema,
	payloadIndexTypeSchema,
	quantizationSchema,
} from "../base/schemas.ts";
import { textSettingsSchema } from "../base/text-settings.ts";
import type { Collection, Tenant } from "../cluster/tenant-types.ts";
import type { CollectionRecord } from "../hub/models.ts";
import { collectionField, definedFields } from "./input-fields.ts";
import { newDimension, newTextField, textSettings } from "./new-text.ts";
import { type AnyOperation, defineOperation } from "./node-services.ts";

/** Collections whose counts are asked for at the same time when all are listed. */
const STATS_IN_FLIGHT_MAX = 16;

const collectionInfoSchema = z.strictObject({
	name: z.string(),
	full_name: z.string().describe("{tenant_id}:{name}"),
	dimension: z.int(),
	metric: metricSchema,
	quantization: quantizationSchema,
	index: indexKindSchema,
	shards: z.int(),
	replicas: z.int(),
	hnsw: z.strictObject({ m: z.int(), ef_construction: z.int(), ef_search: z.int() }),
	payload_indexes: z.record(z.string(), payloadIndexTypeSchema),
	text: textSettingsSchema.optional().describe("how text is treated; absent: the collection knows vectors only"),
	vectors: z.int().nullable().describe("vectors stored; null when the collection is damaged or unreachable"),
	bytes: z.int().nullable().describe("bytes the storage quota counts"),
	disk_bytes: z.int().nullable(),
	index_state: z
		.enum(["exact", "building", "ready", "damaged", "unreachable"])
		.describe(
			"exact: searched without a graph; building: the graph grows in the background; ready: it holds everything; " +
				"damaged: stored data failed its checks, and nothing is answered from it; unreachable: none of the nodes that hold some of it answers",
		),
	indexed_vectors: z.int().nullable(),
	index_rebuilt: z.string().optional().describe("why the index was built anew when the collection was opened"),
	damage: z.string().optional().describe("what is wrong, when the state is damaged"),
	created_at: z.string(),
});

type CollectionInfo = z.infer<typeof collectionInfoSchema>;

async function collectionInfo(collection: Collection): Promise<CollectionInfo> {
	const { record } = collection;
	return { ...describe(record), ...(await stateOf(collection)) };
}

type CollectionState = Pick<
	CollectionInfo,
	"vectors" | "bytes" | "disk_bytes" | "index_state" | "indexed_vectors" | "index_rebuilt" | "damage"
>;

/** A collection that is damaged, or whose nodes are away, can still be listed and deleted, and does not hide the others. */
async function stateOf(collection: Collection): Promise<CollectionState> {
	try {
		const stats = await collection.stats();
		return {
			vectors: stats.vectorCount,
			bytes: stats.bytes,
			disk_bytes: stats.diskBytes,
			index_state: stats.indexState,
			indexed_vectors: stats.indexedCount,
			...(stats.rebuildReason !== undefined && { index_rebuilt: stats.rebuildReason }),
		};
	} catch (error) {
		const unknown = { vectors: null, bytes: null, disk_bytes: null, indexed_vectors: null };
		const code = error instanceof HiveError ? error.code : undefined;
		if (code === "NO_QUORUM") return { ...unknown, index_state: "unreachable" };
		if (code === "INTERNAL") return { ...unknown, index_state: "damaged", damage: (error as HiveError).message };
		throw error;
	}
}

function describe(record: CollectionRecord): Omit<CollectionInfo, keyof CollectionState> {
	return {
		name: record.name,
		full_name: fullName(record.tenant_id, record.name),
		dimension: record.dimension,
		metric: record.metric,
		quantization: record.quantization,
		index: record.index,
		shards: record.shards,
		replicas: record.replicas,
		hnsw: record.hnsw,
		payload_indexes: record.payload_indexes,
		...(record.text !== undefined && { text: record.text }),
		created_at: record.created_at,
	};
}

/** Undefined when the collection was deleted since it was listed. */
async function infoIfThere(tenant: Tenant, name: string): Promise<CollectionInfo | undefined> {
	try {
		return await collectionInfo(await tenant.collection(name));
	} catch (error) {
		if (error instanceof HiveError && error.code === "COLLECTION_NOT_FOUND") return undefined;
		throw error;
	}
}

const listCollections = defineOperation({
	name: "collections.list",
	summary: "List the tenant's collections",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE", "READ_ONLY", "MCP"],
	input: z.strictObject({}),
	output: z.strictObject({ collections: z.array(collectionInfoSchema) }),
	rest: { method: "GET", path: "/collections" },
	async run({ tenant }) {
		const records = await tenant.listCollections();
		const infos: CollectionInfo[] = [];
		for await (const found of inPages(records, STATS_IN_FLIGHT_MAX, ({ name }) => infoIfThere(tenant, name))) {
			for (const info of found) if (info !== undefined) infos.push(info);
		}
		return { collections: infos };
	},
});

const createCollection = defineOperation({
	name: "collections.create",
	summary: "Create a collection",
	description:
		"`quantization` is how the search graph keeps vectors; what is stored and answered stays float32. " +
		"`index: auto` searches exactly while that is quick and builds an HNSW graph beyond.",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE"],
	input: z.strictObject({
		name: collectionNameSchema.meta({ examples: ["docs"] }),
		dimension: z
			.int()
			.min(1)
			.max(LIMITS.dimensionMax)
			.optional()
			.describe("may be left out with a `text.provider`, which knows it")
			.meta({ examples: [384] }),
		metric: metricSchema.default("cosine"),
		quantization: quantizationSchema.default("f16"),
		index: indexKindSchema.default("auto"),
		shards: z.int().min(1).max(LIMITS.shardCountMax).default(1),
		replicas: z.int().min(1).max(LIMITS.replicaCountMax).optional().describe("default: the cluster's"),
		hnsw: hnswSchema.prefault({}),
		text: newTextField,
	}),
	output: collectionInfoSchema,
	rest: { method: "POST", path: "/collections", body: "json", status: 201 },
	async run(context, input) {
		const { tenant, services } = context;
		const { text, ...vectors } = input;
		const settings = text === undefined ? undefined : textSettings(text, services.embedder);
		const collection = await tenant.createCollection({
			...vectors,
			dimension: await newDimension(input.dimension, settings, context),
			...(settings !== undefined && { text: settings }),
			replicas: input.replicas ?? services.defaultReplicaCount,
			payload_indexes: {},
		});
		return collectionInfo(collection);
	},
});

const getCollection = defineOperation({
	name: "collections.get",
	summary: "Show a collection with its counts, bytes and index state",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE", "READ_ONLY", "MCP"],
	input: z.strictObject({ collection: collectionField }),
	output: collectionInfoSchema,
	rest: { method: "GET", path: "/collections/{collection}" },
	async run({ tenant }, input) {
		return collectionInfo(await tenant.collection(input.collection));
	},
});

const updateCollection = defineOperation({
	name: "collections.update",
	summary: "Change a collection's default ef_search or its number of replicas",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE"],
	input: z
		.strictObject({
			collection: collectionField,
			hnsw: z.strictObject({ ef_search: z.int().min(1).max(LIMITS.efSearchMax) }).optional(),
			replicas: z.int().min(1).max(LIMITS.replicaCountMax).optional(),
		})
		.refine((input) => input.hnsw !== undefined || input.replicas !== undefined, {
			error: "give hnsw.ef_search, replicas or both",
			path: ["hnsw"],
		}),
	output: collectionInfoSchema,
	rest: { method: "PATCH", path: "/collections/{collection}", body: "json" },
	async run({ tenant }, input) {
		const collection = await tenant.collection(input.collection);
		const patch = definedFields({ ef_search: input.hnsw?.ef_search, replicas: input.replicas });
		await collection.reconfigure(patch);
		return collectionInfo(await tenant.collection(input.collection));
	},
});

const deleteCollection = defineOperation({
	name: "collections.delete",
	summary: "Delete a collection with everything in it",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE"],
	input: z.strictObject({ collection: collectionField }),
	output: z.strictObject({ deleted: z.literal(true) }),
	rest: { method: "DELETE", path: "/collections/{collection}" },
	async run({ tenant }, input) {
		await tenant.deleteCollection(input.collection);
		return { deleted: true };
	},
});

export const COLLECTION_OPERATIONS: readonly AnyOperation[] = [
	listCollections,
	createCollection,
	getCollection,
	updateCollection,
	deleteCollection,
];
