import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { EXIT, toFailure } from "../../commands/shared/failure.ts";
import { readNdjson } from "../../commands/shared/ndjson.ts";
import { apiPath, NodeClient } from "../../commands/shared/node-client.ts";

describe("the client of a node", () => {
	let server: ReturnType<typeof Bun.serve>;
	const seen: { method: string; url: string; headers: Record<string, string>; body: string }[] = [];
	beforeAll(() => {
		server = Bun.serve({
			hostname: "127.0.0.1",
			port: 0,
			async fetch(request) {
				const url = new URL(request.url);
				seen.push({
					method: request.method,
					url: url.pathname + url.search,
					headers: Object.fromEntries(request.headers),
					body: await request.text(),
				});
				if (url.pathname.endsWith("/redirect")) return Response.redirect("http://127.0.0.1:1/", 307);
				if (url.pathname.endsWith("/html")) return new Response("<html>", { headers: { "content-type": "text/html" } });
				if (url.pathname.endsWith("/proxy")) return new Response("<html>", { status: 502 });
				if (url.pathname.endsWith("/empty")) return new Response(null, { status: 204 });
				if (url.pathname.endsWith("/never")) return await new Promise<Response>(() => {});
				return Response.json({ ok: true });
			},
		});
	});
	afterAll(() => server.stop(true));

	const client = (more: { path?: string; timeoutMs?: number } = {}) =>
		new NodeClient({
			url: new URL(more.path ?? "/", server.url),
			apiKey: "the-key",
			tenant: "acme",
			timeoutMs: more.timeoutMs ?? 5_000,
			userAgent: "test/1",
		});
	const failureOf = async (call: Promise<unknown>) => toFailure(await call.catch((error: unknown) => error));

	test("a call carries key, tenant, query and JSON, under the address's own path", async () => {
		expect(
			await client({ path: "/base/" }).call<unknown>("POST", apiPath`/tenants/${"a b"}/keys`, {
				query: { a: 1, b: undefined },
				body: { x: 1 },
			}),
		).toEqual({ ok: true });
		expect(seen.at(-1)).toMatchObject({
			method: "POST",
			url: "/base/api/v1/tenants/a%20b/keys?a=1",
			headers: {
				authorization: "Bearer the-key",
				"x-tenant-id": "acme",
				"content-type": "application/json",
				"user-agent": "test/1",
			},
			body: '{"x":1}',
		});
	});

	test("a name stays one segment of the path, whatever it holds", () => {
		expect(apiPath`/collections/${"../../tenants/system"}/vectors/${7}`).toBe(
			"/collections/..%2F..%2Ftenants%2Fsystem/vectors/7",
		);
		for (const name of ["", ".", ".."]) expect(() => apiPath`/collections/${name}`).toThrow(/is not a name/);
	});

	test("an answer without a body is undefined", async () => {
		expect(await client().call("DELETE", "/empty")).toBeUndefined();
	});

	test("a redirect is not followed with the key", async () => {
		expect(await failureOf(client().call("GET", "/redirect"))).toMatchObject({
			code: "HTTP_307",
			exitCode: EXIT.failed,
		});
	});

	test("an answer that isn't JSON is not a node's", async () => {
		expect(await failureOf(client().call("GET", "/html"))).toMatchObject({ code: "NOT_A_NODE", exitCode: EXIT.failed });
		expect(await failureOf(client().call("GET", "/proxy"))).toMatchObject({
			code: "HTTP_502",
			exitCode: EXIT.unreachable,
		});
	});

	test("a node that doesn't answer in time, or at all, is unreachable", async () => {
		expect(await failureOf(client({ timeoutMs: 50 }).call("GET", "/never"))).toMatchObject({
			code: "UNREACHABLE",
			exitCode: EXIT.unreachable,
		});
		const nobody = new NodeClient({
			url: new URL("http://127.0.0.1:1"),
			apiKey: undefined,
			tenant: undefined,
			timeoutMs: 5_000,
			userAgent: "test/1",
		});
		expect(await failureOf(nobody.call("GET", "/x"))).toMatchObject({
			code: "UNREACHABLE",
			exitCode: EXIT.unreachable,
		});
	});

	test("the probes show status, body and the node's clock", async () => {
		const probe = await client().probe("/health");
		expect(probe).toMatchObject({ status: 200, body: { ok: true } });
		expect(Date.parse(probe.date ?? "")).toBeGreaterThan(0);
	});

	test("NDJSON comes line by line however it was cut", async () => {
		const text = '{"a":"ä"}\n\n{"b":2}\n{"c":3}';
		const bytes = new TextEncoder().encode(text);
		const stream = new ReadableStream<Uint8Array>({
			start(controller) {
				for (const byte of bytes) controller.enqueue(Uint8Array.of(byte));
				controller.close();
			},
		});
		expect(await Array.fromAsync(readNdjson(stream))).toEqual([{ a: "ä" }, { b: 2 }, { c: 3 }]);
	});
});
