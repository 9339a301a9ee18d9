import type { ResourceTemplateType } from "@modelcontextprotocol/server";

const ROOT = "hive-vector://collections/";

/** What a URI names: an operation and its input. Names in it are those of the caller's tenant, whoever that is. */
export interface ResourceTarget {
	readonly operation: string;
	readonly input: Readonly<Record<string, unknown>>;
	/** The answer's field that is the content; absent: the whole answer, as JSON. */
	readonly textField?: string;
}

export interface ResourceTemplate
	extends Pick<ResourceTemplateType, "uriTemplate" | "name" | "title" | "description" | "mimeType"> {
	readonly operation: string;
}

export const RESOURCE_TEMPLATES: readonly ResourceTemplate[] = [
	{
		uriTemplate: `${ROOT}{collection}`,
		name: "collection",
		title: "A collection",
		description: "Dimension, metric, counts and index state of a collection",
		mimeType: "application/json",
		operation: "collections.get",
	},
	{
		uriTemplate: `${ROOT}{collection}/vectors/{id}`,
		name: "vector",
		title: "An entry of a collection",
		description: "Id and payload of one entry. Digits alone mean an integer id",
		mimeType: "application/json",
		operation: "vectors.get",
	},
	{
		uriTemplate: `${ROOT}{collection}/documents/{+path}`,
		name: "document",
		title: "A document",
		description: "The whole text of a document, as it was stored",
		operation: "documents.content",
	},
];

export const collectionUri = (name: string): string => ROOT + encodeURIComponent(name);

/** @returns undefined for what is no address of ours */
export function resourceTarget(uri: string): ResourceTarget | undefined {
	if (!uri.startsWith(ROOT)) return undefined;
	const [named = "", kind, ...rest] = uri.slice(ROOT.length).split("/");
	const collection = decoded(named);
	const tail = decoded(rest.join("/"));
	if (collection === undefined || tail === undefined || collection === "") return undefined;
	if (kind === undefined) return { operation: "collections.get", input: { collection } };
	if (tail === "") return undefined;
	// An id with a slash is written with a percent sign; a path may have slashes as they are.
	if (kind === "vectors" && rest.length === 1) return { operation: "vectors.get", input: { collection, id: tail } };
	if (kind === "documents") {
		return { operation: "documents.content", input: { collection, path: tail }, textField: "text" };
	}
	return undefined;
}

function decoded(text: string): string | undefined {
	try {
		return decodeURIComponent(text);
	} catch {
		return undefined;
	}
}
