import { afterAll, expect, test } from "bun:test";
import { join } from "node:path";
import { ConformanceSurface } from "./conformance-surface.ts";
import { ERAS } from "./mcp-rig.ts";
import { StubPipeline, startMcp } from "./stub-caller.ts";

const server = startMcp(new StubPipeline(), {
	surface: async () => new ConformanceSurface(),
	maxConcurrentRequestsPerTenant: 100,
});
afterAll(() => server.server.stop());

const ROOT = join(import.meta.dir, "../..");

test.each(ERAS)(
	"the official conformance suite passes for %s, but for what is listed",
	async (revision) => {
		const suite = Bun.spawn(
			[
				process.execPath,
				join(ROOT, "node_modules/.bin/conformance"),
				"server",
				...["--url", `${server.url}/mcp`, "--requirements", revision],
				...["--expected-failures", join(import.meta.dir, `conformance-${revision}.yml`)],
			],
			{ stdout: "pipe", stderr: "pipe" },
		);
		const [output, errors] = await Promise.all([new Response(suite.stdout).text(), new Response(suite.stderr).text()]);
		const end = output.slice(output.indexOf("=== SUMMARY"));
		expect([await suite.exited, end.length > 0 ? "" : errors, (await suite.exited) === 0 ? "" : end]).toEqual([
			0,
			"",
			"",
		]);
	},
	120_000,
);
