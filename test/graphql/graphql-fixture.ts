import {
	type GraphQLInputType,
	type GraphQLOutputType,
	type GraphQLSchema,
	isEnumType,
	isInputObjectType,
	isListType,
	isNonNullType,
	isObjectType,
} from "graphql";
import { OPERATION_FIELDS, type OperationField } from "../../src/api/graphql/operation-fields.ts";
import { buildGraphqlSchema } from "../../src/api/graphql/schema.ts";
import type { InputExtensions } from "../../src/api/graphql/schema-types.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import type { Input, Output } from "../operations/operations-fixture.ts";

export const SCHEMA: GraphQLSchema = buildGraphqlSchema(OPERATIONS);

export interface GraphqlAnswer {
	readonly status: number;
	readonly headers: Headers;
	readonly data: Output;
	readonly errors: readonly {
		readonly message: string;
		readonly path?: readonly (string | number)[];
		readonly extensions: { readonly code: string; readonly details?: Output; readonly request_id: string };
	}[];
	/** Of the errors, in their order. */
	readonly codes: readonly string[];
}

export type AskGraphql = (query: string, variables?: Input, init?: RequestInit) => Promise<GraphqlAnswer>;

/** A client of one node with one key. */
export function graphqlOf(url: string, key?: string, headers: Record<string, string> = {}): AskGraphql {
	return async (query, variables, init = {}) => {
		const response = await fetch(`${url}/graphql`, {
			method: "POST",
			body: JSON.stringify({ query, variables }),
			...init,
			headers: {
				"content-type": "application/json",
				...(key !== undefined && { authorization: `Bearer ${key}` }),
				...headers,
				...(init.headers as Record<string, string>),
			},
		});
		const { data, errors = [] } = (await response.json()) as { data?: Output; errors?: GraphqlAnswer["errors"] };
		const codes = errors.map(({ extensions }) => extensions.code);
		return { status: response.status, headers: response.headers, data, errors, codes };
	};
}

export const fieldOf = (operation: string): OperationField =>
	OPERATION_FIELDS.find((field) => field.operation === operation)!;

/** A query for one field with everything that it can answer, and its variables, from an operation's input. */
export function messageFor(spec: OperationField, input: Input): { query: string; variables: Input } {
	const root = SCHEMA.getRootType(spec.kind as never)!;
	const field = root.getFields()[spec.field]!;
	const variables: Record<string, unknown> = {};
	const declared: string[] = [];
	const given: string[] = [];
	for (const { name, type, extensions } of field.args) {
		const { inputName } = extensions.hive as InputExtensions;
		if (input[inputName] === undefined) continue;
		declared.push(`$${name}: ${String(type)}`);
		given.push(`${name}: $${name}`);
		variables[name] = toGraphql(type, input[inputName]);
	}
	const head = declared.length === 0 ? spec.kind : `${spec.kind}(${declared.join(", ")})`;
	const call = given.length === 0 ? spec.field : `${spec.field}(${given.join(", ")})`;
	return { query: `${head} { ${call} ${selectionOf(field.type)} }`, variables };
}

/** Everything that a type can answer without asking for another operation. */
export function selectionOf(type: GraphQLOutputType): string {
	if (isNonNullType(type) || isListType(type)) return selectionOf(type.ofType as GraphQLOutputType);
	if (!isObjectType(type)) return "";
	const fields = Object.values(type.getFields()).filter(
		({ extensions }) => (extensions.hive as { isOperation?: boolean } | undefined)?.isOperation !== true,
	);
	return `{ ${fields.map((field) => `${field.name} ${selectionOf(field.type)}`).join(" ")} }`;
}

/** A value of an operation's input as GraphQL writes it. */
function toGraphql(type: GraphQLInputType, value: unknown): unknown {
	if (isNonNullType(type)) return toGraphql(type.ofType, value);
	if (isListType(type)) return Array.isArray(value) ? value.map((entry) => toGraphql(type.ofType, entry)) : value;
	if (isEnumType(type)) return type.getValues().find((known) => known.value === value)?.name ?? value;
	if (!isInputObjectType(type) || typeof value !== "object" || value === null) return value;
	const fields = new Map(
		Object.values(type.getFields()).map((field) => [(field.extensions.hive as InputExtensions).inputName, field]),
	);
	return Object.fromEntries(
		Object.entries(value).map(([name, inner]) => {
			const field = fields.get(name);
			return field === undefined ? [name, inner] : [field.name, toGraphql(field.type, inner)];
		}),
	);
}

/** What GraphQL answered, as REST writes it. Absent and null are one. */
export function toRest(type: GraphQLOutputType, value: unknown): unknown {
	if (value === null || value === undefined) return undefined;
	if (isNonNullType(type)) return toRest(type.ofType, value);
	if (isListType(type)) return (value as unknown[]).map((entry) => toRest(type.ofType, entry));
	if (isEnumType(type)) return type.getValue(String(value))!.value;
	if (!isObjectType(type)) return value;
	return Object.fromEntries(
		Object.entries(value as object).flatMap(([name, inner]) => {
			const rest = toRest(type.getFields()[name]!.type, inner);
			return rest === undefined ? [] : [[name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), rest]];
		}),
	);
}

/** The output of the operation behind a field, from the field's answer. */
export function outputOf(spec: OperationField, data: Output): Output {
	const field = SCHEMA.getRootType(spec.kind as never)!.getFields()[spec.field]!;
	const output = toRest(field.type, data[spec.field]) as Output;
	if (spec.form === "connection") {
		const { edges, page_info } = output;
		return {
			vectors: edges.map(({ node }: { node: unknown }) => node),
			...(page_info.has_next_page && { next_cursor: page_info.end_cursor }),
		};
	}
	return spec.pick === undefined ? output : { [spec.pick]: output };
}
