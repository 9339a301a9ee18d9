import {
	GraphQLEnumType,
	GraphQLNonNull,
	type GraphQLNullableOutputType,
	GraphQLObjectType,
	GraphQLString,
} from "graphql";
import type { Field } from "./field-types.ts";

const isOperation = { hive: { isOperation: true } };

/** @param usage @param collection the types that the queries of these names answer */
export function subscriptionFields(
	usage: GraphQLNullableOutputType,
	collection: GraphQLNullableOutputType,
): Record<string, Field> {
	const change = new GraphQLObjectType({
		name: "CollectionChange",
		fields: {
			change: {
				type: new GraphQLNonNull(
					new GraphQLEnumType({ name: "ChangeKind", values: { CREATED: {}, UPDATED: {}, DELETED: {} } }),
				),
			},
			name: { type: new GraphQLNonNull(GraphQLString) },
			collection: { type: collection, description: "as it is now; null when it was deleted" },
		},
	});
	return {
		usageChanged: {
			type: new GraphQLNonNull(usage),
			description:
				"The tenant's usage: at once, and again when stored bytes, vectors, collections, the quota or the rate limits have changed, " +
				"within about two seconds. Requests alone are no change. Each event is charged like a call of `usage`.",
			extensions: isOperation,
			subscribe: (_, __, { run, subscriptions }) => subscriptions.usage(run),
			resolve: (event) => event,
		},
		collectionChanged: {
			type: new GraphQLNonNull(change),
			description:
				"Collections that are created, deleted or changed from now on, in their settings, vectors or index state, within about two " +
				"seconds; what changes back in between is not noticed. Each look at a change is charged like a call of `collections`, or of `collection` " +
				"where a name is given.",
			args: { name: { type: GraphQLString, description: "the only collection of interest" } },
			extensions: isOperation,
			subscribe: (_, { name }, { run, subscriptions }) =>
				subscriptions.collections(run, (name as string | null | undefined) ?? undefined),
			resolve: (event) => event,
		},
	};
}
