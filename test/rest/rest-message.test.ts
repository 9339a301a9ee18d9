import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { z } from "zod";
import type { ImportLine } from "../../src/api/rest/ndjson-lines.ts";
import { REST_LIMITS } from "../../src/api/rest/rest-limits.ts";
import { HiveError } from "../../src/base/errors.ts";
import type { PipelineRequest } from "../../src/operations/pipeline-types.ts";
import { bodyOf, MAX_BODY_BYTES, operation, RawClient, rawAnswer, startServer, statusOf } from "./rest-harness.ts";

const anything = z.unknown();
const message = (_: unknown, { message: given }: PipelineRequest) => ({ method: given.method, url: given.url });

const server = startServer(
	[
		operation("things.get", { method: "GET", path: "/things/{id}", query: ["q"] }, anything, message),
		operation("things.put", { method: "PUT", path: "/things/{id}", body: "json" }, anything),
		operation("things.delete", { method: "DELETE", path: "/things/{id}" }, anything),
		operation(
			"things.import",
			{ method: "POST", path: "/import", body: "ndjson", answer: "ndjson" },
			anything,
			({ lines }) => lines as AsyncIterable<ImportLine>,
		),
		operation(
			"hooks.push",
			{
				method: "POST",
				path: "/hooks",
				headers: { signature: "webhook-signature", time: "webhook-time" },
				body: "text",
			},
			z.strictObject({ signature: z.string(), time: z.int().optional(), body: z.string() }),
			({ signature, time, body }) => ({
				signature,
				time,
				length: (body as string).length,
				start: String(body).slice(0, 9),
			}),
		),
		operation(
			"hooks.put",
			{ method: "PUT", path: "/hooks", headers: { signature: "webhook-signature" }, body: "json" },
			anything,
		),
		operation("keys.check", { method: "POST", path: "/check", body: "json" }, anything, () => ({ ok: true }), {
			scope: "public",
		}),
	],
	{ maxBodyBytes: 2 * REST_LIMITS.publicBodyBytesMax },
);
afterAll(() => server.server.stop());

let checked: string[] = [];
beforeEach(() => {
	checked = [];
	server.checkBody = undefined;
	server.requests.length = 0;
});
const noteBody = (bytes: Uint8Array) => void checked.push(new TextDecoder().decode(bytes));
const codeOf = async (response: Response) => [response.status, ((await response.json()) as { code: string }).code];

describe("the message that a signature is about", () => {
	const ask = async (target: string, host = "api.example.com:7801", method = "GET") => {
		const answer = await rawAnswerOf(`${method} ${target} HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`);
		return JSON.parse(bodyOf(answer)) as Record<string, unknown>;
	};
	const rawAnswerOf = async (head: string) => new RawClient(server.port).send(head).until(() => false);

	test.each([
		["/api/v1/things/a", "http://api.example.com:7801/api/v1/things/a"],
		["/api/v1/things/a%2Fb%20c", "http://api.example.com:7801/api/v1/things/a%2Fb%20c"],
		["/api/v1/things/a?q=%41+b%2F&", "http://api.example.com:7801/api/v1/things/a?q=%41+b%2F&"],
		["/api/v1/things/a?", "http://api.example.com:7801/api/v1/things/a?"],
		["/api/v1/things/%C3%A9", "http://api.example.com:7801/api/v1/things/%C3%A9"],
	])("%s is the address that the client named, as it was sent", async (target, url) => {
		expect(await ask(target)).toEqual({ method: "GET", url });
	});

	test.each([
		["/api/v1/things/a#b", "h"],
		["/api/v1/things/a?q=1#b", "h"],
		["/api/v1/things/a\\b", "h"],
		["/api/v1/things/%", "h"],
		["/api/v1/things/a", "a b"],
		["/api/v1/things/a", ""],
		["/api/v1/things/a", "user@h"],
	])("for %s at host %p there is none: it could pass for another", async (target, host) => {
		await ask(target, host);
		const [request] = server.requests;
		expect(() => request!.message).toThrow(expect.objectContaining({ code: "AUTH_SIGNATURE_INVALID" }));
	});

	test("it holds the headers, and is made only for who asks", async () => {
		await server.fetch("/api/v1/things/a", { method: "DELETE", headers: { signature: "s=:a:" } });
		expect(server.requests[0]!.message.headers.get("signature")).toBe("s=:a:");
	});
});

describe("a body that has to be checked", () => {
	test("is given whole, as it came, before it is parsed", async () => {
		server.checkBody = noteBody;
		const body = '{ "a" : 1 }';
		expect(await (await server.fetch("/api/v1/things/x", { method: "PUT", body })).json()).toEqual({ id: "x", a: 1 });
		expect(checked).toEqual([body]);
	});

	test("is checked before its type is looked at, and before it is parsed", async () => {
		server.checkBody = () => {
			throw new HiveError("AUTH_SIGNATURE_INVALID", "another body was signed");
		};
		const headers = { "content-type": "text/csv" };
		const answer = await server.fetch("/api/v1/things/x", { method: "PUT", body: "{", headers });
		expect(await codeOf(answer)).toEqual([401, "AUTH_SIGNATURE_INVALID"]);
	});

	test("is checked when it is empty, and where the operation takes none", async () => {
		server.checkBody = noteBody;
		await server.fetch("/api/v1/things/x", { method: "PUT" });
		await server.fetch("/api/v1/things/x", { method: "DELETE" });
		await server.fetch("/api/v1/things/x", { method: "DELETE", body: "unasked" });
		await server.fetch("/api/v1/hooks", { method: "POST", body: "text", headers: { "webhook-signature": "s" } });
		expect(checked).toEqual(["", "", "unasked", "text"]);
	});

	test("a stream of lines is gathered first, and bounded like other bodies", async () => {
		server.checkBody = noteBody;
		const answer = await server.fetch("/api/v1/import", { method: "POST", body: '{"a":1}\n{"b":2}' });
		expect(
			(await answer.text())
				.trimEnd()
				.split("\n")
				.map((line) => JSON.parse(line)),
		).toEqual([
			{ line: 1, text: '{"a":1}' },
			{ line: 2, text: '{"b":2}' },
		]);
		expect(checked).toEqual(['{"a":1}\n{"b":2}']);
		const tooLarge = await server.fetch("/api/v1/import", {
			method: "POST",
			body: "x".repeat(2 * REST_LIMITS.publicBodyBytesMax + 1),
		});
		expect(await codeOf(tooLarge)).toEqual([413, "PAYLOAD_TOO_LARGE"]);
		expect(checked).toHaveLength(1);
	});
});

