import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import { LIMITS } from "../base/limits.ts";
import type { TextEmbedder } from "../embedding/text-embedder.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { NodeServices } from "./node-services.ts";
import type { OperationContext } from "./operation.ts";

/** Vectors of texts, or why one can't be made; of one collection and for one caller. */
export type EmbedTexts = (texts: readonly string[]) => Promise<readonly (Float32Array | HiveError)[]>;

/** What of an operation's context making vectors needs. */
export type EmbeddingContext = Pick<OperationContext<NodeServices>, "tenant" | "signal" | "services">;

export const TEXT_JSON_SCHEMA = {
	type: "string" as const,
	minLength: 1,
	maxLength: LIMITS.embeddedTextLengthMax,
	description: "instead of a vector, in a collection with a `text.provider`, which makes the vector",
};

/** Checked by `requireText`, which names its place. */
export const textField = z.unknown().optional().meta(TEXT_JSON_SCHEMA);

const invalid = (field: string, reason: string): HiveError =>
	new HiveError("VALIDATION_FAILED", `${field} ${reason}`, { field });

/** @throws VALIDATION_FAILED when the collection makes no vectors of texts */
export function requireTextProvider(
	record: { readonly name: string } & Pick<CollectionRecord, "text">,
	field: string,
): void {
	if (record.text !== undefined && record.text.provider !== "none") return;
	throw invalid(
		field,
		`cannot become a vector: collection ${record.name} was made without a text.provider, so it takes vectors only`,
	);
}

/**
 * A text to make a vector of, for a collection that does so.
 *
 * @throws VALIDATION_FAILED
 */
export function requireText(
	value: unknown,
	record: { readonly name: string } & Pick<CollectionRecord, "text">,
	field: string,
): string {
	requireTextProvider(record, field);
	if (typeof value !== "string") throw invalid(field, "must be text");
	if (value.length > LIMITS.embeddedTextLengthMax) {
		throw invalid(field, `must be at most ${LIMITS.embeddedTextLengthMax} characters`);
	}
	if (value.trim() === "") throw invalid(field, "must not be blank");
	if (!value.isWellFormed()) throw invalid(field, "must be well-formed Unicode");
	return value;
}

/** Makes vectors for a collection, with its own model. Texts were checked by `requireText`. */
export function embedderFor({ tenant, signal, services }: EmbeddingContext, record: CollectionRecord): EmbedTexts {
	return async (texts) => {
		if (texts.length === 0) return [];
		const { embedder } = services;
		const { provider, model } = record.text ?? {};
		if (embedder === undefined || embedder.provider !== provider || model === undefined) {
			throw new HiveError(
				"CONFLICT",
				`collection ${record.name} was made with embedding provider ${provider}, which this node does not have now`,
			);
		}
		return embedder.embed(texts, { tenantId: tenant.id, signal, model, dimension: record.dimension });
	};
}

/** The one vector of one text. @throws what `embed` throws or answers, naming `field` */
export async function embedOne(embed: EmbedTexts, text: string, field: string): Promise<Float32Array> {
	const [vector] = await embed([text]);
	if (vector instanceof HiveError) throw inField(vector, field);
	return vector!;
}

/** The same error, naming where in the request it is. */
export const inField = (error: HiveError, field: string): HiveError =>
	new HiveError(error.code, `${field}: ${error.message}`, { ...error.details, field }, { cause: error });

/** The same context, in which equal texts for the same model are made vectors of once. */
export function embeddingOnce({ tenant, signal, services }: EmbeddingContext): EmbeddingContext {
	const { embedder } = services;
	if (embedder === undefined) return { tenant, signal, services };
	const made = new Map<string, ReturnType<TextEmbedder["embed"]>>();
	const once: TextEmbedder = {
		provider: embedder.provider,
		model: embedder.model,
		dimension: (caller) => embedder.dimension(caller),
		embed(texts, wanted) {
			const key = JSON.stringify([wanted.model, wanted.dimension, texts]);
			const known = made.get(key) ?? embedder.embed(texts, wanted);
			made.set(key, known);
			return known;
		},
	};
	return { tenant, signal, services: { ...services, embedder: once } };
}
