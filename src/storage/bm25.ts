/**
 * BM25: how well a document fits a query by the words they share.
 *
 * Source: Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond, 2009; the weight of a term as Lucene has
 * it, which is never negative.
 */
const K1 = 1.2;
const B = 0.75;
/** Terms of a query that are scored: the rarest. */
const SCORED_TERMS_MAX = 64;

/** What must be known of a whole collection to score one of its documents. */
export interface TextStatistics {
	/** Documents that say anything. */
	readonly documentCount: number;
	/** Words of all of them. */
	readonly tokenCount: number;
	/** Of each term of the query: the documents that say it. */
	readonly documentCounts: readonly (readonly [term: string, documentCount: number])[];
}

export interface WeightedTerm {
	readonly term: string;
	readonly weight: number;
	/** More than a document gains by it, however often it says it. */
	readonly gainMax: number;
}

/** Those of the parts of a collection, as one. All are of the same query. */
export function sumStatistics(parts: readonly TextStatistics[]): TextStatistics {
	const documentCounts = new Map<string, number>();
	for (const part of parts) {
		for (const [term, count] of part.documentCounts) documentCounts.set(term, (documentCounts.get(term) ?? 0) + count);
	}
	return {
		documentCount: parts.reduce((sum, part) => sum + part.documentCount, 0),
		tokenCount: parts.reduce((sum, part) => sum + part.tokenCount, 0),
		documentCounts: [...documentCounts],
	};
}

/**
 * The terms that are worth looking for, the weightiest first: in the same order everywhere, so that the same sums come out.
 *
 * @param counts how often the query says each
 */
export function weighTerms(counts: ReadonlyMap<string, number>, statistics: TextStatistics): readonly WeightedTerm[] {
	const terms: WeightedTerm[] = [];
	for (const [term, documentCount] of statistics.documentCounts) {
		if (documentCount === 0) continue;
		// Counted a moment later it may be said by more documents than there were.
		const total = Math.max(statistics.documentCount, documentCount);
		const rarity = Math.log(1 + (total - documentCount + 0.5) / (documentCount + 0.5));
		const weight = (counts.get(term) ?? 0) * rarity;
		if (weight > 0) terms.push({ term, weight, gainMax: weight * (K1 + 1) });
	}
	terms.sort((a, b) => b.weight - a.weight || (a.term < b.term ? -1 : 1));
	return terms.slice(0, SCORED_TERMS_MAX);
}

/** What documents gain by saying a term so often. */
export class TermScorer {
	readonly #perLength: number;

	constructor({ documentCount, tokenCount }: TextStatistics) {
		const lengthMean = documentCount === 0 ? 0 : tokenCount / documentCount;
		this.#perLength = lengthMean === 0 ? 0 : (K1 * B) / lengthMean;
	}

	gain(weight: number, count: number, length: number): number {
		return weight * ((count * (K1 + 1)) / (count + K1 * (1 - B) + this.#perLength * length));
	}
}
