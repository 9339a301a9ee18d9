import { expect, test } from "bun:test";
import { RequestBody } from "../../src/api/rest/request-body.ts";

const DEADLINES = { stallMs: 5_000, totalMs: 5_000 };
const KIBIBYTE = 1024;

const requestOf = (headers: Record<string, string>, body: string | Uint8Array<ArrayBuffer> | null): Request =>
	new Request("http://localhost/", { method: "POST", headers, body });

test("a body's length is what was declared, nothing without one, and unknown where it comes in chunks", () => {
	expect(new RequestBody(requestOf({ "content-length": "70000" }, "x"), DEADLINES).declaredBytes).toBe(70_000);
	expect(new RequestBody(requestOf({}, null), DEADLINES).declaredBytes).toBe(0);
	expect(new RequestBody(requestOf({ "transfer-encoding": "chunked" }, "x"), DEADLINES).declaredBytes).toBeUndefined();
});

test("an unread body is worth its connection while it is short", () => {
	const leaves = (declared: number): boolean =>
		new RequestBody(requestOf({ "content-length": String(declared) }, "x"), DEADLINES).leavesUnread(1_000_000);
	expect(leaves(64 * KIBIBYTE)).toBe(false);
	expect(leaves(64 * KIBIBYTE + 1)).toBe(true);
	expect(new RequestBody(requestOf({}, null), DEADLINES).leavesUnread(0)).toBe(false);
});

test("a stream in turns comes in small pieces, one a turn, and is complete", async () => {
	const bytes = new Uint8Array(200 * KIBIBYTE).map((_, index) => index);
	const body = new RequestBody(requestOf({}, bytes), DEADLINES);
	let turns = 0;
	const pieces: Uint8Array[] = [];
	for await (const piece of body.chunks(async () => {
		turns++;
	})) {
		expect(piece.length).toBeLessThanOrEqual(32 * KIBIBYTE);
		pieces.push(piece);
		expect(turns).toBe(pieces.length);
	}
	expect(Buffer.concat(pieces).equals(Buffer.from(bytes))).toBe(true);
	expect(body.leavesUnread(0)).toBe(false);
});

test("a stream whose turn is refused ends there", async () => {
	const body = new RequestBody(requestOf({}, "lines"), DEADLINES);
	const chunks = body.chunks(() => Promise.reject(new Error("no turn")));
	expect(await messageOf(chunks.next())).toContain("no turn");
	expect(body.leavesUnread(1_000)).toBe(true);
});

async function messageOf(refused: unknown): Promise<string> {
	try {
		await refused;
	} catch (error) {
		return (error as Error).message;
	}
	throw new Error("it was not refused");
}