describe("header fields", () => {
	const push = (headers: Record<string, string>, body = "") =>
		server.fetch("/api/v1/hooks", { method: "POST", headers, body });

	test("a header is an input field, and a number where the operation wants one", async () => {
		const answer = await push({ "webhook-signature": "v1,abc", "Webhook-Time": "17" }, "{}");
		expect(await answer.json()).toEqual({ signature: "v1,abc", time: 17, length: 2, start: "{}" });
	});

	test("an absent header is an absent field", async () => {
		expect(await (await push({ "webhook-signature": "v1" })).json()).toEqual({ signature: "v1", length: 0, start: "" });
		expect(await codeOf(await push({}))).toEqual([400, "VALIDATION_FAILED"]);
	});

	test("a body can't stand in for a header", async () => {
		for (const headers of [{}, { "webhook-signature": "v1" }]) {
			const body = '{"signature":"forged"}';
			const answer = await server.fetch("/api/v1/hooks", { method: "PUT", body, headers: { ...headers } });
			expect(await answer.json()).toMatchObject({ code: "VALIDATION_FAILED", details: { field: "signature" } });
		}
	});
});

describe("bodies taken as text", () => {
	const push = (body: string | Uint8Array<ArrayBuffer>, type = "application/octet-stream") =>
		server.fetch("/api/v1/hooks", {
			method: "POST",
			body,
			headers: { "webhook-signature": "s", "content-type": type },
		});

	test.each(["application/json", "text/plain; charset=latin1", "application/octet-stream", "nonsense"])(
		"a body of type %s comes as it is",
		async (type) => {
			expect(await (await push('{"a": 1}\n', type)).json()).toMatchObject({ start: '{"a": 1}\n' });
		},
	);

	test("no character is left out, a byte order mark included", async () => {
		expect(await (await push("\uFEFF{}")).json()).toMatchObject({ length: 3 });
	});

	test("what is no UTF-8 is refused", async () => {
		const answer = await push(new Uint8Array([0x61, 0xff]));
		expect(await answer.json()).toMatchObject({ code: "VALIDATION_FAILED", details: { field: "body" } });
	});

	test("a mebibyte is taken, a byte more is not, though other bodies may be larger", async () => {
		expect((await push("x".repeat(REST_LIMITS.textBodyBytesMax))).status).toBe(200);
		expect(await codeOf(await push("x".repeat(REST_LIMITS.textBodyBytesMax + 1)))).toEqual([413, "PAYLOAD_TOO_LARGE"]);
	});
});

test("who shows no key can't have large bodies read", async () => {
	const body = JSON.stringify({ a: "x".repeat(REST_LIMITS.publicBodyBytesMax) });
	expect(await codeOf(await server.fetch("/api/v1/check", { method: "POST", body }))).toEqual([
		413,
		"PAYLOAD_TOO_LARGE",
	]);
	expect((await server.fetch("/api/v1/check", { method: "POST", body: "{}" })).status).toBe(200);
	expect((await server.fetch("/api/v1/things/a", { method: "PUT", body })).status).toBe(200);
});

describe("the client's address", () => {
	const where = operation("caller.get", { method: "GET", path: "/caller" }, anything, (_, request) => ({
		address: request.remoteAddress,
	}));
	const addressAt = async (trustedProxies: readonly string[], forwardedFor: string) => {
		const proxied = startServer([where], { trustedProxies });
		const answer = await proxied.fetch("/api/v1/caller", { headers: { "x-forwarded-for": forwardedFor } });
		await proxied.server.stop();
		return ((await answer.json()) as { address: string }).address;
	};

	test("is a proxy's word for it where the proxy is trusted, and the connection's own elsewhere", async () => {
		expect(await addressAt(["127.0.0.0/8"], "198.51.100.1, 203.0.113.7")).toBe("203.0.113.7");
		expect(await addressAt(["10.0.0.0/8"], "203.0.113.7")).toBe("127.0.0.1");
		expect(await addressAt([], "203.0.113.7")).toBe("127.0.0.1");
	});
});

test("a declared length over the limit is refused in whatever form the body was to come", async () => {
	const answer = await rawAnswer(
		server.port,
		`POST /api/v1/hooks HTTP/1.1\r\nWebhook-Signature: s\r\nContent-Length: ${20 * MAX_BODY_BYTES}`,
	);
	expect(statusOf(answer)).toBe(413);
});
