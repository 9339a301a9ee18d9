import { describe, expect, test } from "bun:test";
import {
	judgeClock,
	judgeCluster,
	judgeCollections,
	judgeDisk,
	judgeOpenFiles,
	judgeSecretMode,
} from "../../commands/shared/health-check.ts";

const GIB = 2 ** 30;

describe("what doctor makes of what it finds", () => {
	test("little room is a warning, none a failure", () => {
		const state = (free: number, total: number) => judgeDisk(free, total, String).state;
		expect(state(50 * GIB, 100 * GIB)).toBe("ok");
		expect(state(3 * GIB, 100 * GIB)).toBe("warn");
		expect(state(GIB / 2, 2 * GIB)).toBe("warn");
		expect(state(1, 100 * GIB)).toBe("fail");
		expect(state(0, 0)).toBe("fail");
	});

	test("too few open files are named with a remedy", () => {
		expect(judgeOpenFiles(65_536).state).toBe("ok");
		expect(judgeOpenFiles(Number.POSITIVE_INFINITY).state).toBe("ok");
		expect(judgeOpenFiles(1_024)).toMatchObject({ state: "warn", advice: expect.stringContaining("ulimit -n 65536") });
		expect(judgeOpenFiles(64).state).toBe("fail");
	});

	test("a second's rounding and a slow answer are no clock skew", () => {
		const now = 1_700_000_000_000;
		expect(judgeClock(now, now + 999, 10).state).toBe("ok");
		expect(judgeClock(now, now + 5_000, 6_000).state).toBe("ok");
		expect(judgeClock(now, now + 10_000, 10)).toMatchObject({
			state: "warn",
			detail: expect.stringContaining("behind"),
		});
		expect(judgeClock(now + 90_000, now, 10)).toMatchObject({
			state: "fail",
			detail: expect.stringContaining("ahead"),
		});
	});

	test("what is wrong with the cluster is a warning in its own words, and so are nodes of two versions", () => {
		expect(judgeCluster([], ["1.0.0"])).toEqual({ check: "cluster", state: "ok", detail: "1 node, healthy" });
		expect(judgeCluster([], ["1.0.0", "1.0.0"]).detail).toBe("2 nodes, healthy");
		expect(judgeCluster([], ["1.1.0", "1.0.0", "1.1.0"])).toMatchObject({
			state: "warn",
			detail: "nodes run versions 1.0.0 and 1.1.0",
		});
		expect(judgeCluster(["node_b is down", "the hub does not answer"], ["1.0.0", "1.1.0"])).toMatchObject({
			state: "warn",
			detail: "node_b is down; the hub does not answer",
		});
	});

	test("a key file that others can read is a warning", () => {
		expect(judgeSecretMode("admin key file", "admin.key", 0o100600).state).toBe("ok");
		expect(judgeSecretMode("admin key file", "admin.key", 0o100644)).toMatchObject({
			state: "warn",
			advice: expect.stringContaining("chmod 600"),
		});
	});

	test("a damaged collection is a failure that names it, and tenants left out are counted", () => {
		const sound = { full_name: "acme:docs", index_state: "hnsw" };
		expect(judgeCollections([sound, sound], 0)).toMatchObject({ state: "ok", detail: "2 can be used" });
		expect(
			judgeCollections([sound, { full_name: "acme:old", index_state: "damaged", damage: "no manifest" }], 3),
		).toMatchObject({
			state: "fail",
			detail: "1 of 2 damaged: acme:old (no manifest); 3 tenants were not looked at",
		});
	});
});
