import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import {
	type TextSettings,
	textFieldsSchema,
	textLanguageSchema,
	textModelSchema,
	textProviderSchema,
} from "../base/text-settings.ts";
import type { TextEmbedder } from "./text-embedder.ts";

/** `text` of a new collection. */
export const newTextField = z
	.strictObject({
		provider: textProviderSchema.default("none").describe("what makes vectors of texts; none: words are searched only"),
		model: textModelSchema.optional().describe("default: the node's `embedding.model`"),
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
	return { provider, model: model ?? embedder.model, fields, language };
}
