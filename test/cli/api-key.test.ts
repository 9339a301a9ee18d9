import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type ApiKeySources, findApiKey, isLoopback } from "../../commands/shared/api-key.ts";
import { parseUrl } from "../../commands/shared/node-command.ts";

describe("the key a command uses", () => {
	let folder = "";
	beforeAll(() => {
		folder = mkdtempSync(join(tmpdir(), "hive-key-"));
		writeFileSync(join(folder, "admin.key"), "admin-key\n");
		writeFileSync(join(folder, "other.txt"), "  file-key\n\n");
		writeFileSync(join(folder, "two-lines.txt"), "one\r\nX-Tenant-ID: other\n");
	});
	afterAll(() => rmSync(folder, { recursive: true, force: true }));

	const find = async (sources: Partial<ApiKeySources>) => {
		const warnings: string[] = [];
		const key = await findApiKey({
			flag: undefined,
			environment: undefined,
			dataDir: undefined,
			readStdin: async () => "stdin-key\n",
			warn: (message) => void warnings.push(message),
			...sources,
		});
		return { key, warnings };
	};

	test("the flag comes before the environment, that before the node's admin.key", async () => {
		const all = { flag: `@${join(folder, "other.txt")}`, environment: "env-key", dataDir: folder };
		expect((await find(all)).key).toBe("file-key");
		expect((await find({ ...all, flag: undefined })).key).toBe("env-key");
		expect((await find({ dataDir: folder })).key).toBe("admin-key");
		expect((await find({ environment: "", dataDir: folder })).key).toBe("admin-key");
		expect((await find({})).key).toBeUndefined();
		expect((await find({ dataDir: join(folder, "nowhere") })).key).toBeUndefined();
	});

	test("a dash reads the key from stdin", async () => {
		expect(await find({ flag: "-" })).toEqual({ key: "stdin-key", warnings: [] });
	});

	test("a key on the command line works, with a warning that ps shows it", async () => {
		const { key, warnings } = await find({ flag: "literal-key" });
		expect(key).toBe("literal-key");
		expect(warnings.join()).toContain("ps");
		expect(warnings.join()).not.toContain("literal-key");
	});

	test("a key with a line break never becomes a header", async () => {
		expect(find({ flag: `@${join(folder, "two-lines.txt")}` })).rejects.toThrow(/holds no key/);
		expect(find({ environment: "a\nb" })).rejects.toThrow(/HIVE_VECTOR_API_KEY holds no key/);
		expect(find({ flag: "-", readStdin: async () => "" })).rejects.toThrow(/stdin holds no key/);
	});

	test("a key file that can't be read is named", async () => {
		expect(find({ flag: "@/nowhere/key" })).rejects.toThrow(/\/nowhere\/key can't be read \(ENOENT\)/);
	});

	test("only addresses of this machine count as local", () => {
		const local = (text: string) => isLoopback(new URL(text));
		expect(["http://127.0.0.1:7801", "http://127.8.9.1", "http://localhost", "http://[::1]:1"].map(local)).toEqual([
			true,
			true,
			true,
			true,
		]);
		expect(["http://10.0.0.1", "http://127.0.0.1.example.com", "http://localhost.example.com"].map(local)).toEqual([
			false,
			false,
			false,
		]);
	});

	test("an address is http or https, and holds no password", () => {
		expect(parseUrl("https://hive.example:7801/base/?x=1#y").href).toBe("https://hive.example:7801/base/");
		expect(() => parseUrl("127.0.0.1:7801")).toThrow(/not an address/);
		expect(() => parseUrl("ftp://x")).toThrow(/not an address/);
		expect(() => parseUrl("http://user:pass@x")).toThrow(/password/);
	});
});
