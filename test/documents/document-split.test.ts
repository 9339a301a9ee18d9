import { expect, test } from "bun:test";
import fc from "fast-check";
import type { DocumentFormat } from "../../src/documents/document-blocks.ts";
import { DOCUMENT_LIMITS } from "../../src/documents/document-limits.ts";
import { type DocumentChunk, splitDocument } from "../../src/documents/document-split.ts";

const now = async (): Promise<void> => {};

const split = (
	text: string,
	size: number,
	overlap = 0,
	format: DocumentFormat = "markdown",
): Promise<readonly DocumentChunk[]> => splitDocument(text, { format, size, overlap }, now);

/** Each chunk is what it says of itself, and together they are the document. */
function expectWhole(text: string, chunks: readonly DocumentChunk[], size: number, overlap: number): void {
	const bytes = Buffer.from(text);
	let end = 0;
	for (const chunk of chunks) {
		expect(bytes.subarray(chunk.start, chunk.end).toString()).toBe(chunk.text);
		expect(chunk.start + chunk.overlap).toBe(end);
		expect(chunk.end).toBeGreaterThan(end);
		expect(chunk.text.trim()).not.toBe("");
		expect(chunk.overlap).toBeLessThanOrEqual(overlap * 3);
		const own = Buffer.from(chunk.text).subarray(chunk.overlap).toString();
		// Headings, body, and white space around them.
		expect(own.trim().length).toBeLessThanOrEqual(2 * size);
		end = chunk.end;
	}
	expect(end).toBe(bytes.length);
	expect(Buffer.concat(chunks.map((chunk) => Buffer.from(chunk.text).subarray(chunk.overlap)))).toEqual(bytes);
}

const word = fc.constantFrom(
	"fish",
	"naïve",
	"日本語",
	"😀",
	"a",
	"internationalisation",
	"`code`",
	"*strong*",
	"x.",
	"Why?",
);
const line = fc.array(word, { minLength: 1, maxLength: 12 }).map((words) => words.join(" "));
const code = fc.array(line, { maxLength: 12 }).map((lines) => `\`\`\`ts\n${lines.join("\n")}\n\`\`\``);
const block = fc.oneof(
	fc.tuple(fc.integer({ min: 1, max: 6 }), line).map(([level, text]) => `${"#".repeat(level)} ${text}`),
	fc.array(line, { minLength: 1, maxLength: 10 }).map((lines) => lines.join("\n")),
	code,
	fc.array(line, { minLength: 1, maxLength: 8 }).map((lines) => lines.map((text) => `- ${text}`).join("\n")),
	line.map((text) => `${text}\n===`),
	line.map((text) => `> ${text}\n> > ${text}`),
	fc.constantFrom(
		"---",
		"<div>\n*x*\n</div>",
		"    indented\n    code",
		"[ref]: http://x.test",
		"| a | b |\n|---|---|\n| 1 | 2 |",
	),
	fc.string({ unit: "grapheme", maxLength: 80 }),
);
const markdown = fc
	.array(fc.tuple(block, fc.constantFrom("\n", "\n\n", "\r\n", "\r\n\r\n", "\n \t\n", "\r")), {
		minLength: 1,
		maxLength: 25,
	})
	.map((parts) => parts.flat().join(""))
	.filter((text) => text.trim() !== "");

test("chunks of any document tell where they lie, and together are it byte for byte", async () => {
	await fc.assert(
		fc.asyncProperty(
			markdown,
			fc.integer({ min: 20, max: 400 }),
			fc.integer({ min: 0, max: 100 }),
			fc.constantFrom<DocumentFormat>("markdown", "text"),
			async (text, size, wish, format) => {
				const overlap = Math.min(wish, size >> 1);
				expectWhole(text, await split(text, size, overlap, format), size, overlap);
			},
		),
		{ numRuns: 400 },
	);
});

