import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { LocalNode } from "../local-node.ts";
import { readWordVectors } from "../word-vectors.ts";
import { printTable } from "./table.ts";

/**
 * How well documents are found: by their words (BM25), by a vector, and by both, on a small set with graded judgements, through
 * the compiled binary. `--json FILE` keeps the figures.
 *
 * The vectors are no embedding model's: the mean of the GloVe vectors of a text's words, each weighted by how rare it is in the
 * set. A model that reads sentences does better.
 */
const { values } = parseArgs({ args: Bun.argv.slice(2), options: { json: { type: "string" } } });

const DATA = join(import.meta.dir, "..", "data");
const HITS = 10;

interface Passage {
	readonly id: string;
	readonly text: string;
}
interface Question {
	readonly text: string;
	/** By id of the passage: 1 or 2. */
	readonly grades: Readonly<Record<string, number>>;
}

const passages = readJson<readonly Passage[]>("documents.json");
const questions = readJson<readonly Question[]>("queries.json");
const vectorOf = meanOfWordVectors(passages.map(({ text }) => text));

const METHODS: readonly (readonly [name: string, query: (text: string) => object])[] = [
	["words: BM25", (text) => ({ text })],
	["vector: mean of GloVe words", (text) => ({ vector: [...vectorOf(text)] })],
	["hybrid, rrf", (text) => ({ vector: [...vectorOf(text)], hybrid: { text } })],
	["hybrid, alpha 0.3", (text) => ({ vector: [...vectorOf(text)], hybrid: { text, alpha: 0.3 } })],
	["hybrid, alpha 0.5", (text) => ({ vector: [...vectorOf(text)], hybrid: { text, alpha: 0.5 } })],
	["hybrid, alpha 0.7", (text) => ({ vector: [...vectorOf(text)], hybrid: { text, alpha: 0.7 } })],
];

const dataDir = mkdtempSync(join(tmpdir(), "hive-vector-retrieval-"));
const node = await LocalNode.start({ dataDir });
try {
	const key = node.adminKey();
	await node.call(key, "POST", "/collections", { name: "passages", dimension: vectorOf("").length, text: {} });
	await node.call(key, "POST", "/collections/passages/vectors", {
		vectors: passages.map(({ id, text }) => ({ id, vector: [...vectorOf(text)], payload: { text } })),
	});
	const results = [];
	for (const [name, query] of METHODS) results.push({ name, ...(await measure(query)) });
	console.log(`\n${passages.length} passages, ${questions.length} questions, graded by hand`);
	printTable(
		["method", "nDCG@10", "first is right", "answer among 10"],
		results.map(({ name, ndcg, firstRight, found }) => [
			name,
			ndcg.toFixed(3),
			`${firstRight} of ${questions.length}`,
			`${found} of ${questions.length}`,
		]),
	);
	if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify({ results }, undefined, "\t")}\n`);

	async function measure(query: (text: string) => object) {
		let ndcg = 0;
		let firstRight = 0;
		let found = 0;
		for (const { text, grades } of questions) {
			const answer = (await node.call(key, "POST", "/collections/passages/search", {
				...query(text),
				limit: HITS,
				with_payload: false,
			})) as { results: readonly { id: string }[] };
			const ranked = answer.results.map(({ id }) => grades[id] ?? 0);
			ndcg += gainOf(ranked) / gainOf(Object.values(grades).sort((a, b) => b - a));
			if (ranked[0] === 2) firstRight++;
			if (ranked.includes(2)) found++;
		}
		return { ndcg: ndcg / questions.length, firstRight, found };
	}
} finally {
	await node.stop();
	rmSync(dataDir, { recursive: true, force: true });
}

/** Discounted cumulative gain. Source: Järvelin and Kekäläinen, 2002, with exponential gains. */
function gainOf(grades: readonly number[]): number {
	return grades.slice(0, HITS).reduce((sum, grade, rank) => sum + (2 ** grade - 1) / Math.log2(rank + 2), 0);
}

function meanOfWordVectors(texts: readonly string[]): (text: string) => Float32Array {
	const { words, vectors, dimension } = readWordVectors(join(DATA, "glove-100d-20k.hvwv"));
	const rows = new Map(words.map((word, row) => [word, row]));
	const counts = new Map<string, number>();
	for (const text of texts) for (const word of new Set(wordsOf(text))) counts.set(word, (counts.get(word) ?? 0) + 1);
	return (text) => {
		// Not zero, which has no direction, for a text without a known word.
		const mean = new Float32Array(dimension).fill(1e-6);
		for (const word of wordsOf(text)) {
			const row = rows.get(word);
			if (row === undefined) continue;
			const weight = Math.log(1 + texts.length / (1 + (counts.get(word) ?? 0)));
			for (let at = 0; at < dimension; at++) mean[at]! += weight * vectors[row * dimension + at]!;
		}
		return mean;
	};
}

function wordsOf(text: string): string[] {
	return text.toLowerCase().match(/[a-z]+/g) ?? [];
}

function readJson<T>(name: string): T {
	return JSON.parse(readFileSync(join(DATA, "retrieval", name), "utf8")) as T;
}
