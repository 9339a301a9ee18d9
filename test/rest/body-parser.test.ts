import { expect, test } from "bun:test";
import { encode } from "@msgpack/msgpack";
import { answerBody } from "../../src/api/rest/body-endpoint.ts";
import { parseBody, type WireFormat } from "../../src/api/rest/body-format.ts";
import type { FromBodyThread } from "../../src/api/rest/body-messages.ts";
import { packVectors, unpackVectors } from "../../src/api/rest/body-packing.ts";
import { BodyParser } from "../../src/api/rest/body-parser.ts";
import { type BodyThreadEvents, startBodyThread } from "../../src/api/rest/body-thread.ts";
import { HiveError } from "../../src/base/errors.ts";
import { newVectorId, systemRandom } from "../../src/base/ids.ts";
import { parseVectorEntry } from "../../src/operations/vector-entry.ts";

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const RULE = { name: "docs", dimension: 3, metric: "dot" as const };

/** A thread that answers in this one, when told to; `pass` is what crosses. */
class InThread {
	readonly held: (() => void)[] = [];
	readonly logged: unknown[] = [];
	startCount = 0;
	events: BodyThreadEvents | undefined;
	terminated = 0;

	parser(offThreadBytesMin = 0, pendingMax = 8): BodyParser {
		return new BodyParser({
			offThreadBytesMin,
			pendingMax,
			log: { error: (fields: unknown) => this.logged.push(fields) },
			start: (events) => {
				this.startCount++;
				this.events = events;
				return {
					post: (message, transfer) => {
						const arrived = structuredClone(message, { transfer });
						this.held.push(() => {
							const { answer, transfer: back } = answerBody(arrived);
							events.message(structuredClone<FromBodyThread>(answer, { transfer: back }));
						});
					},
					terminate: () => this.terminated++,
				};
			},
		});
	}

	answer(): void {
		for (const work of this.held.splice(0)) work();
	}
}

async function parsedOffThread(bytes: Uint8Array, format: WireFormat = "json"): Promise<Record<string, unknown>> {
	const thread = new InThread();
	const fields = thread.parser().parse(bytes, format);
	thread.answer();
	return fields;
}

/** What an upsert makes of a body's vectors, or what it refuses them with. */
function entriesOf(fields: Record<string, unknown>): unknown {
	try {
		return (fields.vectors as unknown[]).map((entry, index) =>
			parseVectorEntry(entry, `vectors[${index}]`, RULE, () => newVectorId(systemRandom)),
		);
	} catch (error) {
		if (!(error instanceof HiveError)) throw error;
		return error.toWire();
	}
}

test("a body below the bound is parsed on the spot, without a thread", () => {
	const thread = new InThread();
	expect(thread.parser(100).parse(utf8('{"limit":3}'), "json")).toEqual({ limit: 3 });
	expect(thread.parser(100).parse(new Uint8Array(0), "json")).toEqual({});
	expect(thread.startCount).toBe(0);
});

test("vectors cross as float32, and everything else as it was", async () => {
	const body = {
		vectors: [
			{ id: 1, vector: [0.1, -2, 3e30], payload: { vector: [1, 2], nested: [{ vector: [3] }] } },
			{ id: "two", vector: { base64: "AACAPw==" } },
			{ id: 3, vector: [1, 2, 3, 4] },
		],
		vector: [0.5, 1],
		ids: [1, "1", 2],
		flag: null,
	};
	const fields = await parsedOffThread(utf8(JSON.stringify(body)));
	expect(fields).toEqual({
		...body,
		vectors: [
			{ ...body.vectors[0], vector: new Float32Array([0.1, -2, 3e30]) },
			body.vectors[1],
			{ ...body.vectors[2], vector: new Float32Array([1, 2, 3, 4]) },
		],
	} as Record<string, unknown>);
});

test("an upsert reads the same entries, and refuses bad ones in the same words, whichever thread parsed them", async () => {
	const good = '{"id":1,"vector":[1,2,3]}';
	const rows = [
		good,
		'{"vector":[1,2]}',
		'{"id":1,"vector":[1,"2",3]}',
		'{"id":1,"vector":[1,null,3]}',
		'{"id":1,"vector":[1,1e39,3]}',
		'{"id":1,"vector":[1,3.4028235677973366e38,3]}',
		'{"id":1,"vector":[1,3.40282356e38,3]}',
		'{"id":1,"vector":[1,-1e999,3]}',
		'{"id":1,"vector":[1,[2],3]}',
		'{"id":1,"vector":[]}',
		'{"id":1,"vector":null}',
		'{"id":1,"vector":"text"}',
		'{"id":1}',
		'{"id":1,"vector":[1,2,3],"colour":"red"}',
		'{"id":-1,"vector":[1,2,3]}',
		`{"id":1,"vector":[${"1,".repeat(16_384)}1]}`,
		'{"id":1,"vector":[-0,1e-46,0.1]}',
		"null",
		"7",
		"[1,2,3]",
	];
	for (const row of rows) {
		const text = `{"vectors":[{"id":0,"vector":[9,9,9]},${row},${good}]}`;
		const here = row === '{"vector":[1,2]}' ? undefined : entriesOf(parseBody(utf8(text), "json"));
		const there = entriesOf(await parsedOffThread(utf8(text)));
		if (here !== undefined) expect(there).toEqual(here);
	}
});

