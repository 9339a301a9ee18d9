import {
	GraphQLBoolean,
	type GraphQLFieldConfigArgumentMap,
	GraphQLList,
	GraphQLNonNull,
	GraphQLObjectType,
	type GraphQLOutputType,
	type GraphQLResolveInfo,
	GraphQLSchema,
	GraphQLString,
	getNullableType,
} from "graphql";
import type { z } from "zod";
import type { VectorId } from "../../base/ids.ts";
import { encodeCursor } from "../../cluster/scroll-cursor.ts";
import type { Operation } from "../../operations/operation.ts";
import { fieldSchema, type Json, schemaOf } from "../wire/json-schema.ts";
import type { Field, GraphqlContext } from "./field-types.ts";
import { BATCH_OPERATIONS, type Input, type MessageRun } from "./message-run.ts";
import { camelCase, pascalCase } from "./names.ts";
import { OPERATION_FIELDS, type OperationField } from "./operation-fields.ts";
import { createScalars, type Scalars } from "./scalars.ts";
import { type InputExtensions, SchemaTypes, toInputValue } from "./schema-types.ts";
import { selectedNames } from "./selection.ts";
import { subscriptionFields } from "./subscription-fields.ts";

/** What of an operation a schema is made of. */
export type GraphqlOperation = Pick<
	Operation<never, z.ZodType, unknown>,
	"name" | "summary" | "description" | "scope" | "permissions" | "input" | "output"
>;

/** Said by what is selected, not by an argument. */
const SELECTED_FIELDS: Readonly<Record<string, string>> = { with_payload: "payload", with_vector: "vector" };
const SIZE_FIELDS: ReadonlySet<string> = new Set(["first", "limit"]);

/** The schema (CONTRACT section 5), from the operations that it names. */
export function buildGraphqlSchema(operations: readonly GraphqlOperation[]): GraphQLSchema {
	return new SchemaBuilder(operations).build();
}

class SchemaBuilder {
	readonly #operations: ReadonlyMap<string, GraphqlOperation>;
	readonly #scalars: Scalars = createScalars();
	readonly #types = new SchemaTypes(this.#scalars);

	constructor(operations: readonly GraphqlOperation[]) {
		this.#operations = new Map(operations.map((operation) => [operation.name, operation]));
	}

	build(): GraphQLSchema {
		const query: Record<string, Field> = {};
		const mutation: Record<string, Field> = {};
		for (const spec of OPERATION_FIELDS) {
			const fields = spec.kind === "query" ? query : mutation;
			fields[spec.field] = this.#field(spec, this.#operation(spec.operation));
		}
		const usage = query.usage!.type;
		const collection = query.collection!.type;
		return new GraphQLSchema({
			description: "hive-vector: what the key that is sent may see and do within its tenant.",
			query: new GraphQLObjectType({ name: "Query", fields: query }),
			mutation: new GraphQLObjectType({
				name: "Mutation",
				description: "One after the other, in the order written.",
				fields: mutation,
			}),
			subscription: new GraphQLObjectType({
				name: "Subscription",
				description: "Over WebSocket alone, by the protocol graphql-transport-ws.",
				fields: subscriptionFields(getNullableType(usage), getNullableType(collection)),
			}),
		});
	}

