import { formatBytes, formatCount } from "./units.ts";

/** What the commands read of a collection's description. */
export interface CollectionInfo {
	readonly name: string;
	readonly full_name: string;
	readonly dimension: number;
	readonly metric: string;
	readonly quantization: string;
	readonly index: string;
	readonly shards: number;
	readonly replicas: number;
	readonly hnsw: { readonly m: number; readonly ef_construction: number; readonly ef_search: number };
	/** null, as `bytes`, when the collection is damaged. */
	readonly vectors: number | null;
	readonly bytes: number | null;
	readonly payload_indexes: Readonly<Record<string, string>>;
	readonly text?: {
		readonly provider: string;
		readonly model?: string;
		readonly fields: readonly string[];
		readonly language: string;
	};
	readonly index_state: string;
	readonly damage?: string;
	readonly created_at: string;
}

export const vectorsText = ({ vectors }: CollectionInfo): string => (vectors === null ? "?" : formatCount(vectors));
export const storageText = ({ bytes }: CollectionInfo): string => (bytes === null ? "?" : formatBytes(bytes));

const payloadIndexesText = (indexes: CollectionInfo["payload_indexes"]): string =>
	Object.entries(indexes)
		.map(([field, type]) => `${field} (${type})`)
		.join(", ");

function textText({ provider, model, fields, language }: NonNullable<CollectionInfo["text"]>): string {
	const words = fields.length === 0 ? [] : [`words of ${fields.join(", ")} (${language})`];
	return [...words, ...(model === undefined ? [] : [`vectors by ${provider}, ${model}`])].join("; ");
}

export function collectionFields(info: CollectionInfo): (readonly [name: string, value: string])[] {
	return [
		["name", info.full_name],
		["vectors", vectorsText(info)],
		["storage", storageText(info)],
		["dimension", formatCount(info.dimension)],
		["metric", info.metric],
		["quantization", info.quantization],
		["index", `${info.index}, ${info.index_state}`],
		...(info.damage === undefined ? [] : [["damage", info.damage] as const]),
		["hnsw", `m ${info.hnsw.m}, ef_construction ${info.hnsw.ef_construction}, ef_search ${info.hnsw.ef_search}`],
		...(Object.keys(info.payload_indexes).length === 0
			? []
			: [["payload indexes", payloadIndexesText(info.payload_indexes)] as const]),
		...(info.text === undefined ? [] : [["text", textText(info.text)] as const]),
		["shards", `${info.shards}, replicas ${info.replicas}`],
		["created", info.created_at],
	];
}
