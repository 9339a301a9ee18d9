import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { COMMANDS } from "../../commands/command-table.ts";
import { builtBinary, User } from "./binary.ts";

describe("completion scripts", () => {
	const user = new User();
	beforeAll(async () => void (await builtBinary()), 120_000);
	afterAll(() => user.leave());

	/** What bash would offer for a line whose last word is being typed. */
	async function offered(script: string, ...words: readonly string[]): Promise<string[]> {
		const ask = `${script}
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _hive_vector_complete; printf '%s\\n' "\${COMPREPLY[@]}"`;
		const shell = Bun.spawn(["bash", "-c", ask, "bash", "hive-vector", ...words], {
			cwd: user.folder,
			stdout: "pipe",
			stderr: "pipe",
		});
		expect(await new Response(shell.stderr).text()).toBe("");
		return (await new Response(shell.stdout).text()).trimEnd().split("\n").sort();
	}

	test("bash completes topics, commands, flags and the values of flags", async () => {
		const { code, stdout: script } = await user.run(["completion", "bash"]);
		expect(code).toBe(0);
		expect(await offered(script, "")).toEqual(
			[...new Set(Object.keys(COMMANDS).map((id) => id.split(":")[0]!))].sort(),
		);
		expect(await offered(script, "co")).toEqual(["collection", "completion", "config"]);
		expect(await offered(script, "tenant", "s")).toEqual(["show", "suspend"]);
		expect(await offered(script, "tenant", "create", "acme", "--max-")).toEqual([
			"--max-collections",
			"--max-storage",
			"--max-vectors",
		]);
		expect(await offered(script, "key", "create", "acme", "--permission", "READ")).toEqual(["READ_ONLY", "READ_WRITE"]);
		expect(await offered(script, "completion", "")).toEqual(expect.arrayContaining(["bash", "fish", "zsh"]));
		// A name that is also a command's, as an argument.
		expect(await offered(script, "search", "key", "--vec")).toEqual(["--vector", "--vector-file"]);
		await Bun.write(`${user.folder}/docs.ndjson`, "");
		expect(await offered(script, "import", "docs", "docs.nd")).toEqual(["docs.ndjson"]);
	});

	test("zsh and fish get the same words", async () => {
		const zsh = (await user.run(["completion", "zsh"])).stdout;
		expect(zsh).toStartWith("#compdef hive-vector\n");
		const fish = (await user.run(["completion", "fish"])).stdout;
		for (const id of Object.keys(COMMANDS)) {
			const last = id.split(":").at(-1)!;
			expect(zsh).toContain(last);
			expect(fish).toContain(` -a ${last} `);
		}
		expect(fish).toMatch(
			/__fish_seen_subcommand_from key; and __fish_seen_subcommand_from create' -l permission -s p -r -f -a/,
		);
		expect(JSON.parse((await user.run(["completion", "fish", "--json"])).stdout)).toEqual({
			shell: "fish",
			script: fish,
		});
	});
});
