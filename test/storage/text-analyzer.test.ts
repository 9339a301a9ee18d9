import { expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { textLanguageSchema } from "../../src/base/text-settings.ts";
import { DOCUMENT_TERMS_MAX, TextAnalyzer } from "../../src/storage/text-analyzer.ts";
import { TimeSlice } from "../../src/storage/time-slice.ts";
import { seededRandom } from "./shard-fixture.ts";

const analyzer = (fields: readonly string[] = ["text"], language: "none" | "english" | "german" = "none") =>
	new TextAnalyzer({ fields, language });

async function termsOf(of: TextAnalyzer, payload: Record<string, unknown> | undefined) {
	const { counts, length } = await of.documentTerms(payload, new Map(), new TimeSlice(systemClock));
	return { terms: Object.fromEntries(counts), length };
}

test("a text is taken apart at whatever is no letter or digit, in lower case and compatibility form", async () => {
	const text = "The CAT, the cat's ﬁle №5: naïve_über-straße 2ⁿ";
	expect(await termsOf(analyzer(), { text })).toEqual({
		terms: { the: 2, cat: 2, s: 1, file: 1, no5: 1, naïve: 1, über: 1, straße: 1, "2n": 1 },
		length: 11,
	});
});

test("words are cut down to their stems, in documents as in queries", async () => {
	const english = analyzer(["text"], "english");
	expect((await termsOf(english, { text: "Connected connections, connecting!" })).terms).toEqual({ connect: 3 });
	expect([...english.queryTerms("connects")]).toEqual([["connect", 1]]);
	expect((await termsOf(analyzer(["text"], "german"), { text: "Häuser Haus" })).terms).toEqual({ haus: 2 });
});

test("of scripts without spaces characters and neighbouring pairs are terms, and queries look for the pairs", async () => {
	const { terms, length } = await termsOf(analyzer(), { text: "東京都 cat ก็" });
	expect(terms).toEqual({ 東: 1, 京: 1, 都: 1, 東京: 1, 京都: 1, cat: 1, ก็: 1 });
	expect(length).toBe(7);
	expect([...analyzer().queryTerms("京都の猫 東").keys()]).toEqual(["京都", "都の", "の猫", "東"]);
	expect([...analyzer().queryTerms("猫 dog 犬").keys()]).toEqual(["猫", "dog", "犬"]);
});

test("all texts of all fields count, wherever the field's path leads, and nothing that is no text", async () => {
	const payload = {
		title: "one",
		body: ["two", "three", ["four"]],
		parts: [{ text: "five" }, { text: 6 }],
		other: "x",
	};
	const of = analyzer(["title", "body", "parts[].text", "missing.deeper"]);
	expect(Object.keys((await termsOf(of, payload)).terms)).toEqual(["one", "two", "three", "five"]);
	expect(await termsOf(of, undefined)).toEqual({ terms: {}, length: 0 });
});

test("beyond its bound of different words a document's new ones are left out, those it has are counted on", async () => {
	const words = Array.from({ length: DOCUMENT_TERMS_MAX + 50 }, (_, number) => `w${number}`);
	const { terms, length } = await termsOf(analyzer(), { text: `${words.join(" ")} w0 w1` });
	expect(Object.keys(terms)).toHaveLength(DOCUMENT_TERMS_MAX);
	expect([terms.w0, terms.w2, length]).toEqual([2, 1, DOCUMENT_TERMS_MAX + 2]);
});

const ALPHABETS = [
	"abcdefghijklmnopqrstuvwxyz",
	"äöüßéèàçñåøæœğışçİı",
	"абвгдежзийклмнопрстуфхцчшщъыьэюяіїєґ",
	"αβγδεζηθικλμνξοπρστυφχψως",
	"ابتثجحخدذرزسشصضطظعغفقكلمنهويأإآىئؤةًٌٍَُِّْ",
	"अआइईउऊएऐओऔकखगघचछजझटठडढणतथदधनपफबभमयरलवशषसहािीुूेैोौ्ंः",
	"தமிழ்கசடறபவயரலன",
	"աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆ",
	"0123456789",
].map((letters) => [...letters]);

test.each(textLanguageSchema.options)(
	"any word of any script has one stem, and not an empty one: %s",
	async (language) => {
		const random = seededRandom(language.length);
		const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!;
		const of = new TextAnalyzer({ fields: ["text"], language });
		for (let round = 0; round < 40; round++) {
			const words = Array.from({ length: 100 }, () => {
				const letters = pick(ALPHABETS);
				const others = random() < 0.2 ? pick(ALPHABETS) : letters;
				return Array.from({ length: 1 + Math.floor(random() * 14) }, () =>
					pick(random() < 0.7 ? letters : others),
				).join("");
			});
			const text = words.join(" ");
			const first = await termsOf(of, { text });
			expect(await termsOf(of, { text })).toEqual(first);
			expect(first.terms[""]).toBeUndefined();
			for (const term of of.queryTerms(text).keys()) expect(first.terms[term]).toBeGreaterThan(0);
		}
	},
);
