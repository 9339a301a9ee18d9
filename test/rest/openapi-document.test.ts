import { afterAll, describe, expect, test } from "bun:test";
import { z } from "zod";
import { openApiDocument } from "../../src/api/rest/openapi-document.ts";
import { compileRoutes } from "../../src/api/rest/rest-route.ts";
import { ERROR_TABLE } from "../../src/base/errors.ts";
import { tenantIdSchema } from "../../src/base/schemas.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import { operation, startServer } from "./rest-harness.ts";

// biome-ignore lint/suspicious/noExplicitAny: a parsed document that tests reach into
type Json = Record<string, any>;

const large = z.strictObject(
	Object.fromEntries(
		Array.from({ length: 20 }, (_, index) => [`field_${index}`, z.string().describe("something that takes room")]),
	),
);
interface Tree {
	readonly children?: readonly Tree[] | undefined;
}
const treeSchema: z.ZodType<Tree> = z.lazy(() => z.strictObject({ children: z.array(treeSchema).optional() }));
const namedSchema = z.strictObject({ x: z.number() }).meta({ id: "NamedPoint" });

const operations = [
	operation(
		"things.list",
		{ method: "GET", path: "/things/{thing}", query: ["limit", "since"] },
		z.strictObject({
			thing: z
				.string()
				.regex(/^a/)
				.meta({ description: "which", examples: ["a"] }),
			limit: z.int().min(1).max(9).default(5).describe("how many"),
			since: z.string(),
		}),
		undefined,
		{ description: "More about it.", output: z.strictObject({ id: tenantIdSchema, size: z.number().default(1) }) },
	),
	operation(
		"things.add",
		{ method: "POST", path: "/things/{thing}", body: "json", status: 201 },
		z.strictObject({ thing: z.string(), mode: z.string(), other: large, tree: treeSchema, point: namedSchema }),
		undefined,
		{ permissions: ["ADMIN", "READ_WRITE"], output: z.strictObject({ point: namedSchema }) },
	),
	operation(
		"things.find",
		{ method: "POST", path: "/things/{thing}/find", body: "json" },
		z.union([
			z.strictObject({ thing: z.string(), other: large }),
			z.strictObject({ thing: z.string(), vector: z.custom<Float32Array>().meta({ type: "array" }).optional() }),
		]),
	),
	operation("health.live", { method: "GET", path: "/health", root: true }, z.strictObject({}), undefined, {
		scope: "public",
		permissions: [],
	}),
	operation("lines.import", { method: "POST", path: "/lines", body: "ndjson", answer: "ndjson" }, z.unknown()),
	operation(
		"hooks.push",
		{ method: "POST", path: "/hooks", headers: { signature: "webhook-signature", id: "webhook-id" }, body: "text" },
		z.strictObject({ signature: z.string().describe("of all"), id: z.string().optional(), body: z.string().max(9) }),
		undefined,
		{ scope: "public", permissions: [] },
	),
	operation(
		"hooks.put",
		{ method: "PUT", path: "/hooks", headers: { id: "webhook-id" }, body: "json" },
		z.strictObject({ id: z.string(), url: z.string() }),
	),
	operation("lines.text", { method: "GET", path: "/text", answer: "text" }, z.unknown()),
	operation("lines.html", { method: "GET", path: "/html", answer: "html" }, z.unknown()),
];
const server = startServer(operations);
afterAll(() => server.server.stop());
const documentOf = async (): Promise<Json> => (await server.fetch("/openapi.json")).json() as Promise<Json>;

/** Follows every reference there is. */
function danglingReferences(document: Json): string[] {
	const dangling: string[] = [];
	JSON.stringify(document, (key, value) => {
		if (key !== "$ref") return value;
		let at: unknown = document;
		for (const part of (value as string).slice(2).split("/")) at = (at as Json | undefined)?.[part];
		if (at === undefined) dangling.push(value);
		return value;
	});
	return dangling;
}

