import { z } from "zod";

export type Json = Record<string, unknown>;

/**
 * A schema as it stands on the wire. What has no form in JSON Schema is described by `.meta`, or can be anything.
 *
 * @param io `input`: before defaults and transforms; `output`: after them
 */
export const schemaOf = (schema: z.ZodType, io: "input" | "output"): Json =>
	withoutDialect(z.toJSONSchema(schema, schemaOptions(io)) as Json);

function schemaOptions(io: "input" | "output"): Parameters<typeof z.toJSONSchema>[1] & object {
	return {
		io,
		unrepresentable: "any",
		override: ({ zodSchema, jsonSchema }) => {
			// A brand put on by a transform changes nothing about what stands on the wire.
			const { def } = zodSchema._zod;
			if (io === "output" && def.type === "pipe" && def.out._zod.def.type === "transform") {
				Object.assign(jsonSchema, schemaOf(def.in as z.ZodType, "output"));
			}
		},
	};
}

function withoutDialect(schema: Json): Json {
	const { $schema: _, ...rest } = schema;
	return rest;
}

/** Moves a schema's own `$defs`, which recursion makes, to the document's components, where references can reach them. */
export function hoisted(schema: Json, owner: string, schemas: Json): Json {
	const { $defs, ...rest } = schema;
	if ($defs === undefined) return rest;
	const names = new Map(
		Object.keys($defs as Json).map((name) => {
			const isNamed = !name.startsWith("__");
			return [`#/$defs/${name}`, isNamed ? name : `${owner}.${name.replaceAll("_", "")}`];
		}),
	);
	const relink = (value: unknown): unknown => {
		if (Array.isArray(value)) return value.map(relink);
		if (typeof value !== "object" || value === null) return value;
		return Object.fromEntries(
			Object.entries(value).map(([key, inner]) => {
				const name = key === "$ref" ? names.get(inner as string) : undefined;
				return [key, name === undefined ? relink(inner) : `#/components/schemas/${name}`];
			}),
		);
	};
	for (const [name, definition] of Object.entries($defs as Json)) {
		const { id: _, ...kept } = relink(definition) as Json;
		schemas[names.get(`#/$defs/${name}`)!] = kept;
	}
	return relink(rest) as Json;
}

const BRANCHES = ["anyOf", "oneOf", "allOf"] as const;

function branchesOf(schema: Json): readonly Json[] {
	return BRANCHES.flatMap((key) => (Array.isArray(schema[key]) ? (schema[key] as Json[]) : []));
}

/** A field's schema, in an object or in the first branch that has it. */
export function fieldSchema(schema: Json, field: string): Json | undefined {
	const own = (schema.properties as Record<string, Json> | undefined)?.[field];
	return (
		own ??
		branchesOf(schema)
			.map((branch) => fieldSchema(branch, field))
			.find((found) => found !== undefined)
	);
}

export const isRequired = (schema: Json, field: string): boolean =>
	Array.isArray(schema.required) && schema.required.includes(field);

/** The schema of what is left for the body. */
export function withoutFields(schema: Json, fields: ReadonlySet<string>): Json {
	const copy: Json = { ...schema };
	for (const key of BRANCHES) {
		if (Array.isArray(copy[key])) copy[key] = (copy[key] as Json[]).map((branch) => withoutFields(branch, fields));
	}
	if (typeof copy.properties === "object") {
		copy.properties = Object.fromEntries(Object.entries(copy.properties as Json).filter(([name]) => !fields.has(name)));
	}
	if (Array.isArray(copy.required)) {
		const required = copy.required.filter((name: string) => !fields.has(name));
		if (required.length > 0) copy.required = required;
		else delete copy.required;
	}
	return copy;
}

/** Characters of JSON from which on a schema is worth a name. */
const SHARED_CHARS_MIN = 1_000;

/**
 * Gives large schemas that stand at several fields a place and a name of their own, after the field: a filter is
 * described once. Changes `schemas`.
 */
export function shareFields(schemas: Json): void {
	const counts = new Map<string, number>();
	for (const schema of Object.values(schemas)) {
		visitFields(schema, (_, text) => {
			counts.set(text, (counts.get(text) ?? 0) + 1);
			return undefined;
		});
	}
	const names = new Map<string, string>();
	for (const owner of Object.keys(schemas)) {
		schemas[owner] = visitFields(schemas[owner], (field, text) => {
			if (counts.get(text) === 1) return undefined;
			let name = names.get(text);
			if (name === undefined) {
				name = field[0]!.toUpperCase() + field.slice(1);
				if (Object.hasOwn(schemas, name)) return undefined;
				names.set(text, name);
				schemas[name] = JSON.parse(text) as Json;
			}
			return { $ref: `#/components/schemas/${name}` };
		});
	}
}

/** Copies a schema; large fields are what `replace` says, or are gone through in turn. */
function visitFields(value: unknown, replace: (field: string, text: string) => Json | undefined): unknown {
	if (Array.isArray(value)) return value.map((entry) => visitFields(entry, replace));
	if (typeof value !== "object" || value === null) return value;
	const copy: Json = {};
	for (const [key, inner] of Object.entries(value)) {
		if (key !== "properties") copy[key] = visitFields(inner, replace);
		else {
			copy[key] = Object.fromEntries(
				Object.entries(inner as Json).map(([field, schema]) => {
					const text = JSON.stringify(schema);
					const replaced = text.length < SHARED_CHARS_MIN ? undefined : replace(field, text);
					return [field, replaced ?? visitFields(schema, replace)];
				}),
			);
		}
	}
	return copy;
}
