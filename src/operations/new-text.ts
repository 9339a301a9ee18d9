import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import {
	type TextSettings,
	textFieldsSchema,
	textLanguageSchema,
	textModelSchema,
	textProviderSchema,
} from "../base/text-settings.ts";
import type { TextEmbedder } from "../embedding/text-embedder.ts";

/** `text` of a new collection. */
export const newTextField = z
	.strictObject({
		provider: textProviderSchema.default("none").describe("what makes vectors of texts; none: words are searched only"),
		model: textModelSchema.optional().describe("the node's `embedding.model`, which is the default"),
		fields: textFieldsSchema.default(["text"]).describe("payload fields that are searched by their words"),
		language: textLanguageSchema.default("english").describe("words are cut down to their stems; none: they are not"),
	})
	.refine(({ provider, fields }) => provider !== "none" || fields.length > 0, {
		error: "without a provider there is only the search by words: name a field",
		path: ["fields"],
	})
	.refine(({ provider, model }) => provider !== "none" || model === undefined, {
		error: "a model needs a provider",
		path: ["model"],
	})
	.optional();

/** With the model written down, so that the collection never holds vectors of two. @throws VALIDATION_FAILED */
export function textSettings(
	text: NonNullable<z.output<typeof newTextField>>,
	embedder: TextEmbedder | undefined,
): TextSettings {
	const { provider, model, fields, language } = text;
	if (provider === "none") return { provider, fields, language };
	if (embedder?.provider !== provider) {
		const field = "text.provider";
		throw new HiveError(
			"VALIDATION_FAILED",
			`${field}: this node's embedding provider is ${embedder?.provider ?? "none"}`,
			{
				field,
			},
		);
	}
	// The operator pays for the model, so it is not the tenant who picks it.
	if (model !== undefined && model !== embedder.model) {
		const field = "text.model";
		throw new HiveError("VALIDATION_FAILED", `${field}: this node's embedding model is ${embedder.model}`, { field });
	}
	return { provider, model: embedder.model, fields, language };
}
