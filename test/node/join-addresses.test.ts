import { describe, expect, test } from "bun:test";
import { joinAddresses, systemResolve } from "../../src/node/join-addresses.ts";

describe("whom to ask for being let in", () => {
	test("groups are looked up anew each time, and one that can't be is left out", async () => {
		const answers = [["10.0.0.1", "fd00::1"], ["10.0.0.2"]];
		const failures: string[] = [];
		const resolve = async (name: string) => {
			if (name === "gone") throw new Error("ENOTFOUND");
			return answers.shift()!;
		};
		const ask = () => joinAddresses(["dns:nodes", "dns:gone", "10.0.0.1:7802"], resolve, (name) => failures.push(name));
		expect(await ask()).toEqual(["/ip4/10.0.0.1/tcp/7802", "/ip6/fd00::1/tcp/7802"]);
		expect(await ask()).toEqual(["/ip4/10.0.0.2/tcp/7802", "/ip4/10.0.0.1/tcp/7802"]);
		expect(failures).toEqual(["gone", "gone"]);
	});

	test("a group of very many is cut to some", async () => {
		const many = Array.from({ length: 1_000 }, (_, index) => `10.0.${index >> 8}.${index & 255}`);
		expect(
			await joinAddresses(
				["dns:nodes"],
				async () => many,
				() => {},
			),
		).toHaveLength(64);
	});

	test("names are looked up as the system does", async () => {
		expect((await systemResolve("localhost")).some((address) => address === "127.0.0.1" || address === "::1")).toBe(
			true,
		);
	});
});
