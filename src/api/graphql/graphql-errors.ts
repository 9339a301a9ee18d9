import { GraphQLError } from "graphql";
import { type ErrorCode, HiveError } from "../../base/errors.ts";
import type { Log } from "../../observe/log.ts";

/** The errors of one message as its answer shows them: with the codes of the table, and nothing of what is inside. */
export class AnswerErrors {
	constructor(
		private readonly requestId: string,
		private readonly log: Pick<Log, "error">,
	) {}

	/** Defects are logged here, and said to be no more than that. */
	shown(error: Readonly<Error>): GraphQLError {
		if (error instanceof HiveError) return this.#told(error);
		if (!(error instanceof GraphQLError)) return this.#masked(error);
		const cause = causeOf(error);
		if (cause instanceof HiveError) return this.#told(cause, error);
		if (cause !== undefined) return this.#masked(cause, error);
		// Of the library's own: the syntax, the schema, a variable.
		return this.#made(error.message, "VALIDATION_FAILED", undefined, error);
	}

	#told(error: HiveError, at?: GraphQLError): GraphQLError {
		return this.#made(error.message, error.code, error.details, at);
	}

	#masked(err: unknown, at?: GraphQLError): GraphQLError {
		// Whoever asked has gone, or asked for no more: nothing failed.
		const wasEnded = err instanceof Error && err.name === "AbortError";
		if (!wasEnded) {
			this.log.error({ request_id: this.requestId, err, path: at?.path }, "a GraphQL field failed unexpectedly");
		}
		return this.#made("something went wrong on our side", "INTERNAL", undefined, at);
	}

	#made(message: string, code: ErrorCode, details: HiveError["details"], at: GraphQLError | undefined): GraphQLError {
		return new GraphQLError(message, {
			...(at?.nodes !== undefined && { nodes: at.nodes }),
			...(at?.source !== undefined && { source: at.source }),
			...(at?.positions !== undefined && { positions: at.positions }),
			...(at?.path !== undefined && { path: at.path }),
			extensions: { code, ...(details !== undefined && { details }), request_id: this.requestId },
		});
	}
}

/** What a field threw, however deep the library wrapped it. */
function causeOf(error: GraphQLError): unknown {
	let cause: unknown = error.originalError ?? error.cause;
	for (let depth = 0; cause instanceof GraphQLError && depth < 10; depth++) cause = cause.originalError ?? cause.cause;
	return cause instanceof GraphQLError ? undefined : cause;
}

/** A refusal in the form that the library takes for one of its own. */
export const asGraphqlError = (error: Error): GraphQLError =>
	error instanceof GraphQLError ? error : new GraphQLError(error.message, { originalError: error });
