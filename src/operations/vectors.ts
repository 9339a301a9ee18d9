import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import type { Filter } from "../base/filter.ts";
import { newVectorId, type VectorId } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { vectorIdSchema } from "../base/schemas.ts";
import { parseVector, requireFit } from "../base/vector.ts";
import type { Selector } from "../storage/shard-types.ts";
import {
	collectionField,
	filterField,
	idsField,
	PAYLOAD_JSON_SCHEMA,
	readConsistencyField,
	VECTOR_JSON_SCHEMA,
	vectorField,
	withPayloadField,
	withVectorField,
	writeConsistencyField,
} from "./input-fields.ts";
import { type AnyOperation, defineOperation } from "./node-services.ts";
import { embedderFor, embedOne, requireText, TEXT_JSON_SCHEMA, textField } from "./text-vectors.ts";
import { vectorAnswer, vectorAnswerSchema } from "./vector-answer.ts";
import { embedEntries, packEntries, parseVectorEntry, payloadText, payloadWithText } from "./vector-entry.ts";

const READERS = ["ADMIN", "READ_WRITE", "READ_ONLY", "MCP"] as const;
const WRITERS = ["ADMIN", "READ_WRITE", "MCP"] as const;
const DELETERS = ["ADMIN", "READ_WRITE"] as const;

const INTEGER_ID_PATTERN = /^(?:0|[1-9]\d{0,15})$/;

/** One vector named in a path, where integers and strings look alike. */
const pathIdFields = {
	collection: collectionField,
	id: vectorIdSchema.describe(
		"percent-encoded. Digits alone (no leading zero, up to 2^53-1) mean the integer id, unless `id_type=string`",
	),
	id_type: z.enum(["auto", "string"]).default("auto").describe('`string`: `7` means the id "7", not 7'),
};

function pathId(input: { readonly id: VectorId; readonly id_type: "auto" | "string" }): VectorId {
	if (typeof input.id === "number" || input.id_type === "string" || !INTEGER_ID_PATTERN.test(input.id)) return input.id;
	const integer = Number(input.id);
	return integer <= LIMITS.vectorIdIntegerMax ? integer : input.id;
}

const vectorNotFound = (id: VectorId): HiveError =>
	new HiveError("VECTOR_NOT_FOUND", "the collection has no vector with this id", { id });

function orThrow<T>(made: T | HiveError): T {
	if (made instanceof HiveError) throw made;
	return made;
}

const selectorFields = { collection: collectionField, ids: idsField.optional(), filter: filterField };
const ONE_SELECTOR = { error: "give either ids or filter", path: ["ids"] };
const hasOneSelector = (input: { readonly ids?: unknown; readonly filter?: unknown }): boolean =>
	(input.ids === undefined) !== (input.filter === undefined);

/** After `hasOneSelector`. */
const selectorOf = (input: {
	readonly ids?: readonly VectorId[] | undefined;
	readonly filter?: Filter | undefined;
}): Selector => (input.ids === undefined ? { filter: input.filter! } : { ids: input.ids });

const upsertVectors = defineOperation({
	name: "vectors.upsert",
	summary: "Insert vectors, or replace those with the same ids",
	description:
		"Each has a `vector`, or, where the collection has a `text.provider`, a `text` that becomes one and is kept in the payload. The whole request is " +
		"checked before anything is written, and each shard writes its part atomically. Of vectors with the same id in one request the last counts.",
	scope: "tenant",
	permissions: WRITERS,
	input: z.strictObject({
		collection: collectionField,
		vectors: z
			.array(
				z.unknown().meta({
					type: "object",
					properties: {
						id: {
							description: "made up when absent",
							anyOf: [
								{ type: "string", minLength: 1, maxLength: LIMITS.vectorIdBytesMax },
								{ type: "integer", minimum: 0, maximum: LIMITS.vectorIdIntegerMax },
							],
						},
						vector: VECTOR_JSON_SCHEMA,
						text: TEXT_JSON_SCHEMA,
						payload: PAYLOAD_JSON_SCHEMA,
					},
					additionalProperties: false,
					examples: [{ id: "a", vector: [0.1, 0.2, 0.3], payload: { lang: "en" } }],
				}),
			)
			.min(1)
			.max(LIMITS.upsertVectorsMax),
		consistency: writeConsistencyField,
	}),
	output: z.strictObject({
		upserted: z.int().describe("vectors written, each id once"),
		ids: z.array(z.union([z.string(), z.int()])).describe("in the order of the request, made-up ones included"),
	}),
	rest: { method: "POST", path: "/collections/{collection}/vectors", body: "json" },
	async run(context, input) {
		const { tenant, services } = context;
		const collection = await tenant.collection(input.collection);
		const { record } = collection;
		const newId = (): VectorId => newVectorId(services.random);
		const placeOf = (index: number): string => `vectors[${index}]`;
		const parsed = input.vectors.map((entry, index) => parseVectorEntry(entry, placeOf(index), record, newId));
		const entries = (await embedEntries(parsed, record, embedderFor(context, record), placeOf)).map(orThrow);
		const { affectedCount } = await collection.upsert(packEntries(entries, record.dimension), input.consistency);
		services.meter.countVectorsWritten(tenant.id, affectedCount);
		return { upserted: affectedCount, ids: entries.map((entry) => entry.id) };
	},
});

