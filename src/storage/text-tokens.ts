/**
 * Scripts written without spaces between words: each character is a token of its own, so that a word is found wherever
 * it stands, whatever a dictionary would have made of its neighbours.
 */
const UNSPACED =
	"\\p{Script=Han}\\p{Script=Hiragana}\\p{Script=Katakana}\\p{Script=Thai}\\p{Script=Lao}\\p{Script=Khmer}\\p{Script=Myanmar}";
const TOKEN = new RegExp(`[${UNSPACED}]\\p{M}*|(?:(?![${UNSPACED}])[\\p{L}\\p{N}\\p{M}])+`, "gu");
const STARTS_UNSPACED = new RegExp(`^[${UNSPACED}]`, "u");

export interface Token {
	readonly text: string;
	/** A character of a script without spaces, rather than a word. */
	readonly isCharacter: boolean;
	/** No space, nor anything else, stands between it and the token before. */
	readonly isJoined: boolean;
}

/**
 * The words of a text as `match.text` and text indexes see them: runs of letters, digits and marks, in Unicode
 * compatibility form (NFKC) and lower case. Everything else separates. Each word once, in order of appearance.
 */
export function textTokens(text: string): Set<string> {
	return new Set(folded(text).match(TOKEN) ?? []);
}

/** The same words, each as often as it appears. Made one by one as they are asked for. */
export function* tokensOf(text: string): Generator<Token, void> {
	let endAt = -1;
	for (const match of folded(text).matchAll(TOKEN)) {
		const [token] = match;
		yield { text: token, isCharacter: STARTS_UNSPACED.test(token), isJoined: match.index === endAt };
		endAt = match.index + token.length;
	}
}

const folded = (text: string): string => text.normalize("NFKC").toLowerCase();
