import { ERROR_TABLE, type ErrorCode } from "../../base/errors.ts";
import {
	fieldSchema,
	hoisted,
	isRequired,
	type Json,
	schemaOf,
	shareFields,
	withoutFields,
} from "../wire/json-schema.ts";
import type { RestRoute } from "./rest-route.ts";

const STATUS_WORDS: Readonly<Record<number, string>> = {
	400: "The input is wrong; `details.field` names the place.",
	401: "No key, or none that is valid.",
	403: "The key may not do this.",
	404: "Not there, or another tenant's.",
	406: "No format that the client accepts.",
	409: "It exists already, or something stands against it.",
	413: "The body is too large.",
	415: "The body is of another type.",
	429: "A rate limit or a quota is used up.",
	500: "A defect on the server's side.",
	503: "Not now; try again after `Retry-After` seconds.",
};

const ANSWER_HEADERS: Readonly<Record<string, Json>> = {
	"X-Request-ID": { description: "The request's own id, or a new one.", schema: { type: "string" } },
	"X-Tenant-ID": { description: "The tenant acted in.", schema: { type: "string" } },
	"X-RateLimit-Limit": { description: "Requests allowed in the window.", schema: { type: "integer" } },
	"X-RateLimit-Remaining": { description: "Requests left in the window.", schema: { type: "integer" } },
	"X-RateLimit-Reset": { description: "Unix seconds at which the window is full again.", schema: { type: "integer" } },
	"X-Storage-Used": { description: "Bytes the tenant has stored.", schema: { type: "integer" } },
	"X-Storage-Quota": { description: "Bytes the tenant may store, or `unlimited`.", schema: { type: "string" } },
};

/** OpenAPI 3.1 of everything in the table. The same routes give the same document. */
export function openApiDocument(routes: readonly RestRoute[], version: string): Json {
	const schemas: Json = { Error: ERROR_SCHEMA };
	const paths: Record<string, Json> = {};
	const tags = new Set<string>();
	for (const route of routes) {
		tags.add(tagOf(route));
		paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operationObject(route, schemas) };
	}
	shareFields(schemas);
	return {
		openapi: "3.1.1",
		info: {
			title: "hive-vector",
			version,
			description: "A multi-tenant vector database.",
			license: { name: "Apache-2.0", identifier: "Apache-2.0" },
		},
		servers: [{ url: "/" }],
		tags: [...tags].sort().map((name) => ({ name })),
		paths,
		components: {
			schemas,
			responses: Object.fromEntries(statuses().map((status) => [`Error${status}`, errorResponse(status)])),
			headers: ANSWER_HEADERS,
			securitySchemes: {
				bearer: { type: "http", scheme: "bearer", description: "`Authorization: Bearer hh_live_…`" },
				apiKey: { type: "apiKey", in: "header", name: "x-api-key" },
			},
		},
	};
}

const ERROR_SCHEMA: Json = {
	type: "object",
	properties: {
		error: { type: "string", description: "for people" },
		code: { type: "string", enum: Object.keys(ERROR_TABLE), description: "for programs" },
		details: {
			type: "object",
			additionalProperties: true,
			description: "facts to act on; `field` names the input at fault",
		},
		request_id: { type: "string" },
	},
	required: ["error", "code", "request_id"],
	additionalProperties: false,
};

const tagOf = (route: RestRoute): string => route.operation.name.split(".")[0]!;

function operationObject(route: RestRoute, schemas: Json): Json {
	const { operation } = route;
	const input = hoisted(schemaOf(operation.input, "input"), operation.name, schemas);
	const query = operation.rest.query ?? [];
	const isPublic = operation.scope === "public";
	return {
		operationId: operation.name,
		tags: [tagOf(route)],
		summary: operation.summary,
		description: [operation.description, permissionSentence(route)].filter(Boolean).join("\n\n"),
		"x-required-permissions": operation.permissions,
		security: isPublic ? [] : [{ bearer: [] }, { apiKey: [] }],
		parameters: [
			...route.pathFields.map((field) => parameter("path", field, input, true)),
			...query.map((field) => parameter("query", field, input, isRequired(input, field))),
			...route.headerFields.map(({ field, header }) => ({
				...parameter("header", field, input, isRequired(input, field)),
				name: header,
			})),
			...(operation.scope === "tenant" ? [ACTING_TENANT] : []),
		],
		...requestBody(route, input, query, schemas),
		responses: { [route.status]: success(route, schemas), ...errors(route) },
	};
}

