import { z } from "zod";
import { filterSchema } from "../base/filter-schema.ts";
import { COLLECTION_NAME_PATTERN } from "../base/ids.ts";
import { LIMITS } from "../base/limits.ts";
import { consistencySchema, vectorIdSchema } from "../base/schemas.ts";

/** Fields that many operations take. Vectors are checked by hand in `run`, and documented here. */

/**
 * A collection named in a path. `tenant:name`, which answers show as `full_name`, is admitted by form and found nowhere: to
 * name another tenant's collection is to name none.
 */
export const collectionField = z
	.string()
	.regex(
		new RegExp(`^(?:[a-z][a-z0-9_-]{1,62}:)?${COLLECTION_NAME_PATTERN.source.slice(1)}`),
		"a collection name is 1 to 128 of A-Z, a-z, 0-9, '.', '_' and '-', and starts with a letter or digit",
	)
	.meta({ description: "name of the collection", examples: ["docs"] });

export const VECTOR_JSON_SCHEMA = {
	description: "numbers, or little-endian float32 in base64",
	anyOf: [
		{ type: "array" as const, items: { type: "number" as const }, minItems: 1, maxItems: LIMITS.dimensionMax },
		{
			type: "object" as const,
			properties: { base64: { type: "string" as const, contentEncoding: "base64" as const } },
			required: ["base64"],
			additionalProperties: false as const,
		},
	],
};

export const PAYLOAD_JSON_SCHEMA = {
	type: "object" as const,
	description: `any JSON object, at most ${LIMITS.payloadBytesMax} bytes of JSON`,
	additionalProperties: true,
};

/** Checked by `parseVector`: a schema that looks at every number costs more than the search. */
export const vectorField = z.unknown().optional().meta(VECTOR_JSON_SCHEMA);

export const filterField = filterSchema.optional();

export const idsField = z
	.array(vectorIdSchema)
	.min(1)
	.max(LIMITS.getIdsMax)
	.describe('ids of vectors; 1 and "1" are different');

export const withPayloadField = z.boolean().default(true).describe("answer payloads");
export const withVectorField = z.boolean().default(false).describe("answer vectors, as arrays of numbers");

export const readConsistencyField = consistencySchema
	.optional()
	.describe("copies that are asked, of which the newest counts; default: the node's `cluster.read_consistency`");
export const writeConsistencyField = consistencySchema
	.optional()
	.describe(
		"copies that must have the write before it is acknowledged; default: the node's `cluster.write_consistency`",
	);

type Defined<T> = { [K in keyof T]: Exclude<T[K], undefined> };

/** The same object without the fields that are undefined: absent is absent on the floors below. */
export function definedFields<T extends object>(fields: T): Partial<Defined<T>> {
	return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as Partial<Defined<T>>;
}
