/**
 * Scripts written without spaces between words: each character is a token of its own, so that a word is found wherever
 * it stands, whatever a dictionary would have made of its neighbours.
 */
const UNSPACED =
	"\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}\\p{Script=Lao}\\p{Script=Khmer}\\p{Script=Myanmar}";
const TOKEN = new RegExp(`[${UNSPACED}]\\p{M}*|(?:(?![${UNSPACED}])[\\p{L}\\p{N}\\p{M}])+`, "gu");

/**
 * The words of a text as `match.text` and text indexes see them: runs of letters, digits and marks, in Unicode
 * compatibility form (NFKC) and lower case. Everything else separates. Each word once, in order of appearance.
 */
export function textTokens(text: string): Set<string> {
	return new Set(text.normalize("NFKC").toLowerCase().match(TOKEN) ?? []);
}
