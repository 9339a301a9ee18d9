import { describe, expect, test } from "bun:test";
import { contentDigestCheck } from "../../src/access/content-digest.ts";
import { errorOf } from "./access-fixture.ts";
import { digestOf } from "./signing-fixture.ts";

const BODY = '{"hello": "world"}';
const passes = (header: string, body = BODY): void => contentDigestCheck(header)(Buffer.from(body));

describe("a content digest", () => {
	test("is that of RFC 9530", () => {
		// Appendix B of RFC 9421 and B.2 of RFC 9530.
		passes("sha-512=:WZDPaVn/7XgHaAy8pmojAkGWoRx2UFChF41A2svX+TaPm+AbwAgBWnrIiYllu7BNNyealdVLvRwEmTHWXvJwew==:");
		passes("sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:");
	});

	test("may use either algorithm or both, beside others that are passed over", () => {
		passes(`${digestOf(BODY)}, ${digestOf(BODY, "sha-512")}`);
		passes(`md5=:AAAA:, ${digestOf(BODY)}, crc32c=7`);
	});

	test("must match in every algorithm that is known", async () => {
		for (const header of [
			digestOf("other"),
			digestOf("other", "sha-512"),
			`${digestOf(BODY)}, ${digestOf("other", "sha-512")}`,
			`${digestOf("other")}, ${digestOf(BODY, "sha-512")}`,
			"sha-256=::",
			"sha-256=:AAAA:",
		]) {
			const check = contentDigestCheck(header);
			const error = await errorOf(() => check(Buffer.from(BODY)));
			expect([error.code, error.details]).toEqual(["AUTH_SIGNATURE_INVALID", { field: "Content-Digest" }]);
		}
	});

	test.each([
		"",
		"md5=:AAAA:",
		"sha-256",
		"sha-256=7",
		'sha-256="AAAA"',
		"sha-256=(:AAAA:)",
		"((",
		`a=1, ${"x".repeat(2_000)}`,
	])("%j is none", async (header) => {
		expect((await errorOf(() => contentDigestCheck(header))).code).toBe("AUTH_SIGNATURE_INVALID");
	});
});
