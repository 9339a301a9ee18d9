import { expect, test } from "bun:test";
import { isForeignPage } from "../../src/api/rest/page-origin.ts";

const HERE = "127.0.0.1:7801";

test.each([
	["a program on this machine", { host: HERE }, false, false],
	["the node's own page", { host: HERE, origin: `http://${HERE}` }, false, false],
	["another name of this machine", { host: "LocalHost:7801" }, false, false],
	["IPv6", { host: "[::1]:7801", origin: "http://[::1]:7801" }, false, false],
	["no port", { host: "localhost" }, false, false],
	["another page", { host: HERE, origin: "https://example.com" }, true, true],
	["a page on another port", { host: HERE, origin: "http://127.0.0.1:3000" }, true, true],
	["a page without an origin to show", { host: HERE, origin: "null" }, true, true],
	["an extension", { host: HERE, origin: `chrome-extension://${HERE}` }, true, true],
	["a page whose name leads here", { host: "example.com:7801", origin: "http://example.com:7801" }, true, false],
	["a read of such a page", { host: "example.com:7801" }, true, false],
	["a name that only begins like this machine's", { host: "127.0.0.1.example.com" }, true, false],
] as const)(
	"%s: foreign where only this machine may come, and where others may",
	(_, headers, onLoopback, elsewhere) => {
		const nobody = () => false;
		expect(isForeignPage(new Headers(headers), true, nobody)).toBe(onLoopback);
		expect(isForeignPage(new Headers(headers), false, nobody)).toBe(elsewhere);
	},
);

test("a page of an invited origin is not foreign, one of another is", () => {
	const isInvited = (origin: string) => origin === "https://app.example.com";
	const ask = (origin: string) => isForeignPage(new Headers({ host: HERE, origin }), true, isInvited);
	expect([ask("https://app.example.com"), ask("https://app.example.com.evil.com"), ask("null")]).toEqual([
		false,
		true,
		true,
	]);
});
