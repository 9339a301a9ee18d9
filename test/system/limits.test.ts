import { afterAll, beforeAll, expect, test } from "bun:test";
import { decode, encode } from "@msgpack/msgpack";
import { LocalNode } from "../../scripts/local-node.ts";
import { type Answer, call, newTenant } from "./client.ts";

/** Every limit of CONTRACT section 1, at its edge and one past it, over a real socket. */

let node: LocalNode;
let key: string;
const MIB = 1024 * 1024;

beforeAll(async () => {
	node = await LocalNode.start();
	key = await newTenant(node, "edges");
	await call(node, key, "POST", "/collections", { name: "docs", dimension: 2 });
});
afterAll(async () => {
	await node.stop();
	node.removeData();
});

const create = (fields: object): Promise<Answer> => call(node, key, "POST", "/collections", fields);
const upsert = (entry: object): Promise<Answer> =>
	call(node, key, "POST", "/collections/docs/vectors", { vectors: [{ vector: [1, 2], ...entry }] });
const search = (fields: object): Promise<Answer> =>
	call(node, key, "POST", "/collections/docs/search", { vector: [1, 2], ...fields });

function expectRefusal(answer: Answer, code: string, field: string, what: string): void {
	expect([answer.status, answer.body.code, answer.body.details?.field], what).toEqual([400, code, field]);
}

test("dimensions from 1 to 16,384 are taken, stored and searched exactly", async () => {
	for (const dimension of [1, 16_384]) {
		const name = `d${dimension}`;
		expect((await create({ name, dimension })).status).toBe(201);
		const vector = Array.from({ length: dimension }, (_, index) => Math.fround(Math.sin(index + 1)));
		const path = `/collections/${name}`;
		expect((await call(node, key, "POST", `${path}/vectors`, { vectors: [{ id: 1, vector }] })).status).toBe(200);
		const found = await call(node, key, "POST", `${path}/search`, { vector, with_vector: true });
		expect(found.body.results[0].vector.map(Math.fround)).toEqual(vector);
		expect(found.body.results[0].score).toBeCloseTo(1, 6);
		const tooLong = await call(node, key, "POST", `${path}/vectors`, { vectors: [{ id: 2, vector: [...vector, 1] }] });
		expect(tooLong.status).toBe(400);
	}
	for (const dimension of [0, -1, 16_385, 1.5, "3", null, true, 1e30]) {
		expectRefusal(await create({ name: "no", dimension }), "VALIDATION_FAILED", "dimension", String(dimension));
	}
});

test("ids of up to 256 bytes and integers up to 2^53-1 come out as they went in", async () => {
	const ids = [0, 1, "1", "01", 2 ** 53 - 1, String(2 ** 53), "a".repeat(256), "é".repeat(128), " ", "a/b?c#d", "%2f"];
	for (const id of [...ids, "\u0000", "null", "__proto__", "\u{1F600}".repeat(64)]) {
		const stored = await upsert({ id });
		expect(stored.body.ids, String(id)).toEqual([id]);
		const query = typeof id === "string" ? "?id_type=string" : "";
		const read = await call(node, key, "GET", `/collections/docs/vectors/${encodeURIComponent(String(id))}${query}`);
		expect([read.status, read.body.id], String(id)).toEqual([200, id]);
		const listed = await call(node, key, "POST", "/collections/docs/vectors/get", { ids: [id] });
		expect(listed.body.vectors.map((each: { id: unknown }) => each.id)).toEqual([id]);
	}
	for (const id of ["", "a".repeat(257), "é".repeat(129), -1, 2 ** 53, 1.5, null, true, {}, [], "\ud800"]) {
		expectRefusal(await upsert({ id }), "VALIDATION_FAILED", "vectors[0].id", JSON.stringify(id));
	}
});

test("a payload of exactly 1 MiB is stored, one byte more is refused, also by merging", async () => {
	const payload = (bytes: number) => ({ t: "x".repeat(bytes - '{"t":""}'.length) });
	expect((await upsert({ id: "big", payload: payload(MIB) })).status).toBe(200);
	const path = "/collections/docs/vectors/big";
	expect((await call(node, key, "GET", path)).body.payload).toEqual(payload(MIB));
	expectRefusal(
		await upsert({ id: "big", payload: payload(MIB + 1) }),
		"VALIDATION_FAILED",
		"vectors[0].payload",
		"1 MiB and a byte",
	);
	expectRefusal(
		await call(node, key, "PATCH", path, { payload: { more: 1 } }),
		"VALIDATION_FAILED",
		"payload",
		"grown by merging",
	);
	expect((await call(node, key, "GET", path)).body.payload).toEqual(payload(MIB));
});

test("a payload that JSON can't say is refused instead of being changed", async () => {
	const send = (body: string | Uint8Array<ArrayBuffer>, type: string) =>
		fetch(`${node.url}/api/v1/collections/docs/vectors`, {
			method: "POST",
			headers: { "x-api-key": key, "content-type": type },
			body,
		});
	const refused = [
		await send('{"vectors":[{"id":"odd","vector":[1,2],"payload":{"a":[{"n":1e999}]}}]}', "application/json"),
		await send(encode({ vectors: [{ id: "odd", vector: [1, 2], payload: { n: Number.NaN } }] }), "application/msgpack"),
		await send(
			encode({ vectors: [{ id: "odd", vector: [1, 2], payload: { raw: new Uint8Array(3) } }] }),
			"application/msgpack",
		),
	];
	for (const answer of refused) {
		expect(answer.status).toBe(400);
		expect(((await answer.json()) as Answer["body"]).details.field).toBe("vectors[0].payload");
	}
	expect((await call(node, key, "GET", "/collections/docs/vectors/odd")).status).toBe(404);
});

