import { afterAll, describe, expect, test } from "bun:test";
import type { Mount, MountedCall, MountedSocket } from "../../src/api/wire/mount.ts";
import { HiveError } from "../../src/base/errors.ts";
import type { TenantId } from "../../src/base/ids.ts";
import {
	MAX_BODY_BYTES,
	RawClient,
	rawAnswer,
	signalled,
	startServer,
	statusOf,
	type TestServer,
} from "./rest-harness.ts";

const APP = "https://app.example.com";
const calls: MountedCall[] = [];
const lastCall = (): MountedCall => calls.at(-1)!;

const echo: Mount = {
	path: "/echo",
	methods: ["POST", "GET"],
	async answer(call) {
		calls.push(call);
		const fields = call.request.method === "POST" ? await call.body.parse(await call.body.read()) : {};
		if (fields.refuse === true) throw new HiveError("QUOTA_EXCEEDED", "full");
		if (fields.break === true) throw new Error("a defect");
		return {
			response: Response.json(fields, { headers: { "Content-Security-Policy": "default-src 'self'" } }),
			facts: { requestId: call.arrival.requestId, tenantId: "acme" as TenantId },
		};
	},
};

const encoder = new TextEncoder();
const drip: Mount = {
	path: "/drip",
	methods: ["GET"],
	async answer({ stopping, signal }) {
		const stream = new ReadableStream<Uint8Array>({
			start(controller) {
				controller.enqueue(encoder.encode("begun\n"));
				stopping.addEventListener("abort", () => {
					if (signal.aborted) return;
					controller.enqueue(encoder.encode("stopped\n"));
					controller.close();
				});
				signal.addEventListener("abort", () => clientLeft.resolve());
			},
		});
		return { response: new Response(stream), isStream: true };
	},
};
let clientLeft = signalled();

const MESSAGE_BYTES_MAX = 1_000;
const sockets: { socket: MountedSocket; subprotocol: string | undefined; closed: [number, string][] }[] = [];
const talk: Mount = {
	path: "/talk",
	methods: ["POST"],
	answer: async () => ({ response: new Response("posted") }),
	socket: {
		subprotocols: ["one", "two"],
		needsSubprotocol: true,
		messageBytesMax: MESSAGE_BYTES_MAX,
		async open(call, subprotocol) {
			calls.push(call);
			await Bun.sleep(1);
			if (call.arrival.credentials.apiKey === "bad") throw new HiveError("AUTH_INVALID", "no such key");
			return {
				facts: { requestId: call.arrival.requestId, tenantId: "acme" as TenantId },
				start(socket) {
					const known = { socket, subprotocol, closed: [] as [number, string][] };
					sockets.push(known);
					return {
						message: (text) => socket.send(`heard ${text}`),
						closed: (code, reason) => known.closed.push([code, reason]),
					};
				},
				gone() {},
			};
		},
	},
};
const free: Mount = {
	path: "/free",
	methods: [],
	socket: { ...talk.socket!, needsSubprotocol: false, messageBytesMax: 9_000 },
};

const start = (more = {}): TestServer => startServer([], more, [echo, drip, talk, free]);
const server = start({ corsOrigins: [APP] });
afterAll(() => server.server.stop());

const post = (body: unknown, headers: Record<string, string> = {}) =>
	server.fetch("/echo", { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body), headers });

/** The answer's head to a handshake. */
const handshake = (path: string, more = "", port = server.port) => {
	const client = new RawClient(port);
	client.send(
		`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n` +
			`Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n${more}\r\n`,
	);
	return client
		.until((text) => text.includes("\r\n\r\n"))
		.then((text) => {
			client.drop();
			return text;
		});
};

async function connected(
	path: string,
	protocols: string[],
	port = server.port,
): Promise<{ socket: WebSocket; received: string[]; closed: Promise<CloseEvent> }> {
	const socket = new WebSocket(`ws://127.0.0.1:${port}${path}`, protocols);
	const received: string[] = [];
	socket.onmessage = ({ data }) => received.push(String(data));
	const closed = new Promise<CloseEvent>((resolve) => {
		socket.onclose = resolve;
	});
	await new Promise((resolve, reject) => {
		socket.onopen = resolve;
		socket.onerror = reject;
	});
	return { socket, received, closed };
}

