import {
	type DocumentNode,
	GraphQLError,
	type GraphQLSchema,
	getOperationAST,
	Kind,
	NoSchemaIntrospectionCustomRule,
	type OperationDefinitionNode,
	parse,
	specifiedRules,
	validate,
} from "graphql";
import { LRUCache } from "lru-cache";
import { HiveError } from "../../base/errors.ts";
import { GRAPHQL_LIMITS } from "./graphql-limits.ts";
import { requireAffordable, requireModest } from "./query-limits.ts";

export interface DocumentRules {
	/** Whether the schema may be asked for. */
	readonly introspection: boolean;
	readonly maxDepth: number;
	readonly maxCost: number;
}

/** What a client asks for, as it came. */
export interface MessageParams {
	readonly query: string;
	readonly operationName?: string | null | undefined;
	readonly variables?: Readonly<Record<string, unknown>> | null | undefined;
}

/** A document that may be run, and the operation in it that is to be. */
export interface ReadyDocument {
	readonly document: DocumentNode;
	readonly operation: OperationDefinitionNode;
	/** Whether it asks for nothing but the schema. */
	readonly runsNothing: boolean;
}

type Checked = { readonly document: DocumentNode } | { readonly errors: readonly (GraphQLError | HiveError)[] };

/** Parses, bounds and validates documents. What was found of those asked for lately is kept. */
export class Documents {
	readonly #checked = new LRUCache<string, Checked>({
		maxSize: GRAPHQL_LIMITS.documentCacheCharsMax,
		sizeCalculation: (_, query) => query.length + 1,
	});

	constructor(
		readonly schema: GraphQLSchema,
		private readonly rules: DocumentRules,
	) {}

	/** @returns why it may not be run: errors of the syntax, the schema, or of a limit */
	ready(params: MessageParams): ReadyDocument | { readonly errors: readonly (GraphQLError | HiveError)[] } {
		const checked = this.#check(params.query);
		if ("errors" in checked) return checked;
		const { document } = checked;
		const operation = getOperationAST(document, params.operationName);
		if (operation === undefined || operation === null) {
			const message = "the query names no operation to run, or several: `operationName` has to say which";
			return { errors: [new HiveError("VALIDATION_FAILED", message, { field: "operationName" })] };
		}
		try {
			requireAffordable(this.schema, document, operation, params.variables ?? {}, this.rules.maxCost);
		} catch (error) {
			if (error instanceof HiveError) return { errors: [error] };
			throw error;
		}
		return { document, operation, runsNothing: runsNothing(operation) };
	}

	#check(query: string): Checked {
		const known = this.#checked.get(query);
		if (known !== undefined) return known;
		const checked = this.#checkAnew(query);
		if (query.length <= GRAPHQL_LIMITS.documentCharsKeptMax) this.#checked.set(query, checked);
		return checked;
	}

	#checkAnew(query: string): Checked {
		const { introspection, maxDepth } = this.rules;
		try {
			const document = parse(query, { maxTokens: GRAPHQL_LIMITS.tokenCountMax });
			requireModest(document, maxDepth);
			const errors = validate(
				this.schema,
				document,
				introspection ? specifiedRules : [...specifiedRules, NoSchemaIntrospectionCustomRule],
				{ maxErrors: GRAPHQL_LIMITS.validationErrorCountMax, hideSuggestions: !introspection },
			);
			return errors.length > 0 ? { errors } : { document };
		} catch (error) {
			return { errors: [refusalOf(error)] };
		}
	}
}

function refusalOf(error: unknown): GraphQLError | HiveError {
	if (error instanceof GraphQLError || error instanceof HiveError) return error;
	// The parser calls itself for each level.
	if (error instanceof RangeError) {
		return new HiveError("VALIDATION_FAILED", "the query is nested too deep", { field: "query" }, { cause: error });
	}
	throw error;
}

const runsNothing = ({ selectionSet }: OperationDefinitionNode): boolean =>
	selectionSet.selections.every((selection) => selection.kind === Kind.FIELD && selection.name.value.startsWith("__"));
