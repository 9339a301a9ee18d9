import { hashKey } from "../../src/base/ids.ts";
import { ALPHANUMERIC, DIGITS, type Dice, LOOKED_ALIKE, LOWER_ALPHANUMERIC } from "./dice.ts";

/**
 * What can be named of a tenant, every piece with a mark of its own that occurs nowhere else. The same form serves for a
 * tenant's shadow: pieces of the same shape and the same place in every order, that were never used.
 */
export interface Belongings {
	readonly tenantId: string;
	readonly tenantName: string;
	readonly collections: readonly string[];
	/** Names of the collections' folders. */
	readonly collectionIds: readonly string[];
	readonly stringIds: readonly string[];
	readonly numericIds: readonly number[];
	/** Ids that are strings of digits. */
	readonly digitIds: readonly string[];
	readonly payloadField: string;
	readonly payloadTexts: readonly string[];
	/** `next_cursor` of scrolls. */
	readonly cursors: readonly string[];
	readonly keyIds: readonly string[];
	/** SHA-256 of its keys, as a thief of the database would have them. */
	readonly keyHashes: readonly string[];
	/** Its keys with one character changed. */
	readonly maimedKeys: readonly string[];
	readonly vectors: readonly (readonly number[])[];
}

export const VECTORS_PER_COLLECTION = 6;
export const DIMENSION = 4;
/** Of a number of 32 bits as it is written. */
const NUMBER_LENGTH = 18;

/** Marks begin with the tenant's letter, so that a tenant and its shadow sort alike among the others' ids. */
const mark = (dice: Dice, letter: string): string => letter + dice.text(LOWER_ALPHANUMERIC, 15);

/** Everything that a tenant chooses itself; `collectionIds` and the keys' parts are empty until the node has made them. */
export function inventBelongings(dice: Dice, tenantIndex: number): Belongings {
	const letter = String.fromCharCode("b".charCodeAt(0) + tenantIndex);
	const stringIds = [mark(dice, letter), `${mark(dice, letter)}/é ${mark(dice, letter)}`];
	const digits = (): string => `${tenantIndex + 1}${dice.text(DIGITS, 14)}`;
	return {
		tenantId: mark(dice, letter),
		tenantName: `name-${mark(dice, letter)}`,
		collections: [mark(dice, letter), `Vault.${mark(dice, letter)}`],
		collectionIds: [],
		stringIds,
		numericIds: [Number(digits()), Number(digits())],
		digitIds: [digits(), digits()],
		payloadField: `field_${mark(dice, letter)}`,
		payloadTexts: [mark(dice, letter), `secret ${mark(dice, letter)} words`],
		cursors: stringIds.map(cursorOf),
		keyIds: [],
		keyHashes: [],
		maimedKeys: [],
		vectors: Array.from({ length: VECTORS_PER_COLLECTION }, () =>
			Array.from({ length: DIMENSION }, () => longNumber(dice)),
		),
	};
}

/** As `next_cursor` is written. */
export const cursorOf = (id: string | number): string => Buffer.from(JSON.stringify(id)).toString("base64url");

/** Of the same shapes, but never used. */
export function shadowOf(dice: Dice, owner: Belongings): Belongings {
	const like = (text: string): string =>
		[...text].map((character, index) => (index === 0 ? character : alike(dice, character))).join("");
	/** Keeps what is written around the marks. */
	const likeMarks = (text: string): string => text.replace(/[a-z0-9]{16}/g, like);
	const stringIds = owner.stringIds.map(likeMarks);
	return {
		tenantId: like(owner.tenantId),
		tenantName: likeMarks(owner.tenantName),
		collections: owner.collections.map(likeMarks),
		collectionIds: owner.collectionIds.map(like),
		stringIds,
		numericIds: owner.numericIds.map((id) => Number(like(String(id)))),
		digitIds: owner.digitIds.map(like),
		payloadField: likeMarks(owner.payloadField),
		payloadTexts: owner.payloadTexts.map(likeMarks),
		cursors: stringIds.map(cursorOf),
		keyIds: owner.keyIds.map((id) => `key_${dice.text(LOWER_ALPHANUMERIC, id.length - 4)}`),
		keyHashes: owner.keyHashes.map((hash) => dice.text("0123456789abcdef", hash.length)),
		maimedKeys: owner.maimedKeys.map((key) => key.slice(0, 8) + dice.text(ALPHANUMERIC, key.length - 8)),
		vectors: owner.vectors.map((vector) => vector.map(() => longNumber(dice))),
	};
}

/** All of one length, so that what is written behind them stands at the same place whosever they are. */
function longNumber(dice: Dice): number {
	for (;;) {
		const number = anyNumber(dice);
		if (String(number).length === NUMBER_LENGTH) return number;
	}
}

const anyNumber = (dice: Dice): number => Math.fround(dice.next() * 1.8 + 0.1);

/** Letters with a look-alike in another script, where a trick makes two bytes of one, stay letters of that kind. */
const CLASSES: readonly string[] = [DIGITS, LOOKED_ALIKE, "bdfghijklmnqrstuvwz"];

function alike(dice: Dice, character: string): string {
	const ofOneKind = CLASSES.find((each) => each.includes(character));
	return ofOneKind === undefined ? character : dice.text(ofOneKind, 1);
}

export const withKeys = (owner: Belongings, keys: readonly { readonly id: string; readonly key: string }[]) => ({
	...owner,
	keyIds: keys.map(({ id }) => id),
	keyHashes: keys.map(({ key }) => hashKey(key)),
	maimedKeys: keys.map(({ key }) => key.slice(0, -1) + (key.endsWith("x") ? "y" : "x")),
});

/** Every text by which something of the tenant's would be known in an answer, in the same order for a shadow. */
export function tellTales(owner: Belongings): readonly string[] {
	return [
		owner.tenantId,
		...marksIn(owner.tenantName),
		...owner.collections.flatMap(marksIn),
		...owner.collectionIds,
		...owner.stringIds.flatMap(marksIn),
		...owner.numericIds.map(String),
		...owner.digitIds,
		...marksIn(owner.payloadField),
		...owner.payloadTexts.flatMap(marksIn),
		...owner.cursors,
		...owner.keyIds,
		...owner.keyHashes,
		...owner.maimedKeys,
		// Long enough not to come about by chance.
		...owner.vectors.flatMap((vector) => vector.map((number) => String(number).slice(0, 12))),
	];
}

const marksIn = (text: string): string[] => text.match(/[a-z0-9]{16}/g) ?? [];
