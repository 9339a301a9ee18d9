import type { z } from "zod";
import type { Operation } from "../../operations/operation.ts";

/** What REST needs of an operation: everything but running it. */
export type RestOperation = Pick<
	Operation<never, z.ZodType, unknown>,
	"name" | "summary" | "description" | "scope" | "permissions" | "input" | "output" | "rest"
>;

/** What text in a path or query becomes before the operation's schema sees it. */
export type TextKind = "text" | "number" | "boolean";

/** An input field that a header carries. */
export interface HeaderField {
	readonly field: string;
	readonly header: string;
	readonly kind: TextKind;
}

/** An operation's place in REST, worked out once. */
export interface RestRoute {
	readonly operation: RestOperation;
	readonly method: string;
	/** With `{name}` for path fields: `/api/v1/collections/{collection}`. */
	readonly path: string;
	readonly pathFields: readonly string[];
	readonly queryKinds: ReadonlyMap<string, TextKind>;
	readonly headerFields: readonly HeaderField[];
	readonly status: number;
	readonly answer: "json" | "ndjson" | "text" | "html";
}

const PATH_FIELD = /\{([a-z_]+)\}/g;

/** @throws an Error when two operations claim the same place, or one takes a field from two: a defect of the table. */
export function compileRoutes(operations: readonly RestOperation[]): readonly RestRoute[] {
	const taken = new Map<string, string>();
	return operations.map((operation) => {
		const { rest } = operation;
		const path = rest.root ? rest.path : `/api/v1${rest.path}`;
		const place = `${rest.method} ${path.replace(PATH_FIELD, "{}")}`;
		const other = taken.get(place);
		if (other !== undefined) throw new Error(`operations ${other} and ${operation.name} are both at ${place}`);
		taken.set(place, operation.name);
		const kindOf = (field: string): TextKind => textKind(fieldSchema(operation.input, field));
		const pathFields = Array.from(path.matchAll(PATH_FIELD), (match) => match[1]!);
		const queryFields = rest.query ?? [];
		const headers = Object.entries(rest.headers ?? {});
		requireDistinct(operation.name, [
			...pathFields,
			...queryFields,
			...headers.map(([field]) => field),
			...(rest.body === "text" ? ["body"] : []),
			...(rest.body === "ndjson" ? ["lines"] : []),
		]);
		return {
			operation,
			method: rest.method,
			path,
			pathFields,
			queryKinds: new Map(queryFields.map((field) => [field, kindOf(field)])),
			headerFields: headers.map(([field, header]) => ({ field, header, kind: kindOf(field) })),
			status: rest.status ?? 200,
			answer: rest.answer ?? "json",
		};
	});
}

function requireDistinct(operation: string, fields: readonly string[]): void {
	const twice = fields.find((field, index) => fields.indexOf(field) !== index);
	if (twice !== undefined) throw new Error(`operation ${operation} takes ${twice} from two places`);
}

/** The path of an address as it was sent, percent signs and all; without the query. */
export function pathOf(url: string): string {
	const start = url.startsWith("/") ? 0 : url.indexOf("/", url.indexOf("://") + 3);
	const end = url.search(/[?#]/);
	return url.slice(start, end < 0 ? undefined : end);
}

/** A path as Elysia writes it: `:name` for `{name}`. */
export const elysiaPath = (path: string): string => path.replace(PATH_FIELD, ":$1");

/** The methods a path answers to, for 405 and `Allow`. Built from templates, so that a field stands for any one segment. */
export class PathIndex {
	readonly #places: readonly { readonly pattern: RegExp; readonly method: string }[];

	constructor(places: readonly { readonly path: string; readonly method: string }[]) {
		this.#places = places.map(({ path, method }) => ({
			pattern: new RegExp(`^${path.replaceAll(".", "\\.").replace(PATH_FIELD, "[^/]+")}$`),
			method,
		}));
	}

	/** @returns in alphabetical order; none when nothing is there under any method */
	methodsAt(path: string): readonly string[] {
		const methods = new Set<string>();
		for (const place of this.#places) {
			if (place.pattern.test(path)) methods.add(place.method);
		}
		if (methods.has("GET")) methods.add("HEAD");
		return [...methods].sort();
	}
}

/** The parts of a zod schema's definition that lead to the schemas within. */
interface SchemaDefinition {
	readonly type: string;
	readonly innerType?: Schema;
	readonly in?: Schema;
	readonly out?: Schema;
	readonly options?: readonly Schema[];
	readonly shape?: Readonly<Record<string, Schema>>;
}
type Schema = { readonly def: SchemaDefinition };

/** The schema of a field of an object, or of an object with something done to it afterwards. */
function fieldSchema(input: z.ZodType, field: string): Schema | undefined {
	const { shape } = unwrap(input as unknown as Schema).def;
	return shape?.[field];
}

function unwrap(schema: Schema): Schema {
	const { def } = schema;
	if (def.innerType !== undefined) return unwrap(def.innerType);
	// A preprocessing pipe starts with a transform, which says nothing about what it takes.
	if (def.in !== undefined && def.in.def.type !== "transform") return unwrap(def.in);
	if (def.out !== undefined) return unwrap(def.out);
	return schema;
}

function textKind(schema: Schema | undefined): TextKind {
	if (schema === undefined) return "text";
	const { type, options } = unwrap(schema).def;
	if (type === "number" || type === "int") return "number";
	if (type === "boolean") return "boolean";
	if (options === undefined) return "text";
	const kinds = new Set(options.filter((option) => option.def.type !== "null").map(textKind));
	return kinds.size === 1 ? [...kinds][0]! : "text";
}