describe("a request at a mount", () => {
	test("is answered with the server's headers, the facts, and what the mount said itself", async () => {
		const answer = await post({ a: 1 }, { "x-request-id": "mine" });
		expect([answer.status, await answer.json()]).toEqual([200, { a: 1 }]);
		expect(Object.fromEntries(answer.headers)).toMatchObject({
			"content-security-policy": "default-src 'self'",
			"x-content-type-options": "nosniff",
			"cache-control": "no-store",
			"x-request-id": "mine",
			"x-tenant-id": "acme",
		});
	});

	test("brings who sent it, and never a protocol", async () => {
		await post({}, { authorization: "Bearer k", "x-tenant-id": "acme" });
		expect(lastCall().arrival).toMatchObject({
			credentials: { authorization: "Bearer k" },
			actingTenant: "acme",
			remoteAddress: "127.0.0.1",
			message: { method: "POST", url: `${server.url}/echo` },
		});
	});

	test.each([
		[undefined, false],
		[APP, false],
		["https://evil.example", true],
		["null", true],
	])("from the origin %p is foreign: %p, with a key or without", async (origin, isForeign) => {
		for (const key of [{}, { "x-api-key": "k" }]) {
			await post({}, { ...(origin === undefined ? {} : { origin }), ...key });
			expect(lastCall().hasForeignOrigin).toBe(isForeign);
		}
	});

	test("that is refused or fails is answered like any other, and says nothing of a defect", async () => {
		const refused = await post({ refuse: true });
		expect([refused.status, await refused.json()]).toMatchObject([429, { code: "QUOTA_EXCEEDED", error: "full" }]);
		const broken = await post({ break: true });
		expect([broken.status, await broken.json()]).toMatchObject([500, { code: "INTERNAL" }]);
		expect((await post("[1")).status).toBe(400);
	});

	test("has the same limit of bytes, declared or not", async () => {
		expect((await post("x".repeat(MAX_BODY_BYTES + 1))).status).toBe(413);
		const chunk = `${MAX_BODY_BYTES.toString(16)}\r\n${"x".repeat(MAX_BODY_BYTES)}\r\n`;
		expect(
			statusOf(
				await rawAnswer(server.port, "POST /echo HTTP/1.1\r\nTransfer-Encoding: chunked", `${chunk}${chunk}0\r\n\r\n`),
			),
		).toBe(413);
	});

	test("with another method hears what there is, and so does a preflight", async () => {
		const answer = await server.fetch("/echo", { method: "DELETE" });
		expect([answer.status, answer.headers.get("allow")]).toEqual([405, "GET, HEAD, POST"]);
		const preflight = await server.fetch("/talk", {
			method: "OPTIONS",
			headers: { origin: APP, "access-control-request-method": "POST" },
		});
		expect([preflight.status, preflight.headers.get("access-control-allow-methods")]).toEqual([204, "GET, HEAD, POST"]);
		expect((await server.fetch("/echo/x")).status).toBe(404);
	});
});

describe("a stream of a mount", () => {
	test("outlasts the idle timeout while the client waits for it", async () => {
		const other = start({ connectionIdleSeconds: 8 });
		const answer = await other.fetch("/drip");
		const reader = answer.body!.getReader();
		await reader.read();
		const next = reader.read();
		expect(await Promise.race([next.then(() => "moved"), Bun.sleep(13_000).then(() => "waiting")])).toBe("waiting");
		await other.server.stop();
		expect(new TextDecoder().decode((await next).value)).toBe("stopped\n");
	}, 30_000);

	test("is told when the server stops, and when the client goes away", async () => {
		const other = start();
		const text = other.fetch("/drip").then((answer) => answer.text());
		clientLeft = signalled();
		const leaving = new AbortController();
		await other.fetch("/drip", { signal: leaving.signal });
		leaving.abort();
		await clientLeft.promise;
		await Bun.sleep(1);
		await other.server.stop();
		expect(await text).toBe("begun\nstopped\n");
	});
});

describe("a WebSocket of a mount", () => {
	test("speaks the first sub-protocol of the client's that is spoken here", async () => {
		const { socket, received, closed } = await connected("/talk", ["zero", "two", "one"]);
		expect(socket.protocol).toBe("two");
		socket.send("hi");
		while (received.length === 0) await Bun.sleep(1);
		expect(received).toEqual(["heard hi"]);
		socket.close(4000, "bye");
		await closed;
		while (sockets.at(-1)!.closed.length === 0) await Bun.sleep(1);
		expect(sockets.at(-1)).toMatchObject({ subprotocol: "two", closed: [[4000, "bye"]] });
	});

	test("is refused in HTTP before it stands", async () => {
		expect(await handshake("/talk")).toMatch(/^HTTP\/1.1 400 /);
		expect(await handshake("/talk", "Sec-WebSocket-Protocol: zero\r\n")).toMatch(/^HTTP\/1.1 400 /);
		expect(await handshake("/free", "Sec-WebSocket-Protocol: zero\r\n")).toMatch(/^HTTP\/1.1 400 /);
		expect(await handshake("/free", "x-api-key: bad\r\n")).toMatch(/^HTTP\/1.1 401 /);
		expect(await handshake("/echo")).toMatch(/^HTTP\/1.1 200 /);
		const plain = await server.fetch("/free");
		expect([plain.status, plain.headers.get("upgrade")]).toEqual([400, "websocket"]);
	});

	test("that stands carries the facts with the upgrade", async () => {
		const head = await handshake("/free", "X-Request-ID: mine\r\n");
		expect(head).toMatch(/^HTTP\/1.1 101 /);
		expect(head.toLowerCase()).toContain("x-request-id: mine");
		expect(head.toLowerCase()).toContain("x-tenant-id: acme");
	});

	test("ends with a message that is too long for its endpoint, or binary", async () => {
		const long = await connected("/talk", ["one"]);
		long.socket.send("x".repeat(MESSAGE_BYTES_MAX + 1));
		expect((await long.closed).code).toBe(1009);
		const roomy = await connected("/free", ["one"]);
		roomy.socket.send("x".repeat(MESSAGE_BYTES_MAX + 1));
		while (roomy.received.length === 0) await Bun.sleep(1);
		roomy.socket.send("x".repeat(9_001));
		expect((await roomy.closed).code).toBe(1009);
		const binary = await connected("/talk", ["one"]);
		binary.socket.send(new Uint8Array(3));
		expect((await binary.closed).code).toBe(1003);
	});

	test("is closed with 1001 when the server stops, which does not wait long for it", async () => {
		const other = start();
		const { closed } = await connected("/talk", ["one"], other.port);
		await other.server.stop();
		expect((await closed).code).toBe(1001);
	});
});
