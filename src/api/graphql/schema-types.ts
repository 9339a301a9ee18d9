import {
	GraphQLBoolean,
	GraphQLEnumType,
	GraphQLFloat,
	GraphQLInputObjectType,
	type GraphQLInputType,
	GraphQLInt,
	GraphQLList,
	type GraphQLNamedType,
	GraphQLNonNull,
	type GraphQLNullableInputType,
	type GraphQLNullableOutputType,
	GraphQLObjectType,
	type GraphQLOutputType,
	GraphQLString,
	isEnumType,
	isInputObjectType,
	isListType,
	isNonNullType,
} from "graphql";
import type { Json } from "../wire/json-schema.ts";
import { camelCase, enumName, pascalCase } from "./names.ts";
import type { Scalars } from "./scalars.ts";

const INT_MAX = 2 ** 31 - 1;

/** What an input field or argument is called in the operation's input, and whether null says something there. */
export interface InputExtensions {
	readonly inputName: string;
	readonly takesNull: boolean;
}

interface InputConfig {
	readonly type: GraphQLInputType;
	readonly description?: string;
	readonly default?: { readonly value: unknown };
	readonly extensions: { readonly hive: InputExtensions };
}

interface Bare {
	readonly schema: Json;
	readonly isNullable: boolean;
}

/**
 * GraphQL types from the operations' schemas, as JSON Schema has them. What is the same on the wire is one type: the same
 * collection answers many fields.
 */
export class SchemaTypes {
	readonly #scalars: Scalars;
	readonly #byShape = new Map<string, GraphQLNamedType>();
	readonly #names = new Set<string>(["Query", "Mutation", "Subscription"]);

	constructor(scalars: Scalars) {
		this.#scalars = scalars;
	}

	/** @param name of the type, if the schema is an object's that has none yet */
	output(schema: Json, name: string): GraphQLOutputType {
		const { schema: bare, isNullable } = bared(schema);
		const type = this.#outputOf(bare, name);
		return isNullable ? type : new GraphQLNonNull(type);
	}

	/** @param isRequired whether the field has to be there. @param owner name of the type, or field, that it belongs to */
	input(field: string, schema: Json, isRequired: boolean, owner: string): InputConfig {
		const { schema: bare, isNullable } = bared(schema);
		const type = this.#inputOf(bare, field, owner);
		const initial = defaultOf(schema, type);
		return {
			type: isRequired && !isNullable ? new GraphQLNonNull(type) : type,
			...described(schema),
			...(initial !== undefined && { default: { value: initial } }),
			extensions: { hive: { inputName: field, takesNull: isNullable } },
		};
	}

	#outputOf(schema: Json, name: string): GraphQLNullableOutputType {
		const leaf = this.#leaf(schema, name, name);
		if (leaf !== undefined) return leaf;
		if (schema.type === "array") return new GraphQLList(this.output((schema.items ?? {}) as Json, singular(name)));
		const properties = propertiesOf(schema);
		if (properties === undefined) return this.#scalars.json;
		return this.#once(`output ${shapeOf(schema)}`, name, name, (unique) => {
			const required = requiredOf(schema);
			return new GraphQLObjectType({
				name: unique,
				...described(schema),
				fields: () =>
					Object.fromEntries(
						properties.map(([field, inner]) => {
							const type = this.output(inner, `${unique}${pascalCase(field)}`);
							return [
								camelCase(field),
								{
									type: required.has(field) || !isNonNullType(type) ? type : type.ofType,
									...described(inner),
									resolve: (source: unknown) => (source as Json)[field],
								},
							];
						}),
					),
			});
		}) as GraphQLObjectType;
	}

	#inputOf(schema: Json, field: string, owner: string): GraphQLNullableInputType {
		const name = `${owner}${pascalCase(field)}`;
		const leaf = this.#leaf(schema, pascalCase(field), name);
		if (leaf !== undefined) return leaf;
		if (schema.type === "array") {
			const { schema: items, isNullable } = bared((schema.items ?? {}) as Json);
			const type = this.#inputOf(items, singular(field), owner);
			return new GraphQLList(isNullable ? type : new GraphQLNonNull(type));
		}
		const properties = propertiesOf(schema);
		if (properties === undefined) return this.#scalars.json;
		return this.#once(`input ${shapeOf(schema)}`, `${pascalCase(field)}Input`, `${name}Input`, (unique) => {
			const required = requiredOf(schema);
			return new GraphQLInputObjectType({
				name: unique,
				...described(schema),
				fields: () =>
					Object.fromEntries(
						properties.map(([inner, innerSchema]) => [
							camelCase(inner),
							this.input(inner, innerSchema, required.has(inner), pascalCase(field)),
						]),
					),
			});
		}) as GraphQLInputObjectType;
	}

	/** What has no fields of its own. */
	#leaf(schema: Json, name: string, longName: string) {
		const scalars = this.#scalars;
		if (Array.isArray(schema.enum) && schema.enum.every((value) => typeof value === "string")) {
			const values = schema.enum as string[];
			return this.#once(`enum ${values.join("|")}`, name, longName, (unique) => {
				const entries = values.map((value) => [enumName(value), { value }] as const);
				return new GraphQLEnumType({ name: unique, values: Object.fromEntries(entries) });
			}) as GraphQLEnumType;
		}
		if (isVector(schema)) return scalars.vector;
		if (isVectorId(schema)) return scalars.vectorId;
		if (isFilter(schema)) return scalars.filter;
		switch (schema.type) {
			case "string":
				return GraphQLString;
			case "boolean":
				return GraphQLBoolean;
			case "number":
				return GraphQLFloat;
			case "integer":
				return Math.abs(Number(schema.minimum ?? Number.NaN)) <= INT_MAX && Number(schema.maximum) <= INT_MAX
					? GraphQLInt
					: scalars.safeInt;
			case "array":
			case "object":
				return undefined;
			default:
				return scalars.json;
		}
	}

	#once(shape: string, name: string, longName: string, make: (unique: string) => GraphQLNamedType): GraphQLNamedType {
		const known = this.#byShape.get(shape);
		if (known !== undefined) return known;
		let unique = this.#names.has(name) ? longName : name;
		for (let serial = 2; this.#names.has(unique); serial++) unique = `${longName}${serial}`;
		this.#names.add(unique);
		const made = make(unique);
		this.#byShape.set(shape, made);
		return made;
	}
}

