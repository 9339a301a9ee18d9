import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ClientAddress } from "../../src/access/client-address.ts";

const addresses = new ClientAddress(["10.0.0.0/8", "2001:db8:ffff::/48", "::1"]);

describe("the client", () => {
	test.each<[string, string, string | null, string]>([
		["is the peer where nothing was forwarded", "10.0.0.1", null, "10.0.0.1"],
		["is the peer when it is no trusted proxy, whatever it says", "203.0.113.9", "198.51.100.1", "203.0.113.9"],
		["is whom a trusted proxy heard from", "10.0.0.1", "198.51.100.1", "198.51.100.1"],
		["is not what that one says of itself", "10.0.0.1", "127.0.0.1, 198.51.100.1", "198.51.100.1"],
		["is found behind several trusted proxies", "10.0.0.1", "1.1.1.1, 198.51.100.1, 10.9.9.9,10.0.0.2", "198.51.100.1"],
		["is the farthest proxy when there are only trusted ones", "10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"],
		["is the last one known before garbage", "10.0.0.1", "198.51.100.1, unknown, 10.0.0.2", "10.0.0.2"],
		["is the proxy when it says garbage", "10.0.0.1", "198.51.100.1, _hidden", "10.0.0.1"],
		["is the proxy when it says nothing", "10.0.0.1", "", "10.0.0.1"],
		["is the proxy when it says nothing at the end", "10.0.0.1", "198.51.100.1, ", "10.0.0.1"],
		["is the last one known before nothing", "10.0.0.1", ",10.0.0.2", "10.0.0.2"],
		["is no network", "10.0.0.1", "198.51.100.0/24", "10.0.0.1"],
		["is no short or octal address", "10.0.0.1", "0177.0.0.1", "10.0.0.1"],
		["may come with a port", "10.0.0.1", "198.51.100.1:4711, 10.0.0.2:80", "198.51.100.1"],
		["may be IPv6", "::1", "2001:db8::5, 2001:db8:ffff::2", "2001:db8::5"],
		["may be IPv6 with a port", "::1", "[2001:db8::5]:4711", "2001:db8::5"],
		["may be IPv6 in brackets", "::1", "[2001:db8::5]", "2001:db8::5"],
		["is IPv4 when it is mapped into IPv6", "::ffff:198.51.100.1", null, "198.51.100.1"],
		["is found behind a proxy that is mapped", "::ffff:10.0.0.1", "::ffff:198.51.100.1", "198.51.100.1"],
		["is whoever it is where the peer is no address", "somewhere", "198.51.100.1", "somewhere"],
	])("%s", (_, peer, forwardedFor, client) => {
		expect(addresses.of(peer, forwardedFor)).toBe(client);
	});

	test("is the peer where no proxy is trusted", () => {
		const plain = new ClientAddress([]);
		expect(plain.of("10.0.0.1", "198.51.100.1")).toBe("10.0.0.1");
		expect(plain.of("::ffff:10.0.0.1", null)).toBe("10.0.0.1");
		expect(plain.of("2001:db8::1", null)).toBe("2001:db8::1");
	});

	test("is looked for behind so many proxies and no more", () => {
		const hops = Array.from({ length: 32 }, (_, hop) => `10.0.1.${hop}`);
		expect(addresses.of("10.0.0.1", ["198.51.100.1", ...hops.slice(1)].join(", "))).toBe("198.51.100.1");
		expect(addresses.of("10.0.0.1", ["198.51.100.1", ...hops].join(", "))).toBe("10.0.1.0");
	});

	test("is never changed by what the client itself sent", () => {
		fc.assert(
			fc.property(fc.string({ maxLength: 100 }), (sent) => {
				expect(addresses.of("10.0.0.1", `${sent}, 198.51.100.1, 10.0.0.2`)).toBe("198.51.100.1");
			}),
			{ numRuns: 300 },
		);
	});
});
