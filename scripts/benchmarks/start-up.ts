import { LocalNode } from "../local-node.ts";
import { summarise, type Timing } from "./measure.ts";

/** Milliseconds from starting the binary on an empty folder to the first 200 of `GET /ready`, and memory then. */
export async function benchStartUp(
	runCount: number,
): Promise<{ readonly empty: Timing; readonly residentBytes: number }> {
	const latencies: number[] = [];
	let residentBytes = 0;
	for (let run = 0; run < runCount; run++) {
		const node = await LocalNode.start();
		latencies.push(node.startMs);
		residentBytes = node.residentBytes();
		await node.stop();
		node.removeData();
	}
	const total = latencies.reduce((sum, latency) => sum + latency, 0);
	return { empty: summarise(latencies, total), residentBytes };
}
