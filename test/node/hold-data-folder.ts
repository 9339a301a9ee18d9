/** A process of its own that holds a data folder: says "held" or why not, and stays until it is killed or stdin ends. */
import { systemRandom } from "../../src/base/ids.ts";
import { openDataFolder } from "../../src/node/data-folder.ts";

try {
	const folder = openDataFolder(process.argv[2]!, systemRandom);
	console.log("held");
	for await (const _ of Bun.stdin.stream()) {
	}
	folder.release();
} catch (error) {
	console.log((error as Error).message);
	process.exitCode = 1;
}
