import { join } from "node:path";
import type { z } from "zod";
import { camelCase } from "../src/api/graphql/names.ts";
import { OPERATION_FIELDS } from "../src/api/graphql/operation-fields.ts";
import { RESOURCE_TEMPLATES } from "../src/api/mcp/mcp-resources.ts";
import { TOOLS } from "../src/api/mcp/mcp-tools.ts";
import { compileRoutes, type RestRoute } from "../src/api/rest/rest-route.ts";
import { type Json, schemaOf } from "../src/api/wire/json-schema.ts";
import type { Operation } from "../src/operations/operation.ts";

export const API_PAGE_PATH = join(import.meta.dir, "..", "docs", "api.md");

/** What of an operation stands in the reference. */
type ApiOperation = Pick<
	Operation<never, z.ZodType, unknown>,
	| "name"
	| "summary"
	| "description"
	| "scope"
	| "permissions"
	| "input"
	| "output"
	| "rest"
	| "addressRequestsPerMinute"
	| "admits"
>;

/** GraphQL's ways to an operation besides the fields that are named after it. */
const OTHER_FIELDS: Readonly<Record<string, string>> = {
	"collections.get": "subscription `collectionChanged(name)`",
	"collections.list": "subscription `collectionChanged`",
	"usage.own": "subscription `usageChanged`",
	"vectors.count": "`totalCount` of `vectors`",
};

const PERMISSIONS = ["READ_ONLY", "READ_WRITE", "MCP", "ADMIN"] as const;
const SCOPES: readonly ApiOperation["scope"][] = ["tenant", "admin", "public"];

const INTRODUCTION = `# API reference

Everything a node can do, each thing once: where it stands in REST, GraphQL and MCP, who may do it, what it costs and what it takes. Made from the table that the
protocols are made from, by \`node_modules/.bin/bun scripts/api-reference.ts\`; a test holds this page against it. The same for machines: \`GET /openapi.json\` of a node, its GraphQL schema,
and \`tools/list\`. Errors have a page of [their own](errors.md).

**Who.** A key needs one of the permissions named. It works within its own tenant; a key with ADMIN acts in the tenant that the header \`X-Tenant-ID\` names. A key with \`MCP\` alone is
answered over MCP only, where what has a line *MCP* below can be called. A single-tenant node on loopback needs no key.

**What it costs.** One call: a token of the buckets \`requests_per_minute\` and \`requests_per_hour\` over REST and GraphQL, of \`mcp_requests_per_minute\` over MCP, whatever comes of it
once the key is known. The tenant of the key pays, or the key itself where it has limits of its own ([quotas and rate limits](quotas.md)).

**In GraphQL** fields are written in camelCase and enum values in capitals, and what is selected says whether payloads and vectors are read ([GraphQL](graphql.md)). **In MCP**
a tool takes the fields below; those of \`insert_text\`, \`semantic_search\` and \`hybrid_search\` are in another form ([MCP](mcp.md)).

**Fields.** A *vector* is a list of 1 to 16,384 numbers or \`{"base64": "…"}\`, little-endian float32. A *filter* is
\`{must, should, must_not, min_should}\` in Qdrant's grammar. What is neither required nor has a default may be left out. \`a.b\` is a field within \`a\`, \`a[].b\` one of each entry of the list.
What is not named here is refused.
`;

/** The API reference, as Markdown. The same table gives the same page. */
export function apiPage(operations: readonly ApiOperation[]): string {
	const routes = new Map(compileRoutes(operations).map((route) => [route.operation.name, route]));
	const nouns = [...Map.groupBy(operations, ({ name }) => name.split(".")[0]!)];
	nouns.sort(([, [one]], [, [other]]) => SCOPES.indexOf(one!.scope) - SCOPES.indexOf(other!.scope));
	const sections = nouns.map(([noun, members]) => {
		const title = noun[0]!.toUpperCase() + noun.slice(1).replaceAll("_", " ");
		return [`## ${title}`, ...members.map((operation) => section(operation, routes.get(operation.name)!))].join("\n\n");
	});
	const overview = nouns.flatMap(([, members]) =>
		members.map((operation) => overviewRow(operation, routes.get(operation.name)!)),
	);
	const head = `## Who may do what\n\n| | REST |${PERMISSIONS.map((name) => ` ${name} |`).join("")}\n|---|---|${":-:|".repeat(PERMISSIONS.length)}`;
	return `${INTRODUCTION}\n${head}\n${overview.join("\n")}\n\n${sections.join("\n\n")}\n`;
}

const anchorOf = (name: string): string => name.replace(".", "");

function overviewRow({ name, scope, permissions }: ApiOperation, { method, path }: RestRoute): string {
	const cells =
		scope === "public"
			? PERMISSIONS.map(() => "no key")
			: PERMISSIONS.map((one) => (permissions.includes(one) ? "yes" : ""));
	return `| [${name}](#${anchorOf(name)}) | \`${method} ${path}\` | ${cells.join(" | ")} |`;
}

