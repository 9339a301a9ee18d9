import type { Belongings } from "./belongings.ts";
import { type Dice, LOOKED_ALIKE } from "./dice.ts";
import { asBytes } from "./raw-http.ts";

/** How a name is written into one segment of a path. The answer is raw: percent-encoded or deliberately not. */
type NameTrick = (name: string, target: Belongings, ownTenantId: string) => string;

const encoded = (text: string): string => asBytes(encodeURIComponent(text));

const lookAlike = (text: string): string =>
	[...text].map((letter) => "асеорху"[LOOKED_ALIKE.indexOf(letter)] ?? letter).join("");

const fullWidth = (text: string): string =>
	text.replace(/[a-z0-9]/g, (letter) => String.fromCharCode(letter.charCodeAt(0) + 0xfee0));

const capitalised = (text: string): string => text[0]!.toUpperCase() + text.slice(1);

const everyByte = (text: string): string =>
	[...Buffer.from(text)].map((byte) => `%${byte.toString(16).padStart(2, "0")}`).join("");

const lettersEncoded = (text: string): string => text.replace(/[a-z]/g, everyByte);

/** The ways in which the tricks spell the letters of a name, in which an answer may give it back. */
export const SPELLINGS: readonly ((text: string) => string)[] = [
	(text) => text,
	(text) => text.toUpperCase(),
	capitalised,
	lookAlike,
	fullWidth,
	lettersEncoded,
	everyByte,
	(text) => encodeURIComponent(lookAlike(text)),
	(text) => encodeURIComponent(fullWidth(text)),
	(text) => encodeURIComponent(lettersEncoded(text)),
	(text) => text.slice(0, -1),
];

const TRICKS: readonly NameTrick[] = [
	(name, target) => `${target.tenantId}:${encoded(name)}`,
	(name, target) => `${target.tenantId}%3A${encoded(name)}`,
	(name, target) => `${target.tenantId}%3a%3a${encoded(name)}`,
	(name, target, own) => `${own}:${target.tenantId}:${encoded(name)}`,
	(name) => encoded(name.toUpperCase()),
	(name) => encoded(capitalised(name)),
	(name) => encoded(lookAlike(name)),
	(name) => encoded(fullWidth(name)),
	(name) => encoded(`${name}\u200b`),
	(name) => encoded(`\ufeff${name}`),
	(name) => encoded(`${name}\u0301`),
	(name, target) => `..%2f${target.tenantId}%2f${encoded(name)}`,
	(name, target) => `..%5c${target.tenantId}%5c${encoded(name)}`,
	(name, target) => `../${target.tenantId}/${encoded(name)}`,
	(name, target) => `%2e%2e/${target.tenantId}/${encoded(name)}`,
	(name, target) => `..;/${target.tenantId}/${encoded(name)}`,
	(name, target) => `..%252f${target.tenantId}%252f${encoded(name)}`,
	(name, target) => `../../tenants/${target.tenantId}/collections/${encoded(name)}`,
	(name, target) => `scratch/../../${target.tenantId}/${encoded(name)}`,
	(name) => `.%2f${encoded(name)}`,
	(name) => `%2f${encoded(name)}`,
	(name) => `/${encoded(name)}`,
	(name) => `${encoded(name)}/`,
	(name) => `${encoded(name)}/.`,
	(name) => `${encoded(name)}%00`,
	(name) => `%00${encoded(name)}`,
	(name) => `${encoded(name)}%00.scratch`,
	(name) => `scratch%00${encoded(name)}`,
	(name) => `${encoded(name)}%20`,
	(name) => `%20${encoded(name)}`,
	(name) => `${encoded(name)}%0d%0aX-Tenant-ID:%20x`,
	(name) => `${encoded(name)}.`,
	(name) => `${encoded(name)};v=1`,
	(name) => `scratch,${encoded(name)}`,
	(name) => `scratch|${encoded(name)}`,
	(name) => `scratch'%20OR%20name='${encoded(name)}`,
	(name) => encoded(lettersEncoded(encodeURIComponent(name))),
	(name) => everyByte(name),
	(name) => `${encoded(name).slice(0, -1)}%`,
	(name) => `${encoded(name).slice(0, -1)}*`,
	(name) => `${encoded(name)}%ff`,
	(name) => encoded(name.padEnd(128, "-").slice(0, 128)),
	(name) => encoded(name.padEnd(129, "-").slice(0, 129)),
	(name) => encoded(name.padEnd(5_000, "-")),
	(_, target) => encoded(target.collectionIds[0] ?? target.tenantId),
	(_, target) => encoded(target.tenantId),
	(_, target) => target.keyIds[0]!,
	(name, target) => `${encoded(name)}?tenant_id=${target.tenantId}`,
	(name) => `${encoded(name)}#x`,
];

/** A name as a segment of a path: mostly as it is, else in a form that a careless server would take for it. */
export function pathSegment(dice: Dice, name: string | number, target: Belongings, ownTenantId: string): string {
	const text = String(name);
	return dice.chance(0.5) ? encoded(text) : dice.pick(TRICKS)(text, target, ownTenantId);
}

/** The same where a name is no part of an address: in its letters, or as an address would have spelled it. */
export function nameInText(dice: Dice, name: string | number, target: Belongings, ownTenantId: string): string {
	const segment = Buffer.from(pathSegment(dice, name, target, ownTenantId), "latin1").toString();
	try {
		return decodeURIComponent(segment);
	} catch {
		return segment;
	}
}