test("search takes limits from 1 to 1,000, and batches from 1 to 100 searches", async () => {
	expect((await search({ limit: 1_000 })).status).toBe(200);
	expect((await search({ limit: 1 })).body.results).toHaveLength(1);
	for (const limit of [0, -1, 1_001, 1.5, "10", null]) {
		expectRefusal(await search({ limit }), "VALIDATION_FAILED", "limit", String(limit));
	}
	const batch = (count: number) =>
		call(node, key, "POST", "/collections/docs/search/batch", {
			searches: Array(count).fill({ vector: [1, 2], limit: 1 }),
		});
	expect((await batch(100)).body.results).toHaveLength(100);
	for (const count of [0, 101]) expectRefusal(await batch(count), "VALIDATION_FAILED", "searches", `${count}`);
});

test("a filter may be 16 levels deep and hold 1,000 conditions", async () => {
	await upsert({ id: "match", payload: { n: 999 } });
	const nested = (levels: number): object =>
		levels === 1 ? { must: [{ key: "n", match: { value: 999 } }] } : { must: [nested(levels - 1)] };
	const wide = (count: number) => ({
		should: Array.from({ length: count }, (_, index) => ({ key: "n", match: { value: index } })),
	});
	for (const filter of [nested(16), wide(1_000)]) {
		expect((await search({ filter })).body.results.map((hit: { id: unknown }) => hit.id)).toEqual(["match"]);
	}
	for (const filter of [nested(17), wide(1_001)]) {
		expect((await search({ filter })).body.code).toBe("INVALID_FILTER");
	}
});

test("a body of exactly 64 MiB is taken, a byte more is not", async () => {
	const body = (bytes: number) => {
		const padded = new Uint8Array(bytes).fill(0x20);
		padded.set(new TextEncoder().encode('{"vectors":[{"id":"padded","vector":[1,2]}]}'));
		return padded;
	};
	const send = (bytes: number) =>
		fetch(`${node.url}/api/v1/collections/docs/vectors`, {
			method: "POST",
			headers: { "x-api-key": key, "content-type": "application/json" },
			body: body(bytes),
		});
	expect((await send(64 * MIB)).status).toBe(200);
	const refused = await send(64 * MIB + 1);
	expect([refused.status, ((await refused.json()) as Answer["body"]).code]).toEqual([413, "PAYLOAD_TOO_LARGE"]);
});

test("vectors travel as numbers, base64 and msgpack, and read as they were written", async () => {
	const vector = [0.1, -0.7];
	const bytes = new Uint8Array(Float32Array.from(vector).buffer);
	await upsert({ id: "numbers", vector });
	await upsert({ id: "base64", vector: { base64: Buffer.from(bytes).toString("base64") } });
	const sent = await fetch(`${node.url}/api/v1/collections/docs/vectors`, {
		method: "POST",
		headers: { "x-api-key": key, "content-type": "application/msgpack", accept: "application/msgpack" },
		body: encode({
			vectors: [
				{ id: "msgpack", vector },
				{ id: "raw", vector: bytes },
			],
		}),
	});
	expect(sent.headers.get("content-type")).toBe("application/msgpack");
	expect(decode(await sent.arrayBuffer())).toEqual({ upserted: 2, ids: ["msgpack", "raw"] });
	for (const id of ["numbers", "base64", "msgpack", "raw"]) {
		const read = await call(node, key, "GET", `/collections/docs/vectors/${id}?with_vector=true`);
		expect(read.body.vector, id).toEqual(vector);
	}
	for (const base64 of ["AAAA", "AAAAAA==", "not base64", "", "AAAAAAAAAAA"]) {
		const refused = await upsert({ id: "x", vector: { base64 } });
		expect(refused.status, base64).toBe(400);
	}
});

test("names of 1 to 128 characters make collections, and shard counts from 1 to 64", async () => {
	for (const name of ["9", "A._-z", "n".repeat(128)]) {
		const made = await create({ name, dimension: 2 });
		expect([made.status, made.body.full_name]).toEqual([201, `edges:${name}`]);
		expect((await call(node, key, "GET", `/collections/${name}`)).status).toBe(200);
	}
	expectRefusal(await create({ name: "n".repeat(129), dimension: 2 }), "VALIDATION_FAILED", "name", "129");
	expect((await create({ name: "sharded", dimension: 2, shards: 64 })).status).toBe(201);
	const ids = Array.from({ length: 500 }, (_, index) => index);
	await call(node, key, "POST", "/collections/sharded/vectors", {
		vectors: ids.map((id) => ({ id, vector: [1, id] })),
	});
	const scrolled: number[] = [];
	let cursor: string | null = null;
	do {
		const page: Answer = await call(node, key, "POST", "/collections/sharded/vectors/scroll", { limit: 7, cursor });
		scrolled.push(...page.body.vectors.map((each: { id: number }) => each.id));
		cursor = page.body.next_cursor;
	} while (cursor !== null);
	expect(scrolled).toEqual(ids);
	for (const shards of [0, 65, 1.5]) {
		expectRefusal(await create({ name: "no", dimension: 2, shards }), "VALIDATION_FAILED", "shards", `${shards}`);
	}
});
