import { z } from "zod";
import { HiveError } from "./errors.ts";
import { parseFilter } from "./filter.ts";
import { LIMITS } from "./limits.ts";
import { fieldPathSchema } from "./payload-path.ts";

const key = {
	type: "string",
	minLength: 1,
	maxLength: LIMITS.payloadFieldPathLengthMax,
	description: fieldPathSchema.description ?? "",
};
const anyFilter = { type: "object", description: "a filter of the same form: must, should, must_not, min_should" };

function object(properties: Readonly<Record<string, object>>, required: readonly string[], description?: string) {
	return {
		type: "object",
		properties,
		...(required.length > 0 && { required }),
		additionalProperties: false,
		...(description !== undefined && { description }),
	};
}

function bounds(limit: object, description: string) {
	return { ...object({ gt: limit, gte: limit, lt: limit, lte: limit }, [], description), minProperties: 1 };
}

function checkOf(name: string, check: object, description: string) {
	return object({ key, [name]: check }, ["key", name], description);
}

const listed = { type: "array", items: { type: ["string", "number"] }, maxItems: LIMITS.filterValueCountMax };
const point = object(
	{ lat: { type: "number", minimum: -90, maximum: 90 }, lon: { type: "number", minimum: -180, maximum: 180 } },
	["lat", "lon"],
);

const condition = {
	anyOf: [
		checkOf(
			"match",
			object({ value: { type: ["string", "number", "boolean"] } }, ["value"]),
			"the field has this value",
		),
		checkOf("match", object({ any: listed }, ["any"]), "the field has one of these values"),
		checkOf("match", object({ except: listed }, ["except"]), "the field has a value other than these"),
		checkOf(
			"match",
			object({ text: { type: "string", maxLength: LIMITS.filterTextLengthMax } }, ["text"]),
			"the field's text has all these words",
		),
		checkOf("range", bounds({ type: "number" }, "bounds of a number"), "the field's number lies within bounds"),
		checkOf(
			"range",
			bounds({ type: "string" }, "bounds of a time, RFC 3339, for instance 2024-05-01T12:00:00Z or 2024-05-01"),
			"the field's time lies within bounds",
		),
		checkOf(
			"geo_radius",
			object({ center: point, radius: { type: "number", minimum: 0, description: "metres" } }, ["center", "radius"]),
			"the field's {lat, lon} lies nearer than the radius",
		),
		checkOf(
			"geo_bounding_box",
			object({ top_left: point, bottom_right: point }, ["top_left", "bottom_right"]),
			"the field's {lat, lon} lies within the box, which may cross the antimeridian",
		),
		checkOf(
			"values_count",
			bounds({ type: "integer", minimum: 0 }, "bounds of the count"),
			"the field has so many values",
		),
		object({ is_empty: object({ key }, ["key"]) }, ["is_empty"], "the field is missing, null or []"),
		object({ is_null: object({ key }, ["key"]) }, ["is_null"], "the field is null"),
		object(
			{
				has_id: {
					type: "array",
					items: { type: ["string", "integer"] },
					maxItems: LIMITS.filterValueCountMax,
				},
			},
			["has_id"],
			'the vector has one of these ids; 1 and "1" are different',
		),
		object(
			{ nested: object({ key, filter: anyFilter }, ["key", "filter"]) },
			["nested"],
			"one object of the array at the key matches the filter by itself",
		),
		anyFilter,
	],
};

const conditions = {
	anyOf: [condition, { type: "array", items: condition, maxItems: LIMITS.filterConditionCountMax }],
};

/**
 * The filter grammar as JSON Schema for API descriptions. Whole in itself, without references: a filter within a
 * filter is described in words. `parseFilter` is what decides.
 */
export const filterJsonSchema = {
	...object(
		{
			must: { ...conditions, description: "all of these hold" },
			should: { ...conditions, description: "at least one of these holds" },
			must_not: { ...conditions, description: "none of these holds" },
			min_should: object(
				{ conditions, min_count: { type: "integer", minimum: 0 } },
				["conditions", "min_count"],
				"at least min_count of these hold",
			),
		},
		[],
	),
	description: `Which vectors to consider, by payload and id. At most ${LIMITS.filterDepthMax} levels and ${LIMITS.filterConditionCountMax} conditions.`,
	examples: [
		{
			must: [
				{ key: "city", match: { value: "Oslo" } },
				{ key: "price", range: { lt: 100 } },
			],
		},
	],
};

/**
 * `parseFilter` as a schema, for use within others. Its issue carries `params.code` INVALID_FILTER and a path of the
 * filter's own (`["must", 0, "range", "gt"]`), so that whoever turns issues into errors can keep the code.
 */
export const filterSchema = z
	.unknown()
	.meta(filterJsonSchema)
	.transform((value, context) => {
		try {
			return parseFilter(value, "filter");
		} catch (error) {
			if (!(error instanceof HiveError)) throw error;
			const field = String(error.details?.field);
			context.addIssue({
				code: "custom",
				message: error.message,
				path: issuePath(field),
				params: { code: error.code, field },
			});
			return z.NEVER;
		}
	});

/** `filter.must[0].key` to `["must", 0, "key"]`. */
function issuePath(field: string): (string | number)[] {
	return field
		.split(/[.[\]]+/)
		.slice(1)
		.filter((step) => step !== "")
		.map((step) => (/^\d+$/.test(step) ? Number(step) : step));
}