test("msgpack bodies cross alike", async () => {
	const vector = new Uint8Array(new Float32Array([1, 2, 3]).buffer);
	const body = {
		vectors: [
			{ id: 1, vector },
			{ id: 2, vector: [4, 5, 6] },
		],
	};
	const bytes = encode(body);
	expect(entriesOf(await parsedOffThread(bytes.slice(), "msgpack"))).toEqual(entriesOf(parseBody(bytes, "msgpack")));
});

test("what is wrong with a body is said in the same words", async () => {
	for (const text of ["{", "[1]", "null", `{"a":${"[".repeat(1_001)}${"]".repeat(1_001)}}`]) {
		const error = failureOf(() => parseBody(utf8(text), "json"));
		const refused = await parsedOffThread(utf8(text)).catch((thrown: HiveError) => thrown.toWire());
		expect(refused).toEqual(error.toWire());
	}
	expect(await messageOf(parsedOffThread(new Uint8Array([0x22, 0xff, 0x22])))).toContain("not valid UTF-8");
	expect(await messageOf(parsedOffThread(new Uint8Array([0xc1]), "msgpack"))).toContain("msgpack");
});

test("a field that JSON names like a prototype stays a field", async () => {
	const fields = await parsedOffThread(utf8('{"__proto__":{"polluted":1},"vectors":[{"__proto__":1,"vector":[1]}]}'));
	expect(Object.keys(fields)).toEqual(["__proto__", "vectors"]);
	expect(({} as { polluted?: unknown }).polluted).toBeUndefined();
	expect(Object.keys((fields.vectors as object[])[0]!)).toContain("__proto__");
});

test("bytes that lie in a larger buffer leave what surrounds them alone", async () => {
	const surrounding = utf8('xx{"a":1}xx');
	expect(await parsedOffThread(surrounding.subarray(2, 9))).toEqual({ a: 1 });
	expect(surrounding.length).toBe(11);
});

test("bodies come back to whoever sent them, in any order", async () => {
	const thread = new InThread();
	const parser = thread.parser();
	const first = parser.parse(utf8('{"n":1}'), "json");
	const second = parser.parse(utf8('{"n":2}'), "json");
	thread.held.reverse();
	thread.answer();
	expect(await first).toEqual({ n: 1 });
	expect(await second).toEqual({ n: 2 });
	expect(thread.startCount).toBe(1);
});

test("too many bodies under way are refused at once", async () => {
	const thread = new InThread();
	const parser = thread.parser(0, 1);
	const first = parser.parse(utf8("{}"), "json");
	expect(failureOf(() => parser.parse(utf8("{}"), "json")).code).toBe("OVERLOADED");
	thread.answer();
	await first;
	const next = parser.parse(utf8('{"n":3}'), "json");
	thread.answer();
	expect(await next).toEqual({ n: 3 });
});

test("when the thread ends, what it held fails, and the next body starts another", async () => {
	const thread = new InThread();
	const parser = thread.parser();
	const lost = parser.parse(utf8("{}"), "json");
	thread.events?.ended(new Error("gone"));
	expect(await messageOf(lost)).toContain("could not be parsed");
	expect(thread.logged).toHaveLength(1);
	thread.held.length = 0;
	const next = parser.parse(utf8('{"n":1}'), "json");
	thread.answer();
	expect(await next).toEqual({ n: 1 });
	expect(thread.startCount).toBe(2);
});

test("a closed parser ends its thread, fails what is under way and takes nothing more", async () => {
	const thread = new InThread();
	const parser = thread.parser();
	const lost = parser.parse(utf8("{}"), "json");
	parser.close();
	parser.close();
	expect(await messageOf(lost)).toContain("could not be parsed");
	expect(thread.terminated).toBe(1);
	expect(failureOf(() => parser.parse(utf8("{}"), "json")).code).toBe("NODE_DRAINING");
	// What still arrives is nobody's.
	thread.answer();
	thread.events?.ended(undefined);
	expect(thread.logged).toHaveLength(0);
});

test("a fault beyond a body's own answers without saying more", () => {
	const { answer } = answerBody({ id: 1, bytes: null as unknown as Uint8Array, format: "json" });
	expect(answer).toEqual({ id: 1, error: { code: "INTERNAL", message: "the body could not be parsed" } });
});

test("a real thread parses what this one would", async () => {
	const parser = new BodyParser({
		offThreadBytesMin: 0,
		pendingMax: 8,
		log: { error: () => {} },
		start: startBodyThread,
	});
	const text = JSON.stringify({ vectors: Array.from({ length: 500 }, (_, id) => ({ id, vector: [id, 0.5, -1] })) });
	const fields = await parser.parse(utf8(text), "json");
	expect(entriesOf(fields)).toEqual(entriesOf(parseBody(utf8(text), "json")));
	expect(await messageOf(parser.parse(utf8("{"), "json"))).toContain("not valid JSON");
	parser.close();
});

test("packing a body without vectors moves nothing", () => {
	const packed = packVectors({ ids: [1, 2], rows: [{ vector: "text" }, 3], filter: { vector: [1] } });
	expect(packed.vectors).toEqual([]);
	expect(unpackVectors(packed)).toEqual({ ids: [1, 2], rows: [{ vector: "text" }, 3], filter: { vector: [1] } });
});

function failureOf(work: () => unknown): HiveError {
	try {
		void work();
	} catch (error) {
		if (error instanceof HiveError) return error;
		throw error;
	}
	throw new Error("it did not fail");
}

async function messageOf(refused: unknown): Promise<string> {
	try {
		await refused;
	} catch (error) {
		return (error as Error).message;
	}
	throw new Error("it was not refused");
}
