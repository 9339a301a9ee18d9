import type { TextProvider } from "../base/text-settings.ts";

/** Makes vectors of texts. */
export interface TextEmbedder {
	readonly provider: Exclude<TextProvider, "none">;
	/** What a collection gets that names none. */
	readonly model: string;
	/**
	 * @param model the collection's: never another one in its place
	 * @returns one vector a text, each of `dimension` numbers
	 * @throws HiveError VALIDATION_FAILED when this node has not that model, DIMENSION_MISMATCH when its vectors are of another length
	 */
	embed(
		texts: readonly string[],
		wanted: { readonly model: string; readonly dimension: number },
	): Promise<readonly Float32Array[]>;
}
