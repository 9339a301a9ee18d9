import { afterAll, expect, test } from "bun:test";
import { startServer } from "./rest-harness.ts";

const server = startServer([]);
afterAll(() => server.server.stop());

test("the docs page loads scripts and styles from this server only, none of them inline", async () => {
	const response = await server.fetch("/docs");
	expect(response.headers.get("content-type")).toBe("text/html; charset=utf-8");
	const html = await response.text();
	const addresses = Array.from(html.matchAll(/(?:src|href)="([^"]*)"/g), (match) => match[1]!);
	expect(addresses.filter((address) => !address.startsWith("/") && address !== "data:,")).toEqual([]);
	expect(html).not.toMatch(/<script>|<style|style=|onload=|onclick=/);
	const types: Record<string, string | null> = {};
	for (const address of addresses.filter((each) => each.startsWith("/"))) {
		const found = await server.fetch(address);
		expect(found.status).toBe(200);
		expect((await found.arrayBuffer()).byteLength).toBeGreaterThan(0);
		types[address] = found.headers.get("content-type");
	}
	expect(types).toEqual({
		"/docs/swagger-ui.css": "text/css; charset=utf-8",
		"/docs/swagger-ui-bundle.js": "text/javascript; charset=utf-8",
		"/docs/start.js": "text/javascript; charset=utf-8",
		"/openapi.json": "application/json; charset=utf-8",
	});
});

test("the docs page's policy allows what it needs and nothing from elsewhere", async () => {
	const policy = (await server.fetch("/docs")).headers.get("content-security-policy")!;
	expect(policy).toContain("script-src 'self';");
	expect(policy).toContain("connect-src 'self';");
	expect(policy).not.toContain("unsafe");
	expect(policy).not.toContain("http");
});

test("the docs page's script starts the interface on this server's document and keeps no key", async () => {
	let options: Record<string, unknown> = {};
	const bundle = Object.assign(
		(given: Record<string, unknown>) => {
			options = given;
		},
		{ presets: { apis: [] } },
	);
	new Function("SwaggerUIBundle", await (await server.fetch("/docs/start.js")).text())(bundle);
	expect(options).toMatchObject({ url: "/openapi.json", validatorUrl: null, persistAuthorization: false });
});

test("the pages take no other method", async () => {
	const response = await server.fetch("/docs", { method: "POST" });
	expect([response.status, response.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
});
