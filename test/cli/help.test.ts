import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { COMMANDS, TOPICS } from "../../commands/command-table.ts";
import packageJson from "../../package.json" with { type: "json" };
import { builtBinary, User } from "./binary.ts";

describe("help and usage of the binary", () => {
	const user = new User();
	beforeAll(async () => void (await builtBinary()), 120_000);
	afterAll(() => user.leave());

	test.each(Object.keys(COMMANDS))("%s explains itself, with an example", async (id) => {
		const words = id.split(":");
		const { code, stdout, stderr } = await user.run([...words, "--help"]);
		expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
		expect(stdout).toContain(`$ hive-vector ${words.join(" ")}`);
		expect(stdout).toContain("EXAMPLES");
		expect(stdout).not.toContain("\u001b");
		// What the help's own templates and the minifier would leave behind.
		expect(stdout).not.toMatch(/<%|undefined|\[object/);
	});

	test("the bare command, --help, -h and help list every topic and command", async () => {
		for (const args of [[], ["--help"], ["-h"], ["help"]]) {
			const { code, stdout } = await user.run(args);
			expect(code).toBe(0);
			for (const topic of Object.keys(TOPICS)) expect(stdout).toContain(`  ${topic} `);
			for (const id of Object.keys(COMMANDS)) if (!id.includes(":")) expect(stdout).toContain(`  ${id} `);
		}
		expect((await user.run(["help", "tenant", "create"])).stdout).toContain("hive-vector tenant create TENANT");
		expect((await user.run(["key"])).stdout).toContain("key rotate");
	});

	test("the version is the package's", async () => {
		for (const args of [["--version"], ["-v"], ["version"]]) {
			const { code, stdout } = await user.run(args);
			expect(code).toBe(0);
			expect(stdout).toStartWith(`hive-vector ${packageJson.version} `);
		}
	});

	test.each([
		["no such command", ["tenants"], /there is no command "tenants"/],
		["no such command of a topic", ["tenant", "crate"], /there is no command "tenant crate"/],
		["an unknown flag", ["tenant", "list", "--colour"], /--colour/],
		["a missing argument", ["tenant", "create"], /tenant/],
		["an argument too many", ["tenant", "show", "a", "b"], /b/],
		["a missing flag", ["collection", "create", "docs"], /dimension/],
		["a value outside its set", ["collection", "create", "docs", "-d", "3", "--metric", "manhattan"], /manhattan/],
		["no number", ["collection", "create", "docs", "-d", "three"], /three/],
		["a size without sense", ["quota", "set", "acme", "--max-storage", "ten"], /"ten" is not a size/],
		["a duration without a unit", ["key", "rotate", "acme", "key_1", "--grace", "7"], /"7" is not a duration/],
		["an expiry in the past", ["key", "create", "acme", "--expires", "2001-01-01"], /has passed/],
		["an expiry that is none", ["key", "create", "acme", "--expires", "soon"], /neither a duration/],
		["nothing to change", ["tenant", "update", "acme"], /nothing to change/],
		["no quota", ["quota", "set", "acme"], /no quota was named/],
		["two queries", ["search", "docs", "--id", "1", "--vector", "[1]"], /one of --vector-file/],
		["a vector that is none", ["search", "docs", "--vector", '"x"'], /JSON array/],
		["a filter that isn't JSON", ["search", "docs", "--id", "1", "--filter", "{"], /--filter is not valid JSON/],
		["a threshold that is no number", ["search", "docs", "--id", "1", "--score-threshold", "x"], /not a number/],
		["a file that isn't there", ["import", "docs", "nowhere.ndjson"], /nowhere.ndjson can't be read \(ENOENT\)/],
		["a folder for a file", ["import", "docs", "."], /is a folder/],
		["--create without a dimension", ["import", "docs", "-", "--create"], /dimension/],
		["a name that would leave its path", ["collection", "show", ".."], /is not a name/],
		["an address that is none", ["tenant", "list", "--url", "here"], /not an address/],
		["stdin for two", ["import", "docs", "-", "--api-key", "-"], /can't both read stdin/],
		[
			"a key on the command line of key validate",
			["key", "validate", "--api-key", "hh_live_x"],
			/not taken from the command line/,
		],
		["a shell nobody knows", ["completion", "tcsh"], /tcsh/],
		["a port that is none", ["serve", "--port", "99999"], /--port: server.port: expected/],
	] as const)("%s is wrong usage: exit code 2, nothing on stdout", async (_, args, message) => {
		const { code, stdout, stderr } = await user.run(args);
		expect({ code, stdout }).toEqual({ code: 2, stdout: "" });
		expect(stderr).toStartWith("error: ");
		expect(stderr).toMatch(message);
		expect(stderr).not.toContain("    at ");
	});

	test("under --json a failure is one JSON line on stdout, and the exit code is the same", async () => {
		const { code, stdout } = await user.run(["quota", "set", "acme", "--json"]);
		expect(code).toBe(2);
		expect(JSON.parse(stdout)).toEqual({ error: "no quota was named", code: "USAGE", exit_code: 2 });
		const vectors = await user.run(["export", "docs", "--json"]);
		expect(JSON.parse(vectors.stdout)).toMatchObject({ error: expect.stringContaining("need a file"), exit_code: 2 });
		// Behind `--` it is an argument.
		expect((await user.run(["tenant", "show", "--", "--json", "x"])).stdout).toBe("");
	});
});