/** A coerced argument as the operation's input has it: its own names, and nothing where null says nothing. */
export function toInputValue(type: GraphQLInputType, value: unknown): unknown {
	if (isNonNullType(type)) return toInputValue(type.ofType, value);
	if (isListType(type)) return Array.isArray(value) ? value.map((entry) => toInputValue(type.ofType, entry)) : value;
	if (!isInputObjectType(type) || typeof value !== "object" || value === null) return value;
	const fields = type.getFields();
	const input: Json = {};
	for (const [name, inner] of Object.entries(value)) {
		const { type: innerType, extensions } = fields[name]!;
		const { inputName, takesNull } = extensions.hive as InputExtensions;
		if (inner !== null || takesNull) input[inputName] = toInputValue(innerType, inner);
	}
	return input;
}

function bared(schema: Json): Bare {
	if (Array.isArray(schema.anyOf)) {
		const branches = (schema.anyOf as Json[]).filter((branch) => branch.type !== "null");
		if (branches.length < schema.anyOf.length) {
			if (branches.length === 1) return { schema: branches[0]!, isNullable: true };
			return { schema: { ...schema, anyOf: branches }, isNullable: true };
		}
	}
	if (Array.isArray(schema.type) && schema.type.includes("null")) {
		const types = schema.type.filter((type) => type !== "null");
		return { schema: { ...schema, type: types.length === 1 ? types[0] : types }, isNullable: true };
	}
	// Anything at all: null among it.
	const isAnything = schema.type === undefined && schema.anyOf === undefined && schema.enum === undefined;
	return { schema, isNullable: isAnything };
}

const propertiesOf = (schema: Json): [string, Json][] | undefined => {
	const entries = Object.entries((schema.properties ?? {}) as Record<string, Json>);
	return entries.length === 0 ? undefined : entries;
};
const requiredOf = (schema: Json): ReadonlySet<string> => new Set((schema.required ?? []) as string[]);

function described({ description }: Json): { readonly description?: string } {
	return typeof description === "string" ? { description } : {};
}

/** The same values on the wire, whatever is said of them. */
function shapeOf({ description: _, examples: __, default: ___, ...shape }: Json): string {
	return JSON.stringify(shape);
}

const singular = (name: string): string => (/[^su]s$/.test(name) ? name.slice(0, -1) : name);

const branchTypes = ({ anyOf }: Json): unknown[] => (Array.isArray(anyOf) ? anyOf.map(({ type }: Json) => type) : []);

function isVector(schema: Json): boolean {
	if (schema.type === "array") return (schema.items as Json | undefined)?.type === "number";
	if (!Array.isArray(schema.anyOf)) return false;
	return (schema.anyOf as Json[]).some(({ properties }) => (properties as Json | undefined)?.base64 !== undefined);
}

function isVectorId(schema: Json): boolean {
	const types = branchTypes(schema);
	return types.length === 2 && types.includes("string") && types.includes("integer");
}

const isFilter = ({ properties }: Json): boolean =>
	typeof properties === "object" && properties !== null && "must_not" in properties && "min_should" in properties;

function defaultOf(schema: Json, type: GraphQLInputType): unknown {
	const { default: initial } = schema;
	if (typeof initial === "string" && isEnumType(type)) return enumName(initial);
	return typeof initial === "string" || typeof initial === "number" || typeof initial === "boolean"
		? initial
		: undefined;
}
