import type { HiveError } from "../base/errors.ts";
import type { TenantId } from "../base/ids.ts";
import type { TextProvider } from "../base/text-settings.ts";

/** Whom vectors are made for: tenants take turns. */
export interface EmbeddingCaller {
	readonly tenantId: TenantId;
	/** Aborted when nobody waits for the vectors any more. */
	readonly signal: AbortSignal;
}

/** Makes vectors of texts. */
export interface TextEmbedder {
	readonly provider: Exclude<TextProvider, "none">;
	/** What a collection gets that names none. */
	readonly model: string;
	/**
	 * How long the vectors of `model` are: as the settings say, else as the provider, asked once, shows.
	 *
	 * @throws OVERLOADED when the provider does not answer; INTERNAL when it does not as it should
	 */
	dimension(caller: EmbeddingCaller): Promise<number>;
	/**
	 * @param texts none empty
	 * @param wanted.model the collection's: never another one in its place
	 * @returns one a text, in their order: `dimension` finite numbers, or why the provider takes this text not (VALIDATION_FAILED)
	 * @throws OVERLOADED when the provider does not answer, or too much waits for it; DIMENSION_MISMATCH when its vectors have another length;
	 *         CONFLICT when it answers with another model; INTERNAL when it refuses the node or answers what is no answer
	 */
	embed(
		texts: readonly string[],
		wanted: EmbeddingCaller & { readonly model: string; readonly dimension: number },
	): Promise<readonly (Float32Array | HiveError)[]>;
}
