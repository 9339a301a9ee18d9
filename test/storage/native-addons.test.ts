import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadEmbeddedAddon, useNativeFolder } from "../../src/storage/native-addons.ts";

const PREBUILDS = join(import.meta.dir, "../../node_modules/classic-level/prebuilds");
const ADDON = join(PREBUILDS, "linux-x64/classic-level.node");
const sha256Of = (path: string): string => new Bun.CryptoHasher("sha256").update(readFileSync(path)).digest("hex");

describe.skipIf(process.platform !== "linux" || process.arch !== "x64")("native addons of the compiled binary", () => {
	let folder = "";
	beforeEach(() => {
		folder = mkdtempSync(join(tmpdir(), "hive-native-"));
		useNativeFolder(join(folder, "native"));
	});
	afterEach(() => rmSync(folder, { recursive: true, force: true }));

	const sha256 = sha256Of(ADDON);
	const unpacked = (): string => join(folder, "native", `${sha256}.node`);

	test("an addon is unpacked once under its hash, for the owner alone, and loaded", () => {
		expect(loadEmbeddedAddon(ADDON, sha256)).toHaveProperty("db_open");
		expect(readdirSync(join(folder, "native"))).toEqual([`${sha256}.node`]);
		expect(statSync(unpacked()).mode & 0o777).toBe(0o700);
		const { ino } = statSync(unpacked());
		loadEmbeddedAddon(ADDON, sha256);
		expect(statSync(unpacked()).ino).toBe(ino);
	});

	test("a file that was cut short or changed is unpacked anew, never loaded", () => {
		loadEmbeddedAddon(ADDON, sha256);
		rmSync(unpacked());
		writeFileSync(unpacked(), "no addon");
		expect(loadEmbeddedAddon(ADDON, sha256)).toHaveProperty("db_open");
		expect(sha256Of(unpacked())).toBe(sha256);
	});

	test("a folder that can't be written leaves nothing half done", () => {
		writeFileSync(join(folder, "file"), "");
		useNativeFolder(join(folder, "file"));
		expect(() => loadEmbeddedAddon(ADDON, sha256)).toThrow();
		useNativeFolder(join(folder, "native"));
		expect(() => loadEmbeddedAddon(join(folder, "missing"), sha256)).toThrow();
		expect(readdirSync(join(folder, "native"))).toEqual([]);
	});
});
