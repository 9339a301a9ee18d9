import type { GraphQLFieldConfig } from "graphql";
import type { MessageRun } from "./message-run.ts";

/** Where subscriptions get their events from. */
export interface SubscriptionSource {
	/** The present usage, then each that differs. */
	usage(run: MessageRun): AsyncIterableIterator<unknown>;
	/** Changes of collections from now on. @param name the only one that is of interest; undefined: all */
	collections(run: MessageRun, name: string | undefined): AsyncIterableIterator<unknown>;
}

/** What resolvers are given: one message at work. */
export interface GraphqlContext {
	readonly run: MessageRun;
	readonly subscriptions: SubscriptionSource;
}

/** What a field costs, for whoever counts before anything runs. */
export interface FieldExtensions {
	/** Whether it runs an operation. */
	readonly isOperation: boolean;
	/** The argument that says how many entries are answered at most. */
	readonly sizeArgument?: string;
}

export type Field = GraphQLFieldConfig<unknown, GraphqlContext>;
