import type { Tool } from "@modelcontextprotocol/server";
import type { z } from "zod";
import { HiveError } from "../../base/errors.ts";
import type { Operation } from "../../operations/operation.ts";
import { fieldSchema, type Json, schemaOf } from "../wire/json-schema.ts";
import type { ToolSpec } from "./mcp-tools.ts";

/** What tools need of an operation: everything but running it. */
export type McpOperation = Pick<Operation<never, z.ZodType, unknown>, "name" | "input" | "output">;

/** A tool with its schemas, worked out once. */
export interface CompiledTool {
	readonly operation: string;
	/** As `tools/list` shows it. */
	readonly listed: Tool;
	/** @throws VALIDATION_FAILED for a field that the tool does not have. */
	toInput(given: Record<string, unknown>): Record<string, unknown>;
}

/** Tools of operations that are not there are left out. */
export function compileTools(
	specs: readonly ToolSpec[],
	operations: readonly McpOperation[],
): ReadonlyMap<string, CompiledTool> {
	const byName = new Map(operations.map((operation) => [operation.name, operation]));
	const tools = new Map<string, CompiledTool>();
	for (const spec of specs) {
		const operation = byName.get(spec.operation);
		if (operation !== undefined) tools.set(spec.name, compile(spec, operation));
	}
	return tools;
}

function compile(spec: ToolSpec, operation: McpOperation): CompiledTool {
	const { name, title, description, annotations, toInput = (given) => given } = spec;
	const inputSchema = inputSchemaOf(spec, operation);
	const known = inputSchema.properties as Json;
	return {
		operation: operation.name,
		listed: {
			name,
			title,
			description,
			inputSchema: inputSchema as Tool["inputSchema"],
			outputSchema: readable(schemaOf(operation.output, "output")) as Tool["outputSchema"],
			annotations: { title, ...annotations },
		},
		toInput(given) {
			const unknown = Object.keys(given).find((field) => !Object.hasOwn(known, field));
			if (unknown !== undefined) {
				const field = unknown.slice(0, 100);
				throw new HiveError("VALIDATION_FAILED", `the tool ${name} has no field ${field}`, { field });
			}
			return toInput(given);
		},
	};
}

const CONDITIONS = {
	type: "array",
	items: { type: "object" },
	description: "conditions, or filters within",
};

/**
 * A filter's whole schema has 50 kB, and a model reads it with each tool that has one. This says the same in words; what is wrong
 * with a filter is told when it is used.
 */
const FILTER = {
	type: "object",
	description:
		"which entries count, by their payload. A condition is one of {key, match: {value | any: [] | except: [] | text}}, {key, range: {gt, gte, lt, lte}} " +
		"with numbers or RFC 3339 times, {key, geo_radius: {center: {lat, lon}, radius}} in metres, {key, geo_bounding_box: {top_left, bottom_right}}, " +
		"{key, values_count: {gt, gte, lt, lte}}, {is_empty: {key}}, {is_null: {key}}, {has_id: []}. Dots in a key reach into objects",
	properties: {
		must: { ...CONDITIONS, description: `${CONDITIONS.description}: all are met` },
		should: { ...CONDITIONS, description: `${CONDITIONS.description}: at least one is met` },
		must_not: { ...CONDITIONS, description: `${CONDITIONS.description}: none is met` },
		min_should: {
			type: "object",
			properties: { conditions: CONDITIONS, min_count: { type: "integer", minimum: 0 } },
			required: ["conditions", "min_count"],
		},
	},
	examples: [
		{
			must: [
				{ key: "lang", match: { value: "en" } },
				{ key: "year", range: { gte: 2020 } },
			],
		},
	],
};

/** A model reads each schema of each tool: what every integer is anyway is left out. */
function readable(schema: Json): Json {
	const copy = (value: unknown): unknown => {
		if (Array.isArray(value)) return value.map(copy);
		if (typeof value !== "object" || value === null) return value;
		const said = Object.entries(value).filter(
			([key, bound]) =>
				!(key === "minimum" && bound === Number.MIN_SAFE_INTEGER) &&
				!(key === "maximum" && bound === Number.MAX_SAFE_INTEGER),
		);
		return Object.fromEntries(said.map(([key, inner]) => [key, copy(inner)]));
	};
	return copy(schema) as Json;
}

function inputSchemaOf(
	{ fields, required = [], ownFields = {}, entryFields = [] }: ToolSpec,
	operation: McpOperation,
): Json {
	const whole = readable(schemaOf(operation.input, "input"));
	const theirs = (whole.properties ?? {}) as Json;
	const kept = Object.entries(theirs).filter(([field]) => fields?.includes(field) ?? true);
	const entry = ((theirs.vectors as Json | undefined)?.items ?? {}) as Json;
	const properties: Json = { ...Object.fromEntries(kept), ...ownFields };
	for (const field of entryFields) properties[field] = fieldSchema(entry, field);
	if (Object.hasOwn(properties, "filter")) properties.filter = FILTER;
	const demanded = [...((whole.required ?? []) as string[]), ...required];
	return {
		...whole,
		type: "object",
		properties,
		required: [...new Set(demanded)].filter((field) => Object.hasOwn(properties, field)),
	};
}
