import { Flags } from "@oclif/core";

/** What describes a new collection besides its name and dimension. */
export const collectionFlags = {
	metric: Flags.string({
		options: ["cosine", "dot", "euclidean"],
		description: "how vectors are compared",
		default: "cosine",
	}),
	quantization: Flags.string({
		options: ["f32", "f16", "bf16", "i8"],
		description: "how the index stores vectors; full precision is always kept beside it",
		default: "f16",
	}),
	index: Flags.string({
		options: ["auto", "hnsw", "exact"],
		description: "auto: exact while small, a graph beyond",
		default: "auto",
	}),
	shards: Flags.integer({ description: "parts it is split into", min: 1, helpValue: "<n>" }),
	replicas: Flags.integer({ description: "copies of each part", min: 1, helpValue: "<n>" }),
	m: Flags.integer({ description: "HNSW: links a vector", min: 1, helpValue: "<n>", helpGroup: "HNSW" }),
	"ef-construction": Flags.integer({
		description: "HNSW: width while building",
		min: 1,
		helpValue: "<n>",
		helpGroup: "HNSW",
	}),
	"ef-search": Flags.integer({
		description: "HNSW: width while searching",
		min: 1,
		helpValue: "<n>",
		helpGroup: "HNSW",
	}),
	"text-field": Flags.string({
		description: "payload field that is searched by its words; repeat for several",
		multiple: true,
		multipleNonGreedy: true,
		helpValue: "<field>",
		helpGroup: "TEXT",
	}),
	"text-language": Flags.string({
		description: "language whose words are cut down to their stems, or none",
		helpValue: "<language>",
		helpGroup: "TEXT",
	}),
	"text-provider": Flags.string({
		description: "what makes vectors of texts: the node's embedding provider",
		options: ["none", "openai", "onnx"],
		helpGroup: "TEXT",
	}),
	"text-model": Flags.string({
		description: "the provider's model; the node's, if not given",
		helpValue: "<model>",
		helpGroup: "TEXT",
	}),
};

interface CollectionFlags {
	readonly metric: string;
	readonly quantization: string;
	readonly index: string;
	readonly shards?: number | undefined;
	readonly replicas?: number | undefined;
	readonly m?: number | undefined;
	readonly "ef-construction"?: number | undefined;
	readonly "ef-search"?: number | undefined;
	readonly "text-field"?: readonly string[] | undefined;
	readonly "text-language"?: string | undefined;
	readonly "text-provider"?: string | undefined;
	readonly "text-model"?: string | undefined;
}

/** Body of `POST /collections`. */
export function newCollectionBody(name: string, dimension: number, flags: CollectionFlags): Record<string, unknown> {
	const hnsw = { m: flags.m, ef_construction: flags["ef-construction"], ef_search: flags["ef-search"] };
	const text = {
		provider: flags["text-provider"],
		model: flags["text-model"],
		fields: flags["text-field"],
		language: flags["text-language"],
	};
	const { metric, quantization, index, shards, replicas } = flags;
	// JSON leaves out what is undefined, and the node knows the defaults.
	return {
		...{ name, dimension, metric, quantization, index, shards, replicas },
		...(isGiven(hnsw) ? { hnsw } : {}),
		...(isGiven(text) ? { text } : {}),
	};
}

const isGiven = (flags: object): boolean => Object.values(flags).some((value) => value !== undefined);
