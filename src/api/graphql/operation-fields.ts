/** A field of the schema that runs an operation. Arguments and answer come from the operation's own schemas. */
export interface OperationField {
	readonly field: string;
	readonly kind: "query" | "mutation";
	readonly operation: string;
	/** Name of the type that is answered. */
	readonly type: string;
	/** Arguments by input field, where they are called otherwise than in camelCase. */
	readonly names?: Readonly<Record<string, string>>;
	/** Input that is not the caller's to choose: GraphQL says it in another way. */
	readonly fixed?: Readonly<Record<string, unknown>>;
	/** The only field of the output that is answered, in its place. */
	readonly pick?: string;
	/** `connection`: pages in the Relay form. */
	readonly form?: "connection";
	/** Made at once with others of the same message. */
	readonly batch?: "vectors" | "searches";
}

/** In a path integers and texts look alike; here they don't. */
const TYPED_ID = { id_type: "string" };

/** CONTRACT section 5, and a few more. Another operation gets its field by a line here. */
export const OPERATION_FIELDS: readonly OperationField[] = [
	{
		field: "collection",
		kind: "query",
		operation: "collections.get",
		type: "Collection",
		names: { collection: "name" },
	},
	{ field: "collections", kind: "query", operation: "collections.list", type: "Collection", pick: "collections" },
	{
		field: "vector",
		kind: "query",
		operation: "vectors.get",
		type: "VectorRecord",
		fixed: TYPED_ID,
		batch: "vectors",
	},
	{
		field: "vectors",
		kind: "query",
		operation: "vectors.scroll",
		type: "VectorConnection",
		names: { limit: "first", cursor: "after" },
		form: "connection",
	},
	{ field: "search", kind: "query", operation: "search.query", type: "Search", batch: "searches" },
	{ field: "usage", kind: "query", operation: "usage.own", type: "Usage" },
	{ field: "tenantUsage", kind: "query", operation: "cluster.usage", type: "Usage" },
	{ field: "me", kind: "query", operation: "me.get", type: "Me" },
	{
		field: "tenant",
		kind: "query",
		operation: "tenants.get",
		type: "Tenant",
		names: { tenant_id: "id" },
	},
	{
		field: "tenants",
		kind: "query",
		operation: "tenants.list",
		type: "Tenant",
		names: { cursor: "after" },
		pick: "tenants",
	},
	{ field: "keys", kind: "query", operation: "keys.list", type: "ApiKey", pick: "keys" },
	{ field: "clusterHealth", kind: "query", operation: "cluster.health", type: "ClusterHealth" },

	{ field: "createCollection", kind: "mutation", operation: "collections.create", type: "Collection" },
	{
		field: "updateCollection",
		kind: "mutation",
		operation: "collections.update",
		type: "Collection",
		names: { collection: "name" },
	},
	{
		field: "deleteCollection",
		kind: "mutation",
		operation: "collections.delete",
		type: "Deletion",
		names: { collection: "name" },
	},
	{ field: "upsertVectors", kind: "mutation", operation: "vectors.upsert", type: "VectorUpsert" },
	{
		field: "updateVector",
		kind: "mutation",
		operation: "vectors.update",
		type: "VectorUpdate",
		fixed: TYPED_ID,
	},
	{ field: "deleteVectors", kind: "mutation", operation: "vectors.delete_many", type: "VectorDeletion" },
	{ field: "createTenant", kind: "mutation", operation: "tenants.create", type: "Tenant" },
	{
		field: "updateTenant",
		kind: "mutation",
		operation: "tenants.update",
		type: "Tenant",
		names: { tenant_id: "id" },
	},
	{
		field: "deleteTenant",
		kind: "mutation",
		operation: "tenants.delete",
		type: "Deletion",
		names: { tenant_id: "id" },
	},
	{ field: "createKey", kind: "mutation", operation: "keys.create", type: "MintedKey" },
	{ field: "revokeKey", kind: "mutation", operation: "keys.revoke", type: "ApiKey" },
	{ field: "rotateKey", kind: "mutation", operation: "keys.rotate", type: "MintedKey" },
];
