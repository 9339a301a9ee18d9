/** A JSON schema, or any part of an OpenAPI document. */
export type Schema = { readonly [key: string]: unknown };

export interface ApiField {
	readonly name: string;
	readonly schema: Schema;
}

/** An operation as the node's own OpenAPI document tells of it. */
export interface ApiOperation {
	/** The name in the operation table. */
	readonly name: string;
	readonly method: string;
	/** With `{field}` for each of `pathFields`. */
	readonly path: string;
	readonly pathFields: readonly ApiField[];
	readonly queryFields: readonly ApiField[];
	readonly headerFields: readonly ApiField[];
	/** Content types that the body may have; none: it has no body. */
	readonly bodyTypes: readonly string[];
	readonly bodySchema: Schema | undefined;
	readonly scope: "public" | "tenant" | "admin";
}

export class ApiDocument {
	private constructor(
		readonly operations: readonly ApiOperation[],
		private readonly document: Schema,
	) {}

	static async fetch(nodeUrl: string): Promise<ApiDocument> {
		const answer = await fetch(`${nodeUrl}/openapi.json`);
		if (!answer.ok) throw new Error(`GET /openapi.json answers ${answer.status}`);
		return ApiDocument.read((await answer.json()) as Schema);
	}

	static read(document: Schema): ApiDocument {
		const operations = Object.entries(document.paths as Record<string, Record<string, Schema>>).flatMap(
			([path, methods]) => Object.entries(methods).map(([method, described]) => operationOf(path, method, described)),
		);
		return new ApiDocument(operations, document);
	}

	/** What a `$ref` stands for; any other schema is answered as it is. */
	resolve(schema: Schema): Schema {
		const reference = schema.$ref;
		if (typeof reference !== "string") return schema;
		let found: unknown = this.document;
		for (const step of reference.slice(2).split("/")) found = (found as Schema)[step];
		return found as Schema;
	}
}

function operationOf(path: string, method: string, described: Schema): ApiOperation {
	const parameters = (described.parameters ?? []) as { in: string; name: string; schema: Schema }[];
	const fieldsIn = (place: string): ApiField[] =>
		parameters.filter((each) => each.in === place).map(({ name, schema }) => ({ name, schema }));
	const content =
		(described.requestBody as { content?: Record<string, { schema: Schema }> } | undefined)?.content ?? {};
	const headerFields = fieldsIn("header");
	const isPublic = ((described.security ?? []) as unknown[]).length === 0;
	const isTenants = headerFields.some((field) => field.name.toLowerCase() === "x-tenant-id");
	return {
		name: described.operationId as string,
		method: method.toUpperCase(),
		path,
		pathFields: fieldsIn("path"),
		queryFields: fieldsIn("query"),
		headerFields,
		bodyTypes: Object.keys(content),
		bodySchema: Object.values(content)[0]?.schema,
		scope: isPublic ? "public" : isTenants ? "tenant" : "admin",
	};
}