describe("the OpenAPI document", () => {
	test("is version 3.1 and tells the product's version and licence", async () => {
		expect(await documentOf()).toMatchObject({
			openapi: "3.1.1",
			info: { title: "hive-vector", version: "1.2.3", license: { identifier: "Apache-2.0" } },
			tags: [{ name: "health" }, { name: "hooks" }, { name: "lines" }, { name: "things" }],
		});
	});

	test("is the same each time", async () => {
		expect(await documentOf()).toEqual(await documentOf());
	});

	test("describes path and query fields as parameters", async () => {
		const { get } = (await documentOf()).paths["/api/v1/things/{thing}"];
		expect(get.parameters).toEqual([
			{
				in: "path",
				name: "thing",
				required: true,
				description: "which",
				example: "a",
				schema: { type: "string", pattern: "^a" },
			},
			{
				in: "query",
				name: "limit",
				required: false,
				description: "how many",
				schema: { type: "integer", minimum: 1, maximum: 9, default: 5 },
			},
			{ in: "query", name: "since", required: true, schema: { type: "string" } },
			expect.objectContaining({ in: "header", name: "X-Tenant-ID" }),
		]);
		expect(get.requestBody).toBeUndefined();
	});

	test("describes header fields as parameters, under the header's name, and leaves them out of the body", async () => {
		const document = await documentOf();
		const { post, put } = document.paths["/api/v1/hooks"];
		expect(post.parameters).toEqual([
			{ in: "header", name: "webhook-signature", required: true, description: "of all", schema: { type: "string" } },
			{ in: "header", name: "webhook-id", required: false, schema: { type: "string" } },
		]);
		expect(put.parameters[0]).toMatchObject({ in: "header", name: "webhook-id", required: true });
		const input = document.components.schemas["hooks.put.input"];
		expect([Object.keys(input.properties), input.required]).toEqual([["url"], ["url"]]);
	});

	test("describes a body that is taken as text", async () => {
		const { post } = (await documentOf()).paths["/api/v1/hooks"];
		expect(post.requestBody).toEqual({
			required: true,
			content: { "*/*": { schema: { type: "string", maxLength: 9 } } },
		});
		expect(Object.keys(post.responses)).toContain("413");
		expect(Object.keys(post.responses)).not.toContain("415");
	});

	test("tells what an operation does and who may", async () => {
		const { paths } = await documentOf();
		const { get, post } = paths["/api/v1/things/{thing}"];
		expect(get).toMatchObject({
			operationId: "things.list",
			tags: ["things"],
			description: "More about it.\n\nNeeds READ_WRITE.",
			"x-required-permissions": ["READ_WRITE"],
			security: [{ bearer: [] }, { apiKey: [] }],
		});
		expect(post.description).toBe("Needs one of ADMIN, READ_WRITE.");
		expect(paths["/health"].get).toMatchObject({ description: "Needs no key.", security: [] });
	});

	test("describes the body without the fields of the address, in JSON and msgpack", async () => {
		const { paths, components } = await documentOf();
		const { requestBody } = paths["/api/v1/things/{thing}"].post;
		const schema = { $ref: "#/components/schemas/things.add.input" };
		expect(requestBody).toEqual({
			required: true,
			content: { "application/json": { schema }, "application/msgpack": { schema } },
		});
		const body = components.schemas["things.add.input"];
		expect(Object.keys(body.properties)).toEqual(["mode", "other", "tree", "point"]);
		expect(body.required).toEqual(["mode", "other", "tree", "point"]);
		const branches = components.schemas["things.find.input"].anyOf;
		expect(branches.map((branch: Json) => Object.keys(branch.properties))).toEqual([["other"], ["vector"]]);
		expect(branches[1].properties.vector).toEqual({ type: "array" });
		expect(branches[1].required).toBeUndefined();
	});

	test("describes an answer as it stands on the wire", async () => {
		const { paths, components } = await documentOf();
		expect(components.schemas["things.list.output"]).toEqual({
			type: "object",
			properties: { id: { type: "string", pattern: expect.any(String) }, size: { default: 1, type: "number" } },
			required: ["id", "size"],
			additionalProperties: false,
		});
		expect(Object.keys(paths["/api/v1/things/{thing}"].post.responses)).toContain("201");
		expect(Object.keys(paths["/api/v1/lines"].post.responses["200"].content)).toEqual(["application/x-ndjson"]);
		expect(Object.keys(paths["/api/v1/lines"].post.requestBody.content)).toEqual(["application/x-ndjson"]);
		expect(Object.keys(paths["/api/v1/text"].get.responses["200"].content)).toEqual(["text/plain"]);
		expect(Object.keys(paths["/api/v1/html"].get.responses["200"].content)).toEqual(["text/html"]);
	});

	test("describes a large schema once, and a recursive one by reference", async () => {
		const document = await documentOf();
		const { schemas } = document.components;
		expect(schemas["things.add.input"].properties.other).toEqual({ $ref: "#/components/schemas/Other" });
		expect(schemas["things.find.input"].anyOf[0].properties.other).toEqual({ $ref: "#/components/schemas/Other" });
		expect(Object.keys(schemas.Other.properties)).toHaveLength(20);
		expect(schemas["things.add.input"].properties.point).toEqual({ $ref: "#/components/schemas/NamedPoint" });
		expect(schemas.NamedPoint.properties).toEqual({ x: { type: "number" } });
		expect(danglingReferences(document)).toEqual([]);
	});

	test("names every error code under its status", async () => {
		const { components, paths } = await documentOf();
		for (const [code, { http }] of Object.entries(ERROR_TABLE)) {
			if (http === 405) continue;
			const response = components.responses[`Error${http}`];
			expect(response.content["application/json"].schema.properties.code.enum).toContain(code);
		}
		const statuses = (path: string, method: string) =>
			Object.keys(paths[path][method].responses).filter((status) => Number(status) >= 400);
		expect(statuses("/health", "get")).toEqual(["400", "406", "429", "500", "503"]);
		expect(statuses("/api/v1/things/{thing}", "post")).toEqual([
			"400",
			"401",
			"403",
			"404",
			"406",
			"409",
			"413",
			"415",
			"429",
			"500",
			"503",
		]);
	});
});

describe("the OpenAPI document of the real table", () => {
	const document = JSON.parse(JSON.stringify(openApiDocument(compileRoutes(OPERATIONS), "1.0.0"))) as Json;

	test("describes every operation and leaves no reference open", () => {
		const ids = Object.values(document.paths as Json).flatMap((item) =>
			Object.values(item as Json).map(({ operationId }) => operationId as string),
		);
		expect(ids.sort()).toEqual(OPERATIONS.map(({ name }) => name).sort());
		expect(danglingReferences(document)).toEqual([]);
	});

	test("says something about every field of every path and query", () => {
		const nameless = Object.entries(document.paths as Json).flatMap(([path, item]) =>
			Object.values(item as Json).flatMap(({ parameters }) =>
				(parameters as Json[])
					.filter(({ schema }) => Object.keys(schema).length === 0)
					.map(({ name }) => `${path} ${name}`),
			),
		);
		expect(nameless).toEqual([]);
	});
});
