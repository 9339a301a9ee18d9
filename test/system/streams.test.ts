import { afterAll, beforeAll, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { LocalNode } from "../../scripts/local-node.ts";
import { call, newTenant } from "./client.ts";
import { seededRandom } from "./random.ts";

/** Import and export in bounded memory, whatever the other end does. */

let node: LocalNode;
let key: string;
const MB = 1e6;
const DIMENSION = 128;
const encoder = new TextEncoder();

beforeAll(async () => {
	node = await LocalNode.start();
	key = await newTenant(node, "streamer");
});
afterAll(async () => {
	await node.stop();
	node.removeData();
});

const newCollection = async (name: string): Promise<void> => {
	const made = await call(node, key, "POST", "/collections", { name, dimension: DIMENSION, index: "exact" });
	expect(made.status).toBe(201);
};
const countOf = async (name: string): Promise<number> =>
	(await call(node, key, "POST", `/collections/${name}/vectors/count`, {})).body.count;

const random = seededRandom(7);
const vectorText = (): string => `[${Array.from({ length: DIMENSION }, () => (random() - 0.5).toFixed(4)).join(",")}]`;
const line = (id: number): string => `{"id":${id},"vector":${vectorText()},"payload":{"n":${id}}}\n`;

/** The same block again and again until so many bytes were asked for. */
function repeated(block: string, bytes: number): ReadableStream<Uint8Array> {
	const chunk = encoder.encode(block);
	let sent = 0;
	return new ReadableStream({
		pull(controller) {
			controller.enqueue(chunk);
			sent += chunk.length;
			if (sent >= bytes) controller.close();
		},
	});
}

async function importing(
	name: string,
	body: string | Uint8Array<ArrayBuffer> | ReadableStream<Uint8Array>,
): Promise<Response> {
	return fetch(`${node.url}/api/v1/collections/${name}/import`, {
		method: "POST",
		headers: { "x-api-key": key, "content-type": "application/x-ndjson" },
		body,
	});
}

// biome-ignore lint/suspicious/noExplicitAny: lines are held against expectations, not typed
const linesOf = (text: string): any[] =>
	text
		.trim()
		.split("\n")
		.map((each) => JSON.parse(each));

/** A raw request, so that the test decides when to read and when to hang up. */
function openSocket(head: readonly string[]): Promise<Socket> {
	return new Promise((resolve) => {
		const socket = connect(Number(new URL(node.url).port), "127.0.0.1", () => {
			socket.write(`${[...head, "host: node", `x-api-key: ${key}`].join("\r\n")}\r\n\r\n`);
			resolve(socket);
		});
		// Either end may hang up at any moment here.
		socket.on("error", () => {});
	});
}

const firstBytes = (socket: Socket): Promise<void> =>
	new Promise((resolve) => {
		socket.once("data", () => resolve());
	});

/** Runs something while memory is watched; the highest resident size seen, in bytes. */
async function peakResidentBytes(work: () => Promise<void>): Promise<number> {
	let peak = node.residentBytes();
	const timer = setInterval(() => {
		peak = Math.max(peak, node.residentBytes());
	}, 20);
	try {
		await work();
	} finally {
		clearInterval(timer);
	}
	return Math.max(peak, node.residentBytes());
}

test("an import of 200 MB is stored in bounded memory", async () => {
	await newCollection("large");
	const block = Array.from({ length: 2_000 }, (_, id) => line(id)).join("");
	// Once before, so that what the node keeps for its first import is not counted.
	await (await importing("large", block)).text();
	const before = node.residentBytes();
	let last: unknown;
	const peak = await peakResidentBytes(async () => {
		const answer = await importing("large", repeated(block, 200 * MB));
		expect(answer.status).toBe(200);
		last = linesOf(await answer.text()).at(-1);
	});
	expect(last).toMatchObject({ done: true, failed: 0 });
	expect(await countOf("large")).toBe(2_000);
	expect((peak - before) / MB).toBeLessThan(250);
}, 60_000);

test("exports whose readers pause are not piled up in memory, and are whole when read on", async () => {
	await newCollection("wide");
	const count = 40_000;
	const text = Array.from({ length: count }, (_, id) => line(id)).join("");
	expect(linesOf(await (await importing("wide", text)).text()).at(-1)).toMatchObject({ imported: count });
	const readers: Socket[] = [];
	const before = node.residentBytes();
	const peak = await peakResidentBytes(async () => {
		for (let reader = 0; reader < 20; reader++) {
			const socket = await openSocket(["GET /api/v1/collections/wide/export HTTP/1.1", "connection: close"]);
			await firstBytes(socket);
			socket.pause();
			readers.push(socket);
		}
		// The node has all the time it wants to run ahead of its readers, and goes on answering others.
		for (let round = 0; round < 300; round++) expect(await countOf("wide")).toBe(count);
	});
	const [last, ...others] = readers.reverse();
	for (const socket of others) socket.destroy();
	const received = await new Promise<number>((resolve) => {
		let braces = 0;
		last?.on("data", (bytes) => {
			for (const byte of bytes) if (byte === 0x7b) braces++;
		});
		last?.on("close", () => resolve(braces));
		last?.resume();
	});
	// Two braces a line; the first bytes were read before.
	expect(received).toBeGreaterThan(1.5 * count);
	// Made in advance, the twenty exports would take twice this; the rest is what lies in sockets and is yet to be collected.
	expect((peak - before) / MB).toBeLessThan((20 * text.length) / MB / 2);
}, 60_000);

test("what was exported imports again as it was", async () => {
	await newCollection("origin");
	await newCollection("copy");
	await (await importing("origin", Array.from({ length: 3_000 }, (_, id) => line(id)).join(""))).text();
	const exported = async (name: string): Promise<string> => {
		const answer = await fetch(`${node.url}/api/v1/collections/${name}/export`, { headers: { "x-api-key": key } });
		expect(answer.headers.get("content-type")).toBe("application/x-ndjson");
		return answer.text();
	};
	const text = await exported("origin");
	expect(linesOf(await (await importing("copy", text)).text()).at(-1)).toEqual({
		done: true,
		imported: 3_000,
		failed: 0,
	});
	expect(await exported("copy")).toBe(text);
	// Numbers read as they were sent, not as the nearest double writes itself.
	expect(text.length).toBeLessThan(3_000 * line(1_000).length * 1.05);
});

test("carriage returns and empty lines are passed over; long, broken and foreign lines are named", async () => {
	await newCollection("odd");
	const good = (id: number) => line(id).trim();
	const answer = await importing(
		"odd",
		Buffer.concat([
			Buffer.from(`${good(1)}\r\n\r\n   \r\n`),
			Buffer.from([0x22, 0xff, 0xfe, 0x22, 0x0a]),
			Buffer.from(`${"x".repeat(3 * 1024 * 1024)}\n`),
			Buffer.from(`[1]\nnull\n${"[".repeat(100_000)}\n{"id":5}\n${good(2)}`),
		]),
	);
	const lines = linesOf(await answer.text());
	expect(lines.filter((each) => each.code !== undefined).map((each) => [each.line, each.code])).toEqual(
		[4, 5, 6, 7, 8, 9].map((number) => [number, "VALIDATION_FAILED"]),
	);
	expect(lines.at(-1)).toEqual({ done: true, imported: 2, failed: 6 });
	expect(await countOf("odd")).toBe(2);
});

test("a client that hangs up in the middle of an import leaves whole vectors and nothing else", async () => {
	await newCollection("half");
	const socket = await openSocket([
		"POST /api/v1/collections/half/import HTTP/1.1",
		"content-type: application/x-ndjson",
		"content-length: 100000000",
	]);
	socket.write(Array.from({ length: 2_500 }, (_, id) => line(id)).join(""));
	socket.write('{"id":"half a line","vec');
	await firstBytes(socket);
	socket.destroy();
	// Progress was answered, so the first thousand are on their way.
	while ((await countOf("half")) < 1_000) await Bun.sleep(10);
	expect((await call(node, key, "GET", "/collections/half/vectors/half%20a%20line")).status).toBe(404);
	expect((await call(node, key, "GET", "/usage")).status).toBe(200);
	expect((await call(node, key, "DELETE", "/collections/half")).status).toBe(200);
});

test("exports that are given up end, and free what they held", async () => {
	for (let round = 0; round < 20; round++) {
		const socket = await openSocket(["GET /api/v1/collections/wide/export HTTP/1.1"]);
		await firstBytes(socket);
		socket.destroy();
	}
	expect(await countOf("wide")).toBe(40_000);
});

test("clients that send an import and never read its progress hold up nobody", async () => {
	await newCollection("unread");
	const sockets: Socket[] = [];
	for (let client = 0; client < 5; client++) {
		const socket = await openSocket([
			"POST /api/v1/collections/unread/import HTTP/1.1",
			"content-type: application/x-ndjson",
			"content-length: 100000000",
		]);
		socket.pause();
		sockets.push(socket);
	}
	const bad = "not a vector\n".repeat(50_000);
	for (const socket of sockets) for (let part = 0; part < 5; part++) socket.write(bad);
	for (let round = 0; round < 300; round++) expect(await countOf("unread")).toBe(0);
	for (const socket of sockets) {
		socket.resume();
		await firstBytes(socket);
		socket.destroy();
	}
});
