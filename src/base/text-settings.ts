import { z } from "zod";
import { LIMITS } from "./limits.ts";
import { fieldPathSchema, parsePayloadPath } from "./payload-path.ts";

/** How a collection treats text: what makes vectors of it, and which payload fields are searched by their words. */

export const textProviderSchema = z.enum(["none", "openai", "onnx"]);

/** Languages whose words are cut down to their stems. `none`: words are kept as they are. */
export const textLanguageSchema = z.enum([
	"none",
	"arabic",
	"armenian",
	"danish",
	"dutch",
	"english",
	"finnish",
	"french",
	"german",
	"greek",
	"hindi",
	"hungarian",
	"indonesian",
	"irish",
	"italian",
	"lithuanian",
	"nepali",
	"norwegian",
	"portuguese",
	"romanian",
	"russian",
	"serbian",
	"spanish",
	"swedish",
	"tamil",
	"turkish",
	"ukrainian",
]);

export const textModelSchema = z
	.string()
	.min(1)
	.max(LIMITS.textModelLengthMax)
	.refine((text) => text.isWellFormed() && !/\p{Cc}/u.test(text), {
		error: "no control characters or lone surrogates",
	});

export const textFieldsSchema = z
	.array(fieldPathSchema)
	.max(LIMITS.textFieldsMax)
	.refine((fields) => new Set(fields.map((field) => parsePayloadPath(field)?.text)).size === fields.length, {
		error: "each field is named once",
	});

export type TextProvider = z.infer<typeof textProviderSchema>;
export type TextLanguage = z.infer<typeof textLanguageSchema>;

/** As a collection has it, nothing left to a default. */
export const textSettingsSchema = z.strictObject({
	/** `none`: text is searched by its words only. */
	provider: textProviderSchema,
	/** Of the provider; recorded when the collection was made, so that no other ever takes its place. Absent with `none`. */
	model: textModelSchema.optional(),
	/** Payload fields that are searched by their words. */
	fields: textFieldsSchema,
	language: textLanguageSchema,
});

/** What a shard must know of it. */
export const lexicalSettingsSchema = textSettingsSchema.pick({ fields: true, language: true });

export type TextSettings = z.infer<typeof textSettingsSchema>;
export interface LexicalSettings {
	readonly fields: readonly string[];
	readonly language: TextLanguage;
}

const TEXT_FIELD = "text";

/** The payload field in which a text is kept of which a vector was made: the first that is a plain key, or `text`. */
export function keptTextField({ fields }: Pick<TextSettings, "fields">): string {
	for (const field of fields) {
		const [step, ...deeper] = parsePayloadPath(field)?.steps ?? [];
		if (typeof step === "string" && deeper.length === 0) return step;
	}
	return TEXT_FIELD;
}
