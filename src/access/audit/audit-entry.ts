import type { AuditEntry, AuditEvent } from "./audit-types.ts";

/** Characters of one text in an entry. */
const TEXT_LENGTH_MAX = 512;
const DETAIL_COUNT_MAX = 32;

/** No line is longer: its texts are bounded. What is longer was not written here. */
export const LINE_BYTES_MAX = 256 * 1024;

/** An entry's place in the chain. */
export interface ChainPlace {
	readonly seq: number;
	readonly hash: string;
}

/** Before the first entry. */
export const GENESIS: ChainPlace = { seq: 0, hash: "0".repeat(64) };

/** Anything like an API key, a service key or a webhook secret, one with some characters missing or too many included. */
const SECRETS = /(hh_(?:live|test)_|svc_|whsec_)[A-Za-z0-9+/]{24,}={0,2}/g;
const HASH_PATTERN = /^[0-9a-f]{64}$/;

/**
 * The line of an event, without its line break, and its place in the chain. Texts are shortened to what an entry may hold, and
 * keys and secrets in them are masked. Never throws.
 */
export function sealEvent(
	event: AuditEvent,
	timeMs: number,
	before: ChainPlace,
): ChainPlace & { readonly line: string } {
	const body: Record<string, unknown> = {
		prev: before.hash,
		seq: before.seq + 1,
		time: new Date(timeMs).toISOString(),
	};
	for (const field of FIELDS) if (event[field] !== undefined) body[field] = cleanText(event[field]);
	if (event.details !== undefined) body.details = cleanDetails(event.details);
	const hash = sha256(canonicalJson(body));
	body.hash = hash;
	return { seq: before.seq + 1, hash, line: canonicalJson(body) };
}

const FIELDS = [
	"event",
	"outcome",
	"tenant_id",
	"api_key_id",
	"actor_tenant_id",
	"operation",
	"code",
	"request_id",
	"remote_address",
] as const satisfies readonly (keyof AuditEvent)[];

/** @returns undefined for what is no entry; whether it is as it was written, `isSealed` tells. */
export function parseEntry(line: string): AuditEntry | undefined {
	let value: unknown;
	try {
		value = JSON.parse(line);
	} catch {
		return undefined;
	}
	if (typeof value !== "object" || value === null) return undefined;
	const { seq, time, prev, hash, event } = value as Partial<Record<string, unknown>>;
	const isEntry =
		Number.isSafeInteger(seq) &&
		(seq as number) > 0 &&
		typeof time === "string" &&
		typeof event === "string" &&
		isHash(prev) &&
		isHash(hash);
	return isEntry ? (value as AuditEntry) : undefined;
}

/** Whether an entry's hash is that of its line, and its line in the one form in which entries are written. */
export function isSealed(entry: AuditEntry, line: string): boolean {
	const { hash, ...body } = entry;
	try {
		return sha256(canonicalJson(body)) === hash && canonicalJson(entry) === line;
	} catch {
		// Nested deeper than the stack: nothing that was written here.
		return false;
	}
}

const isHash = (value: unknown): boolean => typeof value === "string" && HASH_PATTERN.test(value);

/** As RFC 8785 has it: keys in the order of their UTF-16 units, no spaces, numbers and texts as ECMAScript writes them. */
function canonicalJson(value: unknown): string {
	if (typeof value !== "object" || value === null) return JSON.stringify(value);
	if (Array.isArray(value)) return `[${value.map(canonicalJson).join(",")}]`;
	const fields = value as Readonly<Record<string, unknown>>;
	const pairs = Object.keys(fields)
		.sort()
		.map((key) => `${JSON.stringify(key)}:${canonicalJson(fields[key])}`);
	return `{${pairs.join(",")}}`;
}

function cleanDetails(details: NonNullable<AuditEvent["details"]>): Record<string, unknown> {
	const clean: Record<string, unknown> = {};
	for (const [name, value] of Object.entries(details).slice(0, DETAIL_COUNT_MAX)) {
		const isPlain = typeof value === "boolean" || value === null || Number.isFinite(value);
		clean[cleanText(name)] = isPlain ? value : cleanText(value);
	}
	return clean;
}

function cleanText(value: unknown): string {
	// Masked before it is cut, or a key at the cut would be half shown.
	const text = String(value).replace(SECRETS, "$1***");
	return (text.length <= TEXT_LENGTH_MAX ? text : `${text.slice(0, TEXT_LENGTH_MAX - 1)}…`).toWellFormed();
}

const sha256 = (text: string): string => new Bun.CryptoHasher("sha256").update(text).digest("hex");