const getVector = defineOperation({
	name: "vectors.get",
	summary: "Read one vector",
	scope: "tenant",
	permissions: READERS,
	input: z.strictObject({
		...pathIdFields,
		with_payload: withPayloadField,
		with_vector: withVectorField,
		consistency: readConsistencyField,
	}),
	output: vectorAnswerSchema,
	rest: {
		method: "GET",
		path: "/collections/{collection}/vectors/{id}",
		query: ["id_type", "with_payload", "with_vector", "consistency"],
	},
	async run({ tenant }, input) {
		const collection = await tenant.collection(input.collection);
		const id = pathId(input);
		const options = { withPayload: input.with_payload, withVector: input.with_vector };
		const [stored] = await collection.get([id], options, input.consistency);
		if (stored === undefined) throw vectorNotFound(id);
		return vectorAnswer(stored);
	},
});

const updateVector = defineOperation({
	name: "vectors.update",
	summary: "Merge a vector's payload, replace the vector, or both",
	description:
		"Top-level fields of `payload` replace those that are stored; null removes a field. `text` replaces the vector where the collection has a " +
		"`text.provider`, and the text that is kept in the payload.",
	scope: "tenant",
	permissions: WRITERS,
	input: z
		.strictObject({
			...pathIdFields,
			vector: vectorField,
			text: textField,
			payload: z.unknown().optional().meta(PAYLOAD_JSON_SCHEMA),
			consistency: writeConsistencyField,
		})
		.refine(
			(input) => input.vector !== undefined || input.text !== undefined || (input.payload ?? undefined) !== undefined,
			{ error: "give vector, payload or both", path: ["payload"] },
		)
		.refine((input) => input.vector === undefined || input.text === undefined, {
			error: "give either vector or text",
			path: ["text"],
		}),
	output: z.strictObject({ id: z.union([z.string(), z.int()]), updated: z.literal(true) }),
	rest: { method: "PATCH", path: "/collections/{collection}/vectors/{id}", query: ["id_type"], body: "json" },
	async run(context, input) {
		const { tenant, services } = context;
		const collection = await tenant.collection(input.collection);
		const { record } = collection;
		const id = pathId(input);
		const request: { id: VectorId; vector?: Float32Array; payloadPatch?: string } = { id };
		if (input.vector !== undefined) {
			request.vector = parseVector(input.vector, "vector");
			requireFit(request.vector, record, "vector");
		}
		const text = input.text === undefined ? undefined : requireText(input.text, record, "text");
		const payloadPatch =
			text === undefined
				? payloadText(input.payload, "payload")
				: payloadWithText(input.payload, text, record, "payload");
		if (payloadPatch !== undefined) request.payloadPatch = payloadPatch;
		if (text !== undefined) {
			request.vector = await embedOne(embedderFor(context, record), text, "text");
			requireFit(request.vector, record, "text", "the vector of the text");
		}
		await collection.update(request, input.consistency);
		services.meter.countVectorsWritten(tenant.id, 1);
		return { id, updated: true };
	},
});

const deleteVector = defineOperation({
	name: "vectors.delete_one",
	summary: "Delete one vector",
	scope: "tenant",
	permissions: DELETERS,
	input: z.strictObject({ ...pathIdFields, consistency: writeConsistencyField }),
	output: z.strictObject({ deleted: z.int() }),
	rest: { method: "DELETE", path: "/collections/{collection}/vectors/{id}", query: ["id_type", "consistency"] },
	async run({ tenant }, input) {
		const collection = await tenant.collection(input.collection);
		const id = pathId(input);
		const { affectedCount } = await collection.delete({ ids: [id] }, input.consistency);
		if (affectedCount === 0) throw vectorNotFound(id);
		return { deleted: affectedCount };
	},
});

