import fc from "fast-check";
import type { ApiDocument, Schema } from "./api-operations.ts";

export interface ValueOptions {
	/** Share of the places at which something else stands than the schema asks for, 0..1. */
	readonly junk: number;
	/** Instead of what the schema of a field of this name allows, most of the time. */
	readonly hints?: Readonly<Record<string, fc.Arbitrary<unknown>>>;
}

const DEPTH_MAX = 5;
const INTEGER_MAX = Number.MAX_SAFE_INTEGER;

/** Values that a JSON schema allows, or nearly so. */
export function valuesOf(
	schema: Schema,
	document: ApiDocument,
	options: ValueOptions,
	depth = 0,
): fc.Arbitrary<unknown> {
	const valid = validValues(document.resolve(schema), document, options, depth);
	if (options.junk === 0) return valid;
	const weight = Math.round(options.junk * 100);
	return fc.oneof({ weight: 100 - weight, arbitrary: valid }, { weight, arbitrary: JUNK });
}

function validValues(
	schema: Schema,
	document: ApiDocument,
	options: ValueOptions,
	depth: number,
): fc.Arbitrary<unknown> {
	const within = (inner: Schema): fc.Arbitrary<unknown> => valuesOf(inner, document, options, depth + 1);
	if ("const" in schema) return fc.constant(schema.const);
	if (Array.isArray(schema.enum)) return fc.constantFrom(...(schema.enum as unknown[]));
	const choices = (schema.anyOf ?? schema.oneOf) as readonly Schema[] | undefined;
	if (choices !== undefined) {
		// Deep down only what holds nothing more, where there is such a choice.
		const flat = choices.filter((each) => !/object|array|undefined/.test(String(document.resolve(each).type)));
		return fc.oneof(...(depth >= DEPTH_MAX && flat.length > 0 ? flat : choices).map(within));
	}
	if (Array.isArray(schema.allOf))
		return within(Object.assign({}, ...(schema.allOf as Schema[]).map((part) => document.resolve(part))));
	const type = Array.isArray(schema.type) ? schema.type : [schema.type];
	return fc.oneof(...type.map((each) => typedValues(String(each), schema, document, options, depth)));
}

function typedValues(
	type: string,
	schema: Schema,
	document: ApiDocument,
	options: ValueOptions,
	depth: number,
): fc.Arbitrary<unknown> {
	const number = (name: string, absent: number): number =>
		typeof schema[name] === "number" ? Math.max(-INTEGER_MAX, Math.min(INTEGER_MAX, schema[name])) : absent;
	switch (type) {
		case "null":
			return fc.constant(null);
		case "boolean":
			return fc.boolean();
		case "integer": {
			const [min, max] = [number("minimum", -INTEGER_MAX), number("maximum", INTEGER_MAX)];
			const small = fc.integer({
				min: Math.ceil(min),
				max: Math.max(Math.ceil(min), Math.min(max, Math.ceil(min) + 10)),
			});
			return fc.oneof(
				{ weight: 5, arbitrary: small },
				fc.maxSafeInteger().map((each) => Math.min(max, Math.max(min, each))),
			);
		}
		case "number":
			return fc.double({ min: number("minimum", -1e6), max: number("maximum", 1e6), noNaN: true });
		case "string":
			return texts(schema);
		case "array": {
			const minLength = number("minItems", 0);
			const maxLength = Math.max(minLength, Math.min(number("maxItems", 4), minLength + (depth >= DEPTH_MAX ? 0 : 4)));
			const item = (schema.items ?? {}) as Schema;
			return fc.array(valuesOf(item, document, options, depth + 1), { minLength, maxLength });
		}
		case "object":
			return objects(schema, document, options, depth);
		default:
			return fc.jsonValue({ maxDepth: 2 });
	}
}

function texts(schema: Schema): fc.Arbitrary<string> {
	if (schema.format === "date-time") return fc.date({ noInvalidDate: true }).map((date) => date.toISOString());
	if (schema.contentEncoding === "base64") return fc.uint8Array({ maxLength: 32 }).map((bytes) => bytes.toBase64());
	const minLength = typeof schema.minLength === "number" ? schema.minLength : 0;
	const maxLength = Math.max(minLength, Math.min(typeof schema.maxLength === "number" ? schema.maxLength : 40, 40));
	if (typeof schema.pattern === "string") {
		return fc.stringMatching(new RegExp(schema.pattern)).map((text) => text.slice(0, Math.max(200, minLength)));
	}
	return fc.oneof(fc.string({ minLength, maxLength }), fc.string({ unit: "grapheme", minLength, maxLength }));
}

function objects(schema: Schema, document: ApiDocument, options: ValueOptions, depth: number): fc.Arbitrary<unknown> {
	const properties = Object.entries((schema.properties ?? {}) as Record<string, Schema>);
	const required = (schema.required ?? []) as string[];
	const isDeep = depth >= DEPTH_MAX;
	const model = Object.fromEntries(
		properties
			.filter(([name]) => !isDeep || required.includes(name))
			.map(([name, inner]) => {
				const hint = options.hints?.[name];
				const values = valuesOf(inner, document, options, depth + 1);
				return [name, hint === undefined ? values : fc.oneof({ weight: 4, arbitrary: hint }, values)];
			}),
	);
	const known = fc.record(model, { requiredKeys: required.filter((name) => name in model) });
	if (properties.length > 0 || isDeep || schema.additionalProperties === false) return known;
	const inner = schema.additionalProperties;
	const value =
		typeof inner === "object" && inner !== null
			? valuesOf(inner as Schema, document, options, depth + 1)
			: fc.jsonValue({ maxDepth: 2 });
	return fc.dictionary(fc.oneof(fc.string({ maxLength: 12 }), PROTOTYPE_NAMES), value, { maxKeys: 4 });
}

const PROTOTYPE_NAMES = fc.constantFrom(
	"__proto__",
	"constructor",
	"prototype",
	"toString",
	"hasOwnProperty",
	"length",
);

const nested = (depth: number): unknown => {
	let value: unknown = 1;
	for (let level = 0; level < depth; level++) value = level % 2 === 0 ? [value] : { must: value };
	return value;
};

/** What no schema asks for. */
const JUNK: fc.Arbitrary<unknown> = fc.oneof(
	fc.constantFrom<unknown>(null, true, "", 0, -1, 1.5, 2 ** 53, -(2 ** 63), 1e308, 5e-324, [], {}, [[]], [null], -0),
	fc.constantFrom<unknown>(nested(20), nested(70), "x".repeat(70_000), "\u0000", "\ud800", "\u202e", "../../..", "%00"),
	PROTOTYPE_NAMES,
	fc.string({ unit: "binary", maxLength: 300 }),
	fc.jsonValue({ maxDepth: 3 }),
	fc.array(fc.double(), { maxLength: 40 }),
	fc.dictionary(PROTOTYPE_NAMES, fc.jsonValue({ maxDepth: 1 }), { maxKeys: 3 }),
);