	#operation(name: string): GraphqlOperation {
		const operation = this.#operations.get(name);
		if (operation === undefined) throw new Error(`the GraphQL schema names the operation ${name}, which is not there`);
		return operation;
	}

	#field(spec: OperationField, operation: GraphqlOperation): Field {
		const args = this.#arguments(spec, operation);
		const sizeArgument = Object.keys(args).find((name) => SIZE_FIELDS.has(name));
		const shared = {
			description: describe(operation),
			args,
			extensions: { hive: { isOperation: true, ...(sizeArgument !== undefined && { sizeArgument }) } },
		};
		const hidden = this.#selectedInputs(operation);
		const inputOf = (given: Json, info: GraphQLResolveInfo): Input => {
			const input: Json = { ...inputFrom(args, given), ...spec.fixed };
			if (hidden.length === 0) return input;
			const selected = selectedNames(info.fieldNodes, fragmentsOf(info));
			for (const name of hidden) input[name] = selected.has(SELECTED_FIELDS[name]!);
			return input;
		};
		if (spec.form === "connection") {
			return {
				...shared,
				type: this.#connection(spec.type),
				resolve: async (_, given, { run }, info) => {
					const input = inputOf(given, info);
					const page = (await run.execute(spec.operation, input)) as Page;
					return { page, input };
				},
			};
		}
		const output = schemaOf(operation.output, "output");
		const type = this.#types.output(spec.pick === undefined ? output : fieldSchema(output, spec.pick)!, spec.type);
		const execute = runner(this.#together(spec, operation));
		return {
			...shared,
			// One field that fails leaves the others of a message their answers.
			type: getNullableType(type),
			resolve: async (_, given, { run }, info) => {
				const answer = await execute(run, inputOf(given, info));
				return spec.pick === undefined ? answer : (answer as Json)[spec.pick];
			},
		};
	}

	#arguments(spec: OperationField, operation: GraphqlOperation): GraphQLFieldConfigArgumentMap {
		const schema = schemaOf(operation.input, "input");
		const required = new Set((schema.required ?? []) as string[]);
		const args: GraphQLFieldConfigArgumentMap = {};
		const fields = Object.entries(propertiesIn(schema));
		fields.sort(([one], [other]) => Number(required.has(other)) - Number(required.has(one)));
		for (const [field, fieldOf] of fields) {
			if (field in SELECTED_FIELDS || (spec.fixed !== undefined && field in spec.fixed)) continue;
			const name = spec.names?.[field] ?? camelCase(field);
			args[name] = this.#types.input(field, fieldOf, required.has(field), pascalCase(spec.field));
		}
		return args;
	}

	/** How a field is made together with others: only by an operation that asks for the same and takes the same. */
	#together(spec: OperationField, operation: GraphqlOperation): OperationField {
		const { batch, ...alone } = spec;
		if (batch === undefined) return spec;
		const many = this.#operation(BATCH_OPERATIONS[batch]);
		if (many.scope !== operation.scope || many.permissions.join() !== operation.permissions.join()) return alone;
		if (batch === "vectors") return spec;
		const { searches } = propertiesOf(many.input);
		const { collection: _, ...taken } = propertiesOf(operation.input);
		return Bun.deepEquals(Object.keys(taken).sort(), Object.keys(propertiesIn(searches?.items)).sort()) ? spec : alone;
	}

	#selectedInputs(operation: GraphqlOperation): readonly string[] {
		return Object.keys(propertiesOf(operation.input)).filter((field) => field in SELECTED_FIELDS);
	}

	/** Pages in the form of the GraphQL Cursor Connections Specification, one way: forward. */
	#connection(name: string): GraphQLOutputType {
		const { vectors } = (schemaOf(this.#operation("vectors.scroll").output, "output") as { properties: Json })
			.properties as { vectors: Json };
		const vector = this.#types.output(vectors.items as Json, "VectorRecord");
		const text = new GraphQLNonNull(GraphQLString);
		const edge = new GraphQLObjectType<Edge>({
			name: "VectorEdge",
			fields: {
				node: { type: vector },
				cursor: { type: text, description: "to be given as `after`, for what follows this vector" },
			},
		});
		const pageInfo = new GraphQLObjectType({
			name: "PageInfo",
			fields: {
				hasNextPage: { type: new GraphQLNonNull(GraphQLBoolean) },
				hasPreviousPage: {
					type: new GraphQLNonNull(GraphQLBoolean),
					description: "Pages are read forward only: whether `after` was given.",
				},
				startCursor: { type: GraphQLString },
				endCursor: { type: GraphQLString },
			},
		});
		const connection = new GraphQLObjectType<Connection, GraphqlContext>({
			name,
			description: "A page of a collection's vectors, in the order of their ids.",
			fields: {
				edges: {
					type: new GraphQLNonNull(new GraphQLList(new GraphQLNonNull(edge))),
					resolve: ({ page }) => page.vectors.map((node) => ({ node, cursor: encodeCursor(node.id) })),
				},
				pageInfo: { type: new GraphQLNonNull(pageInfo), resolve: ({ page, input }) => pageInfoOf(page, input) },
				totalCount: {
					type: new GraphQLNonNull(this.#scalars.safeInt),
					description: "Vectors that match the filter, or all. A call of its own, as `vectors/count` in REST.",
					extensions: { hive: { isOperation: true } },
					resolve: async ({ input }, _, { run }) => {
						const { collection, filter, consistency } = input;
						const counted = await run.execute("vectors.count", definedFields({ collection, filter, consistency }));
						return (counted as { readonly count: number }).count;
					},
				},
			},
		});
		return connection;
	}
}

const propertiesIn = (schema: unknown): Record<string, Json> =>
	((schema as Json | undefined)?.properties ?? {}) as Record<string, Json>;
const propertiesOf = (input: z.ZodType): Record<string, Json> => propertiesIn(schemaOf(input, "input"));

interface Page {
	readonly vectors: readonly { readonly id: VectorId }[];
	readonly next_cursor: string | null;
}

interface Edge {
	readonly node: unknown;
	readonly cursor: string;
}

interface Connection {
	readonly page: Page;
	readonly input: Input;
}

function pageInfoOf({ vectors, next_cursor }: Page, input: Input) {
	const first = vectors[0];
	const last = vectors.at(-1);
	return {
		hasNextPage: next_cursor !== null,
		hasPreviousPage: typeof input.cursor === "string",
		startCursor: first === undefined ? null : encodeCursor(first.id),
		// A page may be empty before the end is reached, when nothing of a shard matched yet.
		endCursor: next_cursor ?? (last === undefined ? null : encodeCursor(last.id)),
	};
}

type Runner = (run: MessageRun, input: Input) => Promise<unknown>;

function runner({ operation, batch }: OperationField): Runner {
	if (batch === "vectors") return (run, input) => run.vector(operation, input);
	if (batch === "searches") return (run, input) => run.search(operation, input);
	return (run, input) => run.execute(operation, input);
}

function inputFrom(args: GraphQLFieldConfigArgumentMap, given: Json): Json {
	const input: Json = {};
	for (const [name, value] of Object.entries(given)) {
		const { type, extensions } = args[name]!;
		const { inputName, takesNull } = extensions!.hive as InputExtensions;
		if (value !== null || takesNull) input[inputName] = toInputValue(type, value);
	}
	return input;
}

const definedFields = (fields: Json): Json =>
	Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined));

const fragmentsOf = ({ fragments }: GraphQLResolveInfo) => fragments;

function describe({ summary, description, permissions, scope }: GraphqlOperation): string {
	const who = scope === "admin" ? "Needs ADMIN." : `Needs ${permissions.filter((name) => name !== "MCP").join(", ")}.`;
	return [`${summary}.`, description, who].filter((part) => part !== undefined).join("\n\n");
}
