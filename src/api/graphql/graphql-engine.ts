import { type ExecutionResult, execute, type GraphQLError, subscribe } from "graphql";
import type { HiveError } from "../../base/errors.ts";
import { type DocumentRules, Documents, type MessageParams, type ReadyDocument } from "./documents.ts";
import type { GraphqlContext, SubscriptionSource } from "./field-types.ts";
import { asGraphqlError } from "./graphql-errors.ts";
import { GRAPHQL_LIMITS } from "./graphql-limits.ts";
import type { MessageRun } from "./message-run.ts";
import { buildGraphqlSchema, type GraphqlOperation } from "./schema.ts";

export interface GraphqlEngineParts {
	readonly operations: readonly GraphqlOperation[];
	readonly rules: DocumentRules;
	readonly subscriptions: SubscriptionSource;
}

/** Runs messages, whatever brought them. What is not to be run costs its sender a call all the same. */
export class GraphqlEngine {
	readonly documents: Documents;
	readonly #parts: GraphqlEngineParts;

	constructor(parts: GraphqlEngineParts) {
		this.#parts = parts;
		this.documents = new Documents(buildGraphqlSchema(parts.operations), parts.rules);
	}

	/** @returns the document, or the errors to answer with */
	async ready(params: MessageParams, run: MessageRun): Promise<ReadyDocument | { readonly errors: GraphQLError[] }> {
		const ready = this.documents.ready(params);
		if (!("errors" in ready) && !ready.runsNothing) return ready;
		const refusal = await run.pay();
		if (refusal !== undefined) return { errors: [asGraphqlError(refusal)] };
		return "errors" in ready
			? { errors: ready.errors.map((error: GraphQLError | HiveError) => asGraphqlError(error)) }
			: ready;
	}

	/** A query or mutation. */
	async execute(ready: ReadyDocument, params: MessageParams, run: MessageRun): Promise<ExecutionResult> {
		const result = await execute(this.#args(ready, params, run));
		// Every field may have been left out by a directive, or a variable have been wrong.
		const refusal = run.isPaid ? undefined : await run.pay();
		return refusal === undefined ? result : { errors: [asGraphqlError(refusal)] };
	}

	async subscribe(
		ready: ReadyDocument,
		params: MessageParams,
		run: MessageRun,
	): Promise<AsyncGenerator<ExecutionResult, void, void> | ExecutionResult> {
		const result = await subscribe(this.#args(ready, params, run));
		if (!run.isPaid && !(Symbol.asyncIterator in result)) await run.pay();
		return result;
	}

	#args({ document }: ReadyDocument, params: MessageParams, run: MessageRun) {
		const contextValue: GraphqlContext = { run, subscriptions: this.#parts.subscriptions };
		return {
			schema: this.documents.schema,
			document,
			contextValue,
			operationName: params.operationName ?? null,
			variableValues: params.variables ?? null,
			abortSignal: run.signal,
			hideSuggestions: !this.#parts.rules.introspection,
			options: { maxCoercionErrors: GRAPHQL_LIMITS.validationErrorCountMax },
		};
	}
}
