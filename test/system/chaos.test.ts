import { expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import { ABSENT, DocumentHistory, stateOf } from "../../scripts/chaos-parts/history.ts";
import { absentService } from "../hub/absent-service.ts";

setDefaultTimeout(600_000);

const ROOT = join(import.meta.dir, "..", "..");
/** What scripts/chaos does once everything is built. */
const IN_NAMESPACES = "mkdir -p /run/netns && mount -t tmpfs tmpfs /run/netns && ip link set lo up && exec";
const UNSHARE = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"];

const isPossible = Bun.spawnSync([...UNSHARE, "bash", "-c", `${IN_NAMESPACES} test -c /dev/net/tun`]).exitCode === 0;
if (!isPossible) absentService("network namespaces can't be made here");

test.skipIf(!isPossible)("three nodes keep their promises through every kind of fault", async () => {
	const command = `${IN_NAMESPACES} "$0" scripts/chaos.ts --seed 1 --minutes 0.8`;
	const run = Bun.spawn([...UNSHARE, "bash", "-c", command, process.execPath], {
		cwd: ROOT,
		stdout: "pipe",
		stderr: "pipe",
	});
	const [output, errors] = await Promise.all([new Response(run.stdout).text(), new Response(run.stderr).text()]);
	expect(await run.exited, `${output}\n${errors}`).toBe(0);
	expect(output).toContain('"violations":0');
});

test("what was acknowledged and is not there, or is back, would be seen", () => {
	const history = new DocumentHistory();
	expect(history.allows(ABSENT)).toBe(true);
	history.acknowledged(stateOf(1, 0));
	history.acknowledged(stateOf(2, 0));
	expect([stateOf(2, 0), stateOf(1, 0), ABSENT].map((seen) => history.allows(seen))).toEqual([true, false, false]);
	history.acknowledged(ABSENT);
	expect([ABSENT, stateOf(2, 0)].map((seen) => history.allows(seen))).toEqual([true, false]);
	// Nobody knows what became of it: both may be, now and later, and nothing else.
	history.uncertain(stateOf(3, 0));
	expect([ABSENT, stateOf(3, 0), stateOf(2, 0)].map((seen) => history.allows(seen))).toEqual([true, true, false]);
	history.acknowledged(stateOf(4, 0));
	expect([stateOf(4, 0), stateOf(3, 0), ABSENT].map((seen) => history.allows(seen))).toEqual([true, true, false]);
});
