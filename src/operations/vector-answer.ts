import { z } from "zod";
import type { VectorId } from "../base/ids.ts";
import type { Payload } from "../base/schemas.ts";
import type { Hit, StoredVector } from "../storage/shard-types.ts";

/** A vector as answers show it. */
export const vectorAnswerSchema = z.strictObject({
	id: z.union([z.string(), z.int()]).describe('as it was given: 1 and "1" are different'),
	vector: z
		.array(z.number())
		.optional()
		.describe("float32 values, each written with the fewest digits that tell it from its neighbours"),
	payload: z.record(z.string(), z.unknown()).optional(),
});

export const hitAnswerSchema = vectorAnswerSchema.extend({
	score: z
		.number()
		.describe(
			"cosine similarity, inner product, BM25 or what a hybrid search makes of both, higher first; euclidean distance, lower first",
		),
});

export interface VectorAnswer {
	readonly id: VectorId;
	/** As stored; a protocol writes it as numbers. */
	readonly vector?: Float32Array;
	readonly payload?: Payload;
}

export interface HitAnswer extends VectorAnswer {
	readonly score: number;
}

export function vectorAnswer(stored: StoredVector): VectorAnswer {
	const answer: { id: VectorId; vector?: Float32Array; payload?: Payload } = { id: stored.id };
	if (stored.vector !== undefined) answer.vector = stored.vector;
	if (stored.payload !== undefined) answer.payload = JSON.parse(stored.payload) as Payload;
	return answer;
}

export function hitAnswer(hit: Hit): HitAnswer {
	const answer: { id: VectorId; score: number; vector?: Float32Array; payload?: Payload } = {
		id: hit.id,
		score: hit.score,
	};
	if (hit.payload !== undefined) answer.payload = JSON.parse(hit.payload) as Payload;
	if (hit.vector !== undefined) answer.vector = hit.vector;
	return answer;
}
