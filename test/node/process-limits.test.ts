import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openShardsPerWorker, readProcessLimits } from "../../src/node/process-limits.ts";

test("the limit of open files is the system's, or the usual one where it can't be told", () => {
	const folder = mkdtempSync(join(tmpdir(), "hive-limits-"));
	const read = (text: string): number => {
		writeFileSync(join(folder, "limits"), text);
		return readProcessLimits(join(folder, "limits")).openFilesMax;
	};
	expect(read("Limit  Soft\nMax open files            20000                524288               files\n")).toBe(20_000);
	expect(read("Max open files            unlimited            unlimited            files\n")).toBe(1_000_000);
	expect(read("nothing known\n")).toBe(1_024);
	expect(readProcessLimits(join(folder, "none")).openFilesMax).toBe(1_024);
	expect(readProcessLimits().memoryBytes).toBeGreaterThan(0);
	rmSync(folder, { recursive: true });
});

test("shards leave a quarter of the files to the rest, and every worker can hold a few", () => {
	expect(openShardsPerWorker(1_024, 2)).toBe(48);
	expect(openShardsPerWorker(64, 8)).toBe(4);
	expect(openShardsPerWorker(10_000_000, 1)).toBe(4_096);
});
