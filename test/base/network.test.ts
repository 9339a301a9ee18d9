import { describe, expect, test } from "bun:test";
import { clientNetwork, isNetwork, NetworkList } from "../../src/base/network.ts";

describe("networks", () => {
	test.each(["203.0.113.7", "10.0.0.0/8", "0.0.0.0/0", "2001:db8::/32", "::1", "::/0", "::ffff:10.0.0.0/104"])(
		"%s is a network",
		(text) => {
			expect(isNetwork(text)).toBe(true);
		},
	);

	test.each([
		"",
		"10.0.0.0/33",
		"10.0.0.0/-1",
		"10.0.0.0/",
		"10.0.0/8",
		"010.0.0.1",
		"0x7f.1",
		"2130706433",
		"2001:db8::/129",
		"fe80::1%eth0",
		"::ffff:10.0.0.0/64",
		"example.com",
		"10.0.0.1, 10.0.0.2",
		" 10.0.0.1",
	])("%p is no network", (text) => {
		expect(isNetwork(text)).toBe(false);
	});

	test("an address is held against networks of its own family", () => {
		const list = new NetworkList(["10.0.0.0/8", "2001:db8::/32", "203.0.113.7"]);
		expect(list.includes("10.255.0.1")).toBe(true);
		expect(list.includes("11.0.0.1")).toBe(false);
		expect(list.includes("203.0.113.7")).toBe(true);
		expect(list.includes("203.0.113.8")).toBe(false);
		expect(list.includes("2001:db8:1::5")).toBe(true);
		expect(list.includes("2001:db9::5")).toBe(false);
		expect(list.includes("::a00:1")).toBe(false);
	});

	test("an IPv4 address mapped into IPv6 is the IPv4 address", () => {
		expect(new NetworkList(["10.0.0.0/8"]).includes("::ffff:10.0.0.1")).toBe(true);
		expect(new NetworkList(["::ffff:10.0.0.0/104"]).includes("10.0.0.1")).toBe(true);
		expect(clientNetwork("::ffff:203.0.113.7")).toBe("203.0.113.7");
	});

	test("what is no address is in no network", () => {
		const everything = new NetworkList(["0.0.0.0/0", "::/0"]);
		for (const text of ["", "unknown", "10.0.0.1:80", "[::1]", "10.0.0.1.5"])
			expect(everything.includes(text)).toBe(false);
	});

	test("a link-local address counts without its zone", () => {
		expect(new NetworkList(["fe80::/10"]).includes("fe80::1%eth0")).toBe(true);
	});

	test("the addresses of one /64 are one client", () => {
		expect(clientNetwork("2001:db8:1:2:3:4:5:6")).toBe(clientNetwork("2001:0db8:0001:0002::1"));
		expect(clientNetwork("2001:db8:1:2::1")).not.toBe(clientNetwork("2001:db8:1:3::1"));
		expect(clientNetwork("203.0.113.7")).toBe("203.0.113.7");
		expect(clientNetwork("")).toBe("");
	});
});