const getVectors = defineOperation({
	name: "vectors.get_many",
	summary: "Read vectors by ids or by filter",
	description: "By ids: in their order, without those that are not there. By filter: the first `limit` in id order.",
	scope: "tenant",
	permissions: READERS,
	input: z
		.strictObject({
			...selectorFields,
			limit: z.int().min(1).max(LIMITS.scrollLimitMax).default(LIMITS.scrollLimitDefault),
			with_payload: withPayloadField,
			with_vector: withVectorField,
			consistency: readConsistencyField,
		})
		.refine(hasOneSelector, ONE_SELECTOR),
	output: z.strictObject({ vectors: z.array(vectorAnswerSchema) }),
	rest: { method: "POST", path: "/collections/{collection}/vectors/get", body: "json" },
	async run({ tenant }, input) {
		const collection = await tenant.collection(input.collection);
		const options = { withPayload: input.with_payload, withVector: input.with_vector };
		const selector = selectorOf(input);
		if ("ids" in selector) {
			const found = await collection.get(selector.ids, options, input.consistency);
			return { vectors: found.filter((stored) => stored !== undefined).map(vectorAnswer) };
		}
		const page = await collection.scroll(
			{ ...options, filter: selector.filter, limit: input.limit },
			input.consistency,
		);
		return { vectors: page.vectors.map(vectorAnswer) };
	},
});

const deleteVectors = defineOperation({
	name: "vectors.delete_many",
	summary: "Delete vectors by ids or by filter",
	scope: "tenant",
	permissions: DELETERS,
	input: z.strictObject({ ...selectorFields, consistency: writeConsistencyField }).refine(hasOneSelector, ONE_SELECTOR),
	output: z.strictObject({ deleted: z.int().describe("vectors that were there") }),
	rest: { method: "POST", path: "/collections/{collection}/vectors/delete", body: "json" },
	async run({ tenant }, input) {
		const collection = await tenant.collection(input.collection);
		const { affectedCount } = await collection.delete(selectorOf(input), input.consistency);
		return { deleted: affectedCount };
	},
});

const countVectors = defineOperation({
	name: "vectors.count",
	summary: "Count vectors: all, those a filter matches, or those of some ids that are there",
	scope: "tenant",
	permissions: READERS,
	input: z
		.strictObject({ ...selectorFields, consistency: readConsistencyField })
		.refine((input) => input.ids === undefined || input.filter === undefined, ONE_SELECTOR),
	output: z.strictObject({ count: z.int() }),
	rest: { method: "POST", path: "/collections/{collection}/vectors/count", body: "json" },
	async run({ tenant }, input) {
		const collection = await tenant.collection(input.collection);
		if (input.ids === undefined) {
			return { count: await collection.count(input.filter, input.consistency) };
		}
		const options = { withPayload: false, withVector: false };
		const found = await collection.get([...new Set(input.ids)], options, input.consistency);
		return { count: found.filter((stored) => stored !== undefined).length };
	},
});

const scrollVectors = defineOperation({
	name: "vectors.scroll",
	summary: "Read all vectors page by page, in id order",
	scope: "tenant",
	permissions: READERS,
	input: z.strictObject({
		collection: collectionField,
		filter: filterField,
		limit: z.int().min(1).max(LIMITS.scrollLimitMax).default(LIMITS.scrollLimitDefault),
		cursor: z.string().min(1).max(1_024).nullable().optional().describe("`next_cursor` of the page before"),
		with_payload: withPayloadField,
		with_vector: withVectorField,
		consistency: readConsistencyField,
	}),
	output: z.strictObject({ vectors: z.array(vectorAnswerSchema), next_cursor: z.string().nullable() }),
	rest: { method: "POST", path: "/collections/{collection}/vectors/scroll", body: "json" },
	async run({ tenant }, input) {
		const collection = await tenant.collection(input.collection);
		const request = {
			limit: input.limit,
			withPayload: input.with_payload,
			withVector: input.with_vector,
			...(input.filter === undefined ? {} : { filter: input.filter }),
			...(input.cursor ? { cursor: input.cursor } : {}),
		};
		const page = await collection.scroll(request, input.consistency);
		return { vectors: page.vectors.map(vectorAnswer), next_cursor: page.cursor };
	},
});

export const VECTOR_OPERATIONS: readonly AnyOperation[] = [
	upsertVectors,
	getVector,
	updateVector,
	deleteVector,
	getVectors,
	deleteVectors,
	countVectors,
	scrollVectors,
];
