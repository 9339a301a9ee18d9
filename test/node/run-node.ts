/** A node in a process of its own, stopped by signals: prints its URL once it takes requests. */
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/ids.ts";
import { startNode } from "../../src/node/node.ts";
import { loadSettings } from "../../src/node/settings.ts";
import { stopOnSignals } from "../../src/node/shutdown-signals.ts";
import { createLog } from "../../src/observe/log.ts";

const log = await createLog({
	level: "warn",
	format: "json",
	colors: false,
	write: (line) => process.stderr.write(line),
});
const settings = loadSettings({ folder: process.cwd(), env: {}, flags: { "data-dir": process.argv[2], port: 0 } });
const node = await startNode(settings, { clock: systemClock, random: systemRandom, log, version: "0.0.0" });
stopOnSignals(
	process,
	() => node.stop(),
	(err) => log.error({ err }, "the node did not stop cleanly"),
);
console.log(node.url);