test("code is cut only where it is larger than a chunk, and then between lines", async () => {
	await fc.assert(
		fc.asyncProperty(fc.array(fc.oneof(code, line), { minLength: 1, maxLength: 15 }), async (parts) => {
			const size = 150;
			const text = parts.join("\n\n");
			const chunks = await split(text, size, 40);
			const cuts = chunks.slice(1).map(
				({ start, overlap }) =>
					Buffer.from(text)
						.subarray(0, start + overlap)
						.toString().length,
			);
			let at = 0;
			for (const part of parts) {
				const start = at;
				const end = start + part.length;
				at = end + 2;
				if (!part.startsWith("```")) continue;
				for (const cut of cuts) {
					if (cut <= start || cut >= end) continue;
					expect(part.length + 1).toBeGreaterThan(size);
					// A line longer than a chunk is cut within.
					if (part.split("\n").every(({ length }) => length < size)) expect(text[cut - 1]).toBe("\n");
				}
			}
		}),
		{ numRuns: 200 },
	);
});

test("a chunk names the headings it stands under, and a heading begins a new one", async () => {
	const text = [
		"Before all.",
		"# Guide",
		"Intro.",
		"## Install",
		"### Linux",
		"Use the package.",
		"## Use `it`",
		"Run.",
		"Setext",
		"======",
		"End.",
	].join("\n\n");
	const chunks = await split(text.replace("Setext\n\n===", "Setext\n==="), 1_000, 100);
	expect(chunks.map(({ text: shown, headings, overlap }) => [shown.trim(), headings, overlap])).toEqual([
		["Before all.", [], 0],
		["# Guide\n\nIntro.", ["Guide"], 0],
		["## Install\n\n### Linux\n\nUse the package.", ["Guide", "Install", "Linux"], 0],
		["## Use `it`\n\nRun.", ["Guide", "Use `it`"], 0],
		["Setext\n======\n\nEnd.", ["Setext"], 0],
	]);
});

test("what looks like a heading within code, front matter or plain text is none", async () => {
	const text = "---\ntitle: x\n# no: heading\n---\n\n```\n# not this\n```\n\n# This\n\nBody.";
	expect((await split(text, 1_000)).map(({ headings }) => headings)).toEqual([[], ["This"]]);
	expect((await split("# no\n\nheading", 1_000, 0, "text")).map(({ headings }) => headings)).toEqual([[]]);
});

test("what two chunks of a section share begins at a line or a word", async () => {
	const text = Array.from({ length: 40 }, (_, index) => `Sentence number ${index} is here.`).join(" ");
	const chunks = await split(text, 200, 60);
	expect(chunks.length).toBeGreaterThan(4);
	for (const { text: shown, overlap } of chunks.slice(1)) {
		expect(overlap).toBeGreaterThan(20);
		expect(overlap).toBeLessThanOrEqual(60);
		expect(shown).toMatch(/^(?:Sentence|number|\d+|is|here\.)/);
	}
});

test("a text without any place to cut is cut, but never within a character", async () => {
	for (const unit of ["x", "😀", "é"]) {
		const text = unit.repeat(1_000);
		const chunks = await split(text, 101, 10);
		expectWhole(text, chunks, 101, 10);
		expect(chunks.every(({ text: shown }) => shown.isWellFormed())).toBe(true);
	}
});

test("how a large document is sliced for the parser does not show", async () => {
	const section = (index: number): string =>
		`## Section ${index}\n\n${"Some words. ".repeat(30)}\n\n\`\`\`\n${"# code\n\n".repeat(index % 50)}\`\`\`\n\n- a\n\n- b\n\n`;
	const text = Array.from({ length: 1_200 }, (_, index) => section(index)).join("");
	expect(text.length).toBeGreaterThan(8 * DOCUMENT_LIMITS.parseSliceChars);
	const chunks = await split(text, 2_000, 0);
	expectWhole(text, chunks, 2_000, 0);
	expect(chunks.map(({ headings }) => headings.at(-1))).toEqual(
		Array.from({ length: 1_200 }, (_, index) => `Section ${index}`),
	);
	// A block that is larger than a slice is still one block.
	const long = `# Before\n\n\`\`\`\n${"# code\n".repeat(20_000)}\`\`\`\n\n# After\n\nEnd.`;
	expect(new Set((await split(long, 8_000)).map(({ headings }) => headings.at(-1)))).toEqual(
		new Set(["Before", "After"]),
	);
});
