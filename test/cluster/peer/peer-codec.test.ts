import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { NodeId } from "../../../src/base/ids.ts";
import { decodeRequest, encodeRequest, resultOf } from "../../../src/cluster/peer/call-outcome.ts";
import { FRAME_KINDS } from "../../../src/cluster/peer/frames.ts";
import { decodeBody, encodeBody } from "../../../src/cluster/peer/peer-codec.ts";

const leaf = fc.oneof(
	fc.constant(null),
	fc.constant(undefined),
	fc.boolean(),
	fc.integer(),
	fc.maxSafeInteger(),
	fc.double({ noNaN: true }).map((value) => (value === 0 ? 0 : value)),
	fc.string(),
	fc.uint8Array(),
	fc.float32Array({ noNaN: true }).map((values) => values.map((value) => (value === 0 ? 0 : value))),
	fc.uint32Array(),
);
const key = fc.string().filter((name) => name !== "__proto__");
const body = fc.letrec((tie) => ({
	value: fc.oneof(
		{ depthSize: "small" },
		leaf,
		fc.array(tie("value")),
		fc.dictionary(key, tie("value"), { noNullPrototype: true }),
	),
})).value;

describe("bodies of calls", () => {
	test("come out as they went in", () => {
		fc.assert(fc.property(body, (value) => expect(decodeBody(encodeBody(value))).toEqual(value)));
	});

	test("share no memory with the bytes they came from", () => {
		const vectors = new Float32Array([1, 2, 3]);
		const bytes = Uint8Array.from(encodeBody({ vectors, payload: new Uint8Array([4, 5]) }));
		const decoded = decodeBody(bytes) as { vectors: Float32Array; payload: Uint8Array };
		bytes.fill(0xff);
		expect(decoded).toEqual({ vectors, payload: new Uint8Array([4, 5]) });
		expect(decoded.vectors.buffer).not.toBe(bytes.buffer);
	});

	test("that are large don't change when others are made after them", () => {
		const large = encodeBody(new Uint8Array(3 * 1024 * 1024).fill(7));
		const small = encodeBody("small");
		for (let index = 0; index < 1000; index++) encodeBody({ index, text: "x".repeat(100) });
		expect(decodeBody(small)).toBe("small");
		expect((decodeBody(large) as Uint8Array).every((byte) => byte === 7)).toBe(true);
		expect(small.buffer.byteLength).toBeLessThan(1024 * 1024);
	});

	test("that are garbage are an error or some plain value, and change no prototype", () => {
		fc.assert(
			fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
				try {
					decodeBody(bytes);
				} catch (error) {
					expect(error).toBeInstanceOf(Error);
				}
			}),
		);
		decodeBody(encodeBody(JSON.parse('{"__proto__": {"polluted": true}}')));
		expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
	});

	test("nested deeper than anybody would are an error", () => {
		expect(() => decodeBody(new Uint8Array(64 * 1024).fill(0x91))).toThrow();
	});
});

describe("a call", () => {
	test("is read as it was written", () => {
		const request = { method: "m", timeoutMs: 5, body: { a: 1 } };
		expect(decodeRequest(encodeRequest(request))).toEqual(request);
	});

	test("that is none is refused, whatever the bytes are", () => {
		for (const bytes of [
			encodeBody(null),
			encodeBody({}),
			encodeBody(["m"]),
			encodeBody([1, 2]),
			new Uint8Array([0x93]),
		]) {
			expect(() => decodeRequest(bytes)).toThrow(expect.objectContaining({ code: "VALIDATION_FAILED" }));
		}
	});

	test("answered with an error of a newer version is an error of this one", () => {
		const node = "node_aaaaaaaaaaaaaaaa" as NodeId;
		for (const wire of [null, {}, { error: {} }, { error: { code: "NEWER", message: "?" } }]) {
			const frame = { kind: FRAME_KINDS.error, callId: 1, body: encodeBody(wire) };
			expect(() => resultOf(frame, node)).toThrow(expect.objectContaining({ code: "INTERNAL" }));
		}
	});
});
