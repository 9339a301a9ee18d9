import { describe, expect, test } from "bun:test";
import { isListenAddress, isPlace, multiaddressOf, parseClusterAddress } from "../../src/base/cluster-address.ts";

describe("an address of a node", () => {
	test.each([
		["/ip4/10.0.0.1/tcp/7802", "10.0.0.1", 7802],
		["/ip6/fd00::1/tcp/1", "fd00::1", 1],
		["/dns4/node1.example.com/tcp/7802", "node1.example.com", 7802],
		["/dns/node1/tcp/65535", "node1", 65535],
		["10.0.0.1:7802", "10.0.0.1", 7802],
		["node-1.example.com:80", "node-1.example.com", 80],
		["[::1]:7802", "::1", 7802],
	])("%s is one place", (text, host, port) => {
		expect(parseClusterAddress(text)).toEqual({ kind: "place", host, port });
		expect(isPlace(text)).toBe(true);
	});

	test("with dns: in front is a group, on the usual port unless told otherwise", () => {
		expect(parseClusterAddress("dns:nodes.default.svc.cluster.local")).toEqual({
			kind: "group",
			name: "nodes.default.svc.cluster.local",
			port: 7802,
		});
		expect(parseClusterAddress("dns:nodes:1234")).toEqual({ kind: "group", name: "nodes", port: 1234 });
		expect(isPlace("dns:nodes")).toBe(false);
	});

	test.each([
		"",
		"node1",
		"10.0.0.1",
		"10.0.0.1:",
		"10.0.0.1:0",
		"10.0.0.1:65536",
		"10.0.0.256:7802",
		"::1:7802",
		"[10.0.0.1]:7802",
		"[::g]:7802",
		"http://node1:7802",
		"-node:7802",
		"a..b:7802",
		"/ip4/node1/tcp/7802",
		"/ip4/10.0.0.1/udp/7802",
		"/ip6/10.0.0.1/tcp/7802",
		"/dns4/10.0.0.1/tcp/7802",
		"/ip4/10.0.0.1/tcp/7802/p2p/12D3",
		"dns:",
		"dns:10.0.0.1",
		"dns:nodes:0",
		`dns:${"a.".repeat(200)}b`,
	])("%p is none", (text) => expect(parseClusterAddress(text)).toBeUndefined());

	test("to listen at is an IP address, its port free to choose", () => {
		for (const text of ["/ip4/0.0.0.0/tcp/7802", "/ip6/::/tcp/0"]) expect(isListenAddress(text)).toBe(true);
		for (const text of ["/dns4/node1/tcp/7802", "0.0.0.0:7802", "/ip4/0.0.0.0/tcp/70000"]) {
			expect(isListenAddress(text)).toBe(false);
		}
	});

	test("is dialled by its family, or by name", () => {
		expect(multiaddressOf("10.0.0.1", 1)).toBe("/ip4/10.0.0.1/tcp/1");
		expect(multiaddressOf("::1", 2)).toBe("/ip6/::1/tcp/2");
		expect(multiaddressOf("node1", 3)).toBe("/dns/node1/tcp/3");
	});
});
