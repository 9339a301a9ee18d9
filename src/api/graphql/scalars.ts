import { GraphQLError, GraphQLScalarType, Kind, type ValueNode } from "graphql";
import type { VectorId } from "../../base/ids.ts";
import { LIMITS } from "../../base/limits.ts";
import { vectorIdSchema } from "../../base/schemas.ts";
import { toWireValue } from "../wire/wire-value.ts";

type Variables = Readonly<Record<string, unknown>>;

const bad = (message: string): GraphQLError => new GraphQLError(message);

/** A literal as the JSON value that it stands for. */
function literalValue(node: ValueNode, variables: Variables | null | undefined): unknown {
	switch (node.kind) {
		case Kind.STRING:
		case Kind.BOOLEAN:
			return node.value;
		case Kind.INT:
		case Kind.FLOAT:
			return Number(node.value);
		case Kind.ENUM:
			throw bad(`${node.value} is no JSON: texts stand in quotes`);
		case Kind.LIST:
			return node.values.map((entry) => literalValue(entry, variables));
		case Kind.OBJECT:
			// fromEntries defines own properties: a field named __proto__ is a field.
			return Object.fromEntries(node.fields.map(({ name, value }) => [name.value, literalValue(value, variables)]));
		case Kind.NULL:
			return null;
		case Kind.VARIABLE:
			return variables?.[node.name.value];
	}
}

interface ScalarForm {
	readonly name: string;
	readonly description: string;
	input(value: unknown): unknown;
	output?(value: unknown): unknown;
}

function scalar({ name, description, input, output }: ScalarForm): GraphQLScalarType {
	return new GraphQLScalarType({
		name,
		description,
		serialize: output ?? ((value) => value),
		parseValue: input,
		parseLiteral: (node, variables) => input(literalValue(node, variables)),
	});
}

function vectorIdOf(value: unknown): VectorId {
	const id = vectorIdSchema.safeParse(value);
	if (id.success) return id.data;
	throw bad(
		`a vector id is text of 1 to ${LIMITS.vectorIdBytesMax} bytes of UTF-8, or an integer from 0 to ${LIMITS.vectorIdIntegerMax}`,
	);
}

function safeIntegerOf(value: unknown): number {
	if (typeof value === "number" && Number.isSafeInteger(value)) return value;
	throw bad("expected an integer from -2^53+1 to 2^53-1");
}

/** The scalars that stand for what GraphQL has no type for. Made once a schema. */
export function createScalars() {
	return {
		vectorId: scalar({
			name: "VectorId",
			description: 'A vector\'s id: text, or an integer from 0 to 2^53-1. 1 and "1" are different ids.',
			input: vectorIdOf,
		}),
		vector: scalar({
			name: "Vector",
			description:
				'A vector: a list of numbers, or `{base64: "…"}` or `"…"` of little-endian float32 in base64. Answered as a list of numbers.',
			// The operation looks at the numbers: doing so twice would cost as much as the search.
			input: (value) => (typeof value === "string" ? { base64: value } : value),
			output: toWireValue,
		}),
		filter: scalar({
			name: "Filter",
			description:
				"Which vectors to consider, by payload and id, in Qdrant's grammar: must, should, must_not, min_should.",
			input: (value) => value,
		}),
		json: scalar({
			name: "JSON",
			description: "Any JSON value.",
			input: (value) => value,
			output: toWireValue,
		}),
		safeInt: scalar({
			name: "SafeInt",
			description: "An integer from -2^53+1 to 2^53-1: what JSON can carry exactly.",
			input: safeIntegerOf,
			output: safeIntegerOf,
		}),
	};
}

export type Scalars = ReturnType<typeof createScalars>;