const ACTING_TENANT: Json = {
	in: "header",
	name: "X-Tenant-ID",
	required: false,
	description: "For ADMIN keys: the tenant to act in.",
	schema: { type: "string" },
};

function permissionSentence({ operation }: RestRoute): string {
	if (operation.permissions.length === 0) return "Needs no key.";
	return `Needs ${operation.permissions.length > 1 ? "one of " : ""}${operation.permissions.join(", ")}.`;
}

function parameter(place: "path" | "query" | "header", name: string, input: Json, required: boolean): Json {
	const { description, examples, ...schema } = fieldSchema(input, name) ?? {};
	return {
		in: place,
		name,
		required,
		...(description === undefined ? {} : { description }),
		...(Array.isArray(examples) && examples.length > 0 ? { example: examples[0] } : {}),
		schema,
	};
}

function requestBody(route: RestRoute, input: Json, query: readonly string[], schemas: Json): Json {
	const { body } = route.operation.rest;
	if (body === undefined) return {};
	if (body === "ndjson") {
		const schema = { type: "string", description: "One JSON object a line." };
		return { requestBody: { required: true, content: { "application/x-ndjson": { schema } } } };
	}
	if (body === "text") {
		const { description, ...schema } = fieldSchema(input, "body") ?? { type: "string" };
		const content = { "*/*": { schema } };
		return { requestBody: { ...(description === undefined ? {} : { description }), required: true, content } };
	}
	const headerFields = route.headerFields.map(({ field }) => field);
	const fields = withoutFields(input, new Set([...route.pathFields, ...query, ...headerFields]));
	const required = Array.isArray(fields.required) && fields.required.length > 0;
	const schema = component(fields, `${route.operation.name}.input`, schemas);
	const content = { "application/json": { schema }, "application/msgpack": { schema } };
	return { requestBody: { required, content } };
}

function success(route: RestRoute, schemas: Json): Json {
	const { operation, answer } = route;
	const names = operation.scope === "public" ? ["X-Request-ID"] : Object.keys(ANSWER_HEADERS);
	const headers = Object.fromEntries(names.map((name) => [name, { $ref: `#/components/headers/${name}` }]));
	if (answer === "text" || answer === "html") {
		const type = answer === "text" ? "text/plain" : "text/html";
		return { description: "Text.", headers, content: { [type]: { schema: { type: "string" } } } };
	}
	const schema = component(
		hoisted(schemaOf(operation.output, "output"), operation.name, schemas),
		`${operation.name}.output`,
		schemas,
	);
	if (answer === "json") {
		const content = { "application/json": { schema }, "application/msgpack": { schema } };
		return { description: "Done.", headers, content };
	}
	return {
		description: "One JSON object a line. A last line with `error` and `code` tells that the stream broke off.",
		headers,
		content: { "application/x-ndjson": { schema } },
	};
}

/** The codes of the table that can come of such a route. */
function errors(route: RestRoute): Json {
	const { operation, method } = route;
	const possible = new Set([400, 406, 429, 500, 503]);
	if (operation.scope !== "public") possible.add(401).add(403);
	// Who signs instead of bringing a key may sign wrongly, and where no secret is set there is nothing to sign for.
	else if (route.headerFields.length > 0) possible.add(401).add(404);
	if (route.pathFields.length > 0) possible.add(404);
	if (method !== "GET") possible.add(409);
	if (operation.rest.body !== undefined) possible.add(413);
	if (operation.rest.body === "json" || operation.rest.body === "ndjson") possible.add(415);
	return Object.fromEntries([...possible].map((status) => [status, { $ref: `#/components/responses/Error${status}` }]));
}

const statuses = (): number[] => Object.keys(STATUS_WORDS).map(Number);

function errorResponse(status: number): Json {
	const codes = (Object.keys(ERROR_TABLE) as ErrorCode[]).filter((code) => ERROR_TABLE[code].http === status);
	const schema = {
		allOf: [{ $ref: "#/components/schemas/Error" }],
		properties: { code: { type: "string", enum: codes } },
	};
	const retry = { schema: { type: "integer" }, description: "Seconds to wait." };
	return {
		description: `${STATUS_WORDS[status]} Codes: ${codes.join(", ")}.`,
		headers: {
			"X-Request-ID": { $ref: "#/components/headers/X-Request-ID" },
			...(status === 429 || status === 503 ? { "Retry-After": retry } : {}),
		},
		content: { "application/json": { schema } },
	};
}

/** Puts a schema among the components and answers a reference to it. */
function component(schema: Json, name: string, schemas: Json): Json {
	schemas[name] = schema;
	return { $ref: `#/components/schemas/${name}` };
}
