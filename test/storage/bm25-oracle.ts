import type { VectorId } from "../../src/base/ids.ts";
import { compareIds } from "../../src/storage/id-order.ts";

/** A document as a bag of words. */
export type Words = readonly string[];

/** BM25 straight from its definition, over all documents, best first, ties by id. */
export function bm25Oracle(
	documents: ReadonlyMap<VectorId, Words>,
	query: Words,
): { readonly id: VectorId; readonly score: number }[] {
	const saying = [...documents].filter(([, words]) => words.length > 0);
	const lengthMean = saying.reduce((sum, [, words]) => sum + words.length, 0) / saying.length;
	const countOf = (words: Words, term: string): number => words.filter((word) => word === term).length;
	const hits = saying.map(([id, words]) => {
		let score = 0;
		for (const term of query) {
			const count = countOf(words, term);
			const documentCount = saying.filter(([, other]) => other.includes(term)).length;
			const rarity = Math.log(1 + (saying.length - documentCount + 0.5) / (documentCount + 0.5));
			score += (rarity * count * 2.2) / (count + 1.2 * (0.25 + (0.75 * words.length) / lengthMean));
		}
		return { id, score };
	});
	return hits.filter(({ score }) => score > 0).sort((a, b) => b.score - a.score || compareIds(a.id, b.id));
}
