import { encode } from "@msgpack/msgpack";
import fc from "fast-check";
import type { ApiDocument, ApiOperation } from "./api-operations.ts";
import { valuesOf } from "./schema-values.ts";

/** By the names of fields: values that are there on the fuzzed node, or fit what is. */
export type Hints = Readonly<Record<string, fc.Arbitrary<unknown>>>;

const JUNK_SHARE = 0.06;

/** The usual, and now and then something else. */
export function rarely<T>(usual: T, other: fc.Arbitrary<T>, usualWeight = 15): fc.Arbitrary<T> {
	return fc.oneof({ weight: usualWeight, arbitrary: fc.constant(usual) }, other);
}

export interface FuzzBody {
	readonly type: string | undefined;
	readonly bytes: Uint8Array | undefined;
}

/** Bodies from valid to broken, of every format the operation reads. */
export function bodies(operation: ApiOperation, document: ApiDocument, hints: Hints): fc.Arbitrary<FuzzBody> {
	const { bodySchema, bodyTypes } = operation;
	const none: FuzzBody = { type: undefined, bytes: undefined };
	if (bodySchema === undefined) return rarely<FuzzBody>(none, NONSENSE_BODIES, 20);
	const values = fc.oneof(
		{ weight: 3, arbitrary: valuesOf(bodySchema, document, { junk: 0, hints }) },
		{ weight: 2, arbitrary: valuesOf(bodySchema, document, { junk: JUNK_SHARE, hints }) },
	);
	const [firstType = ""] = bodyTypes;
	if (!bodyTypes.includes("application/json")) {
		const lines = fc
			.array(fc.oneof(LINES, fc.string({ maxLength: 60 })), { maxLength: 5 })
			.map((all) => all.join("\n"));
		return fc.oneof(
			{ weight: 9, arbitrary: lines.map((text): FuzzBody => ({ type: firstType, bytes: Buffer.from(text) })) },
			NONSENSE_BODIES,
		);
	}
	const jsonTexts = values.map((value) => JSON.stringify(value) ?? "");
	const json = fc
		.tuple(
			jsonTexts,
			rarely<TextDamage>((text) => Buffer.from(text), TEXT_DAMAGES, 3),
		)
		.map(([text, damage]): FuzzBody => ({ type: "application/json", bytes: damage(text) }));
	const msgpack = fc
		.tuple(
			values,
			rarely<ByteDamage>((bytes) => bytes, BYTE_DAMAGES, 2),
		)
		.map(([value, damage]): FuzzBody => ({ type: "application/msgpack", bytes: damage(packed(value)) }));
	return fc.oneof({ weight: 12, arbitrary: json }, { weight: 3, arbitrary: msgpack }, NONSENSE_BODIES);
}

function packed(value: unknown): Uint8Array {
	try {
		return encode(value, { maxDepth: 200 });
	} catch {
		return new Uint8Array([0xc1]);
	}
}

const LINES = fc.constantFrom(
	'{"id":1,"vector":[1,2,3]}',
	'{"vector":[1,2,3],"payload":{"note":"x"}}',
	'{"id":"a","vector":[1,2]}',
	'{"id":"b","vector":[0,0,0]}',
	'{"id":null,"vector":"?"}',
	"[]",
	"null",
	"",
	"\r",
	'{"__proto__":{"vector":[1,2,3]}}',
	`{"id":1,"vector":[1,2,3],"payload":${"[".repeat(500)}`,
);

type TextDamage = (text: string) => Uint8Array;
type ByteDamage = (bytes: Uint8Array) => Uint8Array;

const cut = (bytes: Uint8Array, share: number): Uint8Array => bytes.subarray(0, Math.floor(bytes.length * share));
const flip = (bytes: Uint8Array, share: number, bit: number): Uint8Array => {
	const changed = new Uint8Array(bytes);
	const at = Math.floor(bytes.length * share);
	if (at < changed.length) changed[at] = changed[at]! ^ (1 << bit);
	return changed;
};

const SHARES = fc.double({ min: 0, max: 0.999, noNaN: true });

const BYTE_DAMAGES: fc.Arbitrary<ByteDamage> = fc.oneof(
	SHARES.map(
		(share): ByteDamage =>
			(bytes) =>
				cut(bytes, share),
	),
	fc.tuple(SHARES, fc.nat({ max: 7 })).map(
		([share, bit]): ByteDamage =>
			(bytes) =>
				flip(bytes, share, bit),
	),
	fc.constantFrom<ByteDamage>(
		(bytes) => Buffer.concat([bytes, bytes]),
		() => Uint8Array.of(0xdf, 0xff, 0xff, 0xff, 0xff),
		() => Uint8Array.of(0xc9, 0xff, 0xff, 0xff, 0xff, 0x01),
		() => new Uint8Array(5_000).fill(0x91),
		() => Uint8Array.of(0x81, 0xa9, ...Buffer.from("__proto__"), 0x80),
	),
);

const TEXT_DAMAGES: fc.Arbitrary<TextDamage> = fc.oneof(
	BYTE_DAMAGES.map(
		(damage): TextDamage =>
			(text) =>
				damage(Buffer.from(text)),
	),
	fc.constantFrom<TextDamage>(
		(text) => Buffer.from(`\ufeff${text}`),
		(text) => Buffer.from(text, "utf16le"),
		(text) => Buffer.from(`${text}}`),
		(text) => Buffer.from(text.replace("{", '{"__proto__":{"limit":1},"constructor":{},')),
		(text) => Buffer.from(text.replace("{", '{"vector":[1,2,3],"name":"a","limit":2,"limit":3,')),
		(text) => Buffer.from(text.replace(/\d+/, "1e999")),
		(text) => Buffer.from(text.replace(/\d+/, "9".repeat(400))),
		(text) => Buffer.from(text.replace(/"[^"]*"/, '"\\ud800"')),
		(text) => Buffer.from(text.replace(/"/, '"\u0000')),
		(text) => Buffer.concat([Buffer.from(text.slice(0, -1)), Uint8Array.of(0xff, 0xfe, 0x7d)]),
		(text) => Buffer.from(`${'{"a":'.repeat(10_000)}${text}${"}".repeat(10_000)}`),
		(text) => Buffer.from(`[${text}]`),
		(text) => Buffer.from(" ".repeat(100_000) + text),
	),
);

const NONSENSE_BODIES: fc.Arbitrary<FuzzBody> = fc
	.tuple(
		fc.constantFrom("application/json", "application/msgpack", "application/x-ndjson", "text/plain"),
		fc.oneof(
			fc.uint8Array({ maxLength: 200 }),
			fc
				.constantFrom("[", "null", "true", "0", '"', "{}", "[]", "NaN", "<xml/>", "\u0000".repeat(50))
				.map((text) => Buffer.from(text)),
			fc.constant(Buffer.from("[".repeat(100_000))),
			fc.constant(new Uint8Array(0)),
		),
	)
	.map(([type, bytes]) => ({ type, bytes }));
