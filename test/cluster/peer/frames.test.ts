import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
	encodePart,
	FRAME_KINDS,
	type FrameKind,
	FrameReader,
	PART_BYTES_MAX,
} from "../../../src/cluster/peer/frames.ts";

const BODY_MAX = 1024 * 1024;

/** What a reader makes of bytes that come in pieces of these sizes. */
function read(bytes: Uint8Array, sizes: readonly number[], bodyBytesMax = BODY_MAX) {
	const reader = new FrameReader(bodyBytesMax);
	const frames = [];
	let at = 0;
	for (let index = 0; at < bytes.byteLength; index++) {
		const size = sizes[index % sizes.length]!;
		frames.push(...reader.push(bytes.slice(at, at + size)));
		at += size;
	}
	return frames.map(({ kind, callId, body }) => ({ kind, callId, body: Buffer.from(body).toString("hex") }));
}

const message = fc.record({
	kind: fc.constantFrom(...Object.values(FRAME_KINDS)),
	callId: fc.integer({ min: 0, max: 0xffff_ffff }),
	body: fc.uint8Array({ maxLength: 600 }),
});

describe("messages between nodes", () => {
	test("come out as they went in, in whatever pieces they arrive", () => {
		fc.assert(
			fc.property(
				fc.array(message, { maxLength: 12 }),
				fc.array(fc.integer({ min: 1, max: 97 }), { minLength: 1 }),
				(messages, sizes) => {
					const bytes = Buffer.concat(messages.map(({ kind, callId, body }) => encodePart(kind, callId, body, true)));
					expect(read(bytes, sizes)).toEqual(
						messages.map((sent) => ({ ...sent, body: Buffer.from(sent.body).toString("hex") })),
					);
				},
			),
		);
	});

	test("that are long come in parts, and short ones overtake them", () => {
		const parts = [
			encodePart(FRAME_KINDS.request, 7, Buffer.from("one "), false),
			encodePart(FRAME_KINDS.request, 8, Buffer.from("short"), true),
			encodePart(FRAME_KINDS.result, 7, Buffer.from("another's"), true),
			encodePart(FRAME_KINDS.request, 7, Buffer.from("message"), true),
		];
		expect(read(Buffer.concat(parts), [5])).toEqual([
			{ kind: FRAME_KINDS.request, callId: 8, body: Buffer.from("short").toString("hex") },
			{ kind: FRAME_KINDS.result, callId: 7, body: Buffer.from("another's").toString("hex") },
			{ kind: FRAME_KINDS.request, callId: 7, body: Buffer.from("one message").toString("hex") },
		]);
	});

	test("of which a part is missing because they were given up leave nothing behind", () => {
		const parts = [
			encodePart(FRAME_KINDS.request, 7, Buffer.from("given up"), false),
			encodePart(FRAME_KINDS.cancel, 7, new Uint8Array(0), true),
			encodePart(FRAME_KINDS.request, 8, Buffer.from("given up too"), false),
			encodePart(FRAME_KINDS.request, 9, Buffer.from("the "), false),
			encodePart(FRAME_KINDS.request, 9, Buffer.from("next"), true),
		];
		expect(read(Buffer.concat(parts), [64]).map(({ callId, body }) => [callId, body])).toEqual([
			[7, ""],
			[9, Buffer.from("the next").toString("hex")],
		]);
	});

	test("are refused when they are longer than agreed, in one part or in several", () => {
		const part = (isLast: boolean) => encodePart(FRAME_KINDS.request, 1, new Uint8Array(600), isLast);
		expect(() => read(part(true), [4096], 599)).toThrow(RangeError);
		expect(() => read(Buffer.concat([part(false), part(true)]), [4096], 1000)).toThrow(RangeError);
		expect(read(Buffer.concat([part(false), part(true)]), [4096], 1200)).toHaveLength(1);
	});

	test("whose part claims an impossible length are refused before it is waited for", () => {
		for (const length of [0, 4, PART_BYTES_MAX + 6, 0xffff_ffff]) {
			const head = Buffer.alloc(4);
			head.writeUInt32LE(length);
			expect(() => read(head, [1])).toThrow(RangeError);
		}
	});

	test("that are garbage are refused or give some message, and never more than came", () => {
		fc.assert(
			fc.property(fc.uint8Array({ maxLength: 400 }), fc.integer({ min: 1, max: 50 }), (bytes, size) => {
				let frames: ReturnType<typeof read> = [];
				try {
					frames = read(bytes, [size]);
				} catch (error) {
					expect(error).toBeInstanceOf(RangeError);
				}
				const byteCount = frames.reduce((sum, { body }) => sum + body.length / 2, 0);
				expect(byteCount).toBeLessThanOrEqual(bytes.byteLength);
			}),
		);
	});

	test("with any one byte damaged never come out as another number of bytes than their length says", () => {
		const kind: FrameKind = FRAME_KINDS.request;
		const whole = encodePart(kind, 3, Buffer.from("payload"), true);
		for (let at = 0; at < whole.byteLength; at++) {
			const damaged = Uint8Array.from(whole);
			damaged[at]! ^= 0xff;
			try {
				for (const { body } of read(damaged, [64])) expect(body.length / 2).toBeLessThanOrEqual(7);
			} catch (error) {
				expect(error).toBeInstanceOf(RangeError);
			}
		}
	});
});
