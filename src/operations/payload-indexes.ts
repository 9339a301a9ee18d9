import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import { fieldPathSchema } from "../base/payload-path.ts";
import { payloadIndexTypeSchema } from "../base/schemas.ts";
import { collectionField } from "./input-fields.ts";
import { type AnyOperation, defineOperation } from "./node-services.ts";

const payloadIndexesSchema = z.strictObject({
	payload_indexes: z.record(z.string(), payloadIndexTypeSchema).describe("all of the collection's, by field"),
});

const createPayloadIndex = defineOperation({
	name: "payload_indexes.create",
	summary: "Index a payload field, so that filters on it need not look at every vector",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE"],
	input: z.strictObject({ collection: collectionField, field: fieldPathSchema, type: payloadIndexTypeSchema }),
	output: payloadIndexesSchema,
	rest: { method: "PUT", path: "/collections/{collection}/payload-indexes/{field}", body: "json" },
	async run({ tenant }, input) {
		const collection = await tenant.collection(input.collection);
		const present = collection.record.payload_indexes;
		if (!Object.hasOwn(present, input.field) && Object.keys(present).length >= LIMITS.payloadIndexesMax) {
			throw new HiveError("VALIDATION_FAILED", `a collection has at most ${LIMITS.payloadIndexesMax} payload indexes`, {
				field: "field",
			});
		}
		const record = await collection.createPayloadIndex(input.field, input.type);
		return { payload_indexes: record.payload_indexes };
	},
});

const dropPayloadIndex = defineOperation({
	name: "payload_indexes.delete",
	summary: "Drop the index of a payload field",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE"],
	input: z.strictObject({ collection: collectionField, field: fieldPathSchema }),
	output: payloadIndexesSchema,
	rest: { method: "DELETE", path: "/collections/{collection}/payload-indexes/{field}" },
	async run({ tenant }, input) {
		const collection = await tenant.collection(input.collection);
		if (!Object.hasOwn(collection.record.payload_indexes, input.field)) {
			throw new HiveError("NOT_FOUND", "the collection has no payload index on this field", { field: "field" });
		}
		const record = await collection.dropPayloadIndex(input.field);
		return { payload_indexes: record.payload_indexes };
	},
});

export const PAYLOAD_INDEX_OPERATIONS: readonly AnyOperation[] = [createPayloadIndex, dropPayloadIndex];
