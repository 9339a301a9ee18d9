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
import type { NodeServices } from "./node-services.ts";
import type { OperationContext } from "./operation.ts";

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

/**
 * The dimension of a new collection: as given, or as its provider has it.
 *
 * @throws VALIDATION_FAILED when nobody says; DIMENSION_MISMATCH when the provider's is another; what the provider throws
 */
export async function newDimension(
	given: number | undefined,
	text: TextSettings | undefined,
	{ tenant, signal, services }: Pick<OperationContext<NodeServices>, "tenant" | "signal" | "services">,
): Promise<number> {
	const field = "dimension";
	if (text === undefined || text.provider === "none" || services.embedder === undefined) {
		if (given !== undefined) return given;
		throw new HiveError("VALIDATION_FAILED", "dimension is missing: only a collection with a text.provider knows it", {
			field,
		});
	}
	const made = await services.embedder.dimension({ tenantId: tenant.id, signal });
	if (given !== undefined && given !== made) {
		throw new HiveError("DIMENSION_MISMATCH", `vectors of model ${text.model} have ${made} dimensions, not ${given}`, {
			expected: made,
			actual: given,
			field,
		});
	}
	return made;
}