function section(operation: ApiOperation, route: RestRoute): string {
	const { name, summary, description } = operation;
	const facts = [
		`- REST: \`${route.method} ${route.path}\`, answered ${route.status}`,
		...listed("GraphQL", graphqlPlaces(name)),
		...listed("MCP", mcpPlaces(name)),
		`- Needs: ${who(operation)}`,
		`- Costs: ${cost(operation)}`,
		`- Answers: ${answer(operation, route)}`,
	];
	const parts = [`### ${name}`, `${summary}.`, description, facts.join("\n"), inputTable(operation, route)];
	return parts.filter((part) => part !== undefined).join("\n\n");
}

const listed = (title: string, places: readonly string[]): string[] =>
	places.length === 0 ? [] : [`- ${title}: ${places.join(", ")}`];

function graphqlPlaces(operation: string): string[] {
	const fields = OPERATION_FIELDS.filter((field) => field.operation === operation);
	const places = fields.map(({ field, kind, names = {} }) => {
		const renamed = Object.entries(names).map(([input, argument]) => `\`${camelCase(input)}\` is \`${argument}\``);
		return `${kind} \`${field}\`${renamed.length === 0 ? "" : ` (${renamed.join(", ")})`}`;
	});
	return [...places, ...(operation in OTHER_FIELDS ? [OTHER_FIELDS[operation]!] : [])];
}

function mcpPlaces(operation: string): string[] {
	const tools = TOOLS.filter((tool) => tool.operation === operation).map((tool) => `\`${tool.name}\``);
	const resources = RESOURCE_TEMPLATES.filter((template) => template.operation === operation);
	return [...tools, ...resources.map(({ uriTemplate }) => `resource \`${uriTemplate}\``)];
}

function who({ scope, permissions, admits, rest }: ApiOperation): string {
	if (scope === "public") return rest.headers === undefined ? "no key" : "no key; a signature in the headers below";
	const names = PERMISSIONS.filter((one) => permissions.includes(one)).map((one) => `\`${one}\``);
	const any = names.length === PERMISSIONS.length;
	const reach = scope === "admin" ? "; works on the whole node or cluster" : "";
	const elseToken = admits === undefined ? "" : ", or the token that the first line names";
	return `${any ? "any key" : names.join(", ").replace(/, (?=[^,]*$)/, " or ")}${elseToken}${reach}`;
}

function cost({ scope, addressRequestsPerMinute, admits }: ApiOperation): string {
	if (scope !== "public") return admits === undefined ? "one call" : "one call; none with the token";
	if (addressRequestsPerMinute === undefined) return "nothing";
	return `nothing; ${addressRequestsPerMinute} a minute from one address`;
}

function answer({ output }: ApiOperation, route: RestRoute): string {
	if (route.answer === "text" || route.answer === "html") return "text";
	const shape = `\`${shapeOf(schemaOf(output, "output"), 0)}\``;
	return route.answer === "ndjson" ? `NDJSON, lines of ${shape}` : shape;
}

/** How deep answers are shown; what is further in is an object. */
const SHAPE_DEPTH_MAX = 3;

/** The names of an answer's fields. */
function shapeOf(schema: Json, depth: number): string {
	const branches = schema.anyOf as readonly Json[] | undefined;
	if (branches !== undefined) {
		const shapes = branches.filter(({ type }) => type !== "null").map((branch) => shapeOf(branch, depth));
		return [...new Set(shapes)].filter((shape) => shape !== "").join(" or ");
	}
	if (schema.type === "array") {
		const inner = shapeOf(schema.items as Json, depth);
		return inner === "" ? "" : `[${inner}]`;
	}
	const properties = propertiesOf(schema);
	if (properties.length === 0) return "";
	if (depth >= SHAPE_DEPTH_MAX) return "{…}";
	const required = requiredOf(schema);
	const fields = properties.map(([name, field]) => {
		const inner = shapeOf(field, depth + 1);
		return `${name}${required.has(name) ? "" : "?"}${inner === "" ? "" : `: ${inner}`}`;
	});
	return `{${fields.join(", ")}}`;
}

interface InputRow {
	readonly name: string;
	readonly place: string;
	readonly schema: Json;
	readonly isRequired: boolean;
}

function inputTable(operation: ApiOperation, route: RestRoute): string | undefined {
	const schema = schemaOf(operation.input, "input");
	if (schema.type !== "object") throw new Error(`${operation.name} takes something other than one object`);
	const headers = new Map(route.headerFields.map(({ field, header }) => [field, header]));
	const placeOf = (field: string): string => {
		if (route.pathFields.includes(field)) return "path";
		if (route.queryKinds.has(field)) return "query";
		const header = headers.get(field);
		return header === undefined ? "body" : `header \`${header}\``;
	};
	const required = requiredOf(schema);
	const rows = propertiesOf(schema).flatMap(([name, field]) => {
		const place = placeOf(name);
		if (operation.rest.body === "ndjson" && place === "body") return [linesRow];
		return inputRows({ name, place, schema: field, isRequired: required.has(name) || place === "path" });
	});
	if (rows.length === 0) return undefined;
	const rank = ({ place }: InputRow): number => ["path", "query", "header", "body"].indexOf(place.split(" ")[0]!);
	rows.sort((one, other) => rank(one) - rank(other));
	return `| field | in | type | | default |\n|---|---|---|---|---|\n${rows.map(inputRow).join("\n")}`;
}

const linesRow: InputRow = {
	name: "lines",
	place: "body",
	schema: {
		type: "NDJSON",
		description: "one JSON object a line, with the fields of an entry of `vectors` of vectors.upsert",
	},
	isRequired: true,
};

/** A field, and beneath it the fields that it has itself. */
function inputRows(row: InputRow): InputRow[] {
	const { name, place, schema } = row;
	if (isFilter(schema) || isVector(schema)) return [row];
	const [within, prefix] =
		schema.type === "array" ? [schema.items as Json, `${name}[].`] : [objectIn(schema), `${name}.`];
	if (within === undefined || isVector(within)) return [row];
	const required = requiredOf(within);
	const inner = propertiesOf(within).flatMap(([field, fieldSchema]) =>
		inputRows({ name: prefix + field, place, schema: fieldSchema, isRequired: required.has(field) }),
	);
	return [row, ...inner];
}

/** The object that a field is, if it is not null. */
const objectIn = (schema: Json): Json | undefined =>
	schema.anyOf === undefined
		? schema
		: (schema.anyOf as readonly Json[]).find(({ properties }) => properties !== undefined);

function inputRow({ name, place, schema, isRequired }: InputRow): string {
	const said = typeof schema.description === "string" ? schema.description : "";
	// An object's own default is that of its fields.
	const hasDefault = schema.default !== undefined && JSON.stringify(schema.default) !== "{}";
	const last = isRequired ? "required" : hasDefault ? `\`${JSON.stringify(schema.default)}\`` : "";
	return `| ${[`\`${name}\``, place, typeOf(schema), said, last].map(cell).join(" | ")} |`;
}

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");

/** Longer patterns tell a reader nothing. */
const PATTERN_CHARS_MAX = 40;
const CHOICES_MAX = 12;

function typeOf(schema: Json): string {
	if (isFilter(schema)) return "filter";
	if (isVector(schema)) return "vector";
	if (schema.const !== undefined) return `\`${JSON.stringify(schema.const)}\``;
	if (Array.isArray(schema.enum)) return choices(schema.enum);
	if (Array.isArray(schema.anyOf)) return (schema.anyOf as Json[]).map(typeOf).join("; or ");
	const { type } = schema;
	if (Array.isArray(type)) return type.map((one) => typeOf({ type: one })).join(" or ");
	if (type === "array") {
		return `list${sizeOf(schema.minItems, schema.maxItems, "entries")}: ${typeOf(schema.items as Json)}`;
	}
	if (type === "integer" || type === "number") return `${type}${boundsOf(schema.minimum, schema.maximum)}`;
	if (type === "string") return textType(schema);
	return type === undefined ? "any" : String(type);
}

function textType({ format, pattern, minLength, maxLength }: Json): string {
	if (format === "date-time") return "RFC 3339 time";
	if (typeof pattern === "string" && pattern.length <= PATTERN_CHARS_MAX) return `string \`${pattern}\``;
	return `string${sizeOf(minLength, maxLength, "characters")}`;
}

function sizeOf(least: unknown, most: unknown, unit: string): string {
	if (least === 1 && most === undefined) return ", not empty";
	const bounds = boundsOf(least, most);
	return bounds === "" ? "" : `,${bounds} ${unit}`;
}

function choices(values: readonly unknown[]): string {
	const shown = values.map((value) => `\`${value}\``);
	return shown.length <= CHOICES_MAX ? shown.join(", ") : `one of ${shown.join(", ")}`;
}

function boundsOf(least: unknown, most: unknown): string {
	const low = typeof least === "number" && least > Number.MIN_SAFE_INTEGER ? least : undefined;
	const high = typeof most === "number" && most < Number.MAX_SAFE_INTEGER ? most : undefined;
	if (low === undefined && high === undefined) return "";
	if (high === undefined) return ` from ${low!.toLocaleString("en")}`;
	return low === undefined
		? ` up to ${high.toLocaleString("en")}`
		: ` ${low.toLocaleString("en")}..${high.toLocaleString("en")}`;
}

const propertiesOf = ({ properties }: Json): [string, Json][] =>
	Object.entries((properties ?? {}) as Record<string, Json>);
const requiredOf = ({ required }: Json): ReadonlySet<string> => new Set((required ?? []) as string[]);
const isFilter = ({ properties }: Json): boolean => properties !== undefined && "must_not" in (properties as Json);
const isVector = ({ anyOf }: Json): boolean =>
	Array.isArray(anyOf) &&
	(anyOf as Json[]).some(({ properties }) => properties !== undefined && "base64" in (properties as Json));
