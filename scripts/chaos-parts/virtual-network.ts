import { join } from "node:path";
import { hostAddress, hostNamespace, type LinkOrder } from "./packet-switch.ts";

/** The nodes' network, with all that can go wrong in it. Host 0 is this process; nodes are 1 to `nodeCount`. */
export class VirtualNetwork {
	readonly #switch: Bun.Subprocess<"pipe", "pipe", "inherit">;

	private constructor(
		process: Bun.Subprocess<"pipe", "pipe", "inherit">,
		private readonly nodeCount: number,
	) {
		this.#switch = process;
	}

	/** @throws where the process may not make namespaces and TUN devices: it needs root in a network namespace of its own */
	static async open(nodeCount: number, seed: number): Promise<VirtualNetwork> {
		const child = Bun.spawn(
			[process.execPath, join(import.meta.dir, "packet-switch.ts"), String(nodeCount + 1), String(seed)],
			{
				stdin: "pipe",
				stdout: "pipe",
				stderr: "inherit",
			},
		);
		const reader = child.stdout.getReader();
		const { value } = await reader.read();
		if (value === undefined || !new TextDecoder().decode(value).startsWith("ready")) {
			throw new Error("the virtual network could not be made");
		}
		return new VirtualNetwork(child, nodeCount);
	}

	address(node: number): string {
		return hostAddress(node);
	}

	/** What to put before a command so that it runs on the node's host. */
	prefix(node: number): readonly string[] {
		return ["ip", "netns", "exec", hostNamespace(node)];
	}

	/** Packets from one node to another vanish; the other direction goes on. */
	cut(from: number, to: number): void {
		this.#order({ from, to, isCut: true, loss: 0, delayMs: 0 });
	}

	/** No packet passes between the two groups, clients excepted: they reach every node. */
	partition(group: readonly number[]): void {
		for (const [from, to] of this.#pairs()) if (group.includes(from) !== group.includes(to)) this.cut(from, to);
	}

	/** @param loss 0..1; both between all nodes, one way */
	disturb(loss: number, delayMs: number): void {
		for (const [from, to] of this.#pairs()) this.#order({ from, to, isCut: false, loss, delayMs });
	}

	heal(): void {
		this.disturb(0, 0);
	}

	async close(): Promise<void> {
		void this.#switch.stdin.end();
		await this.#switch.exited;
	}

	*#pairs(): Generator<readonly [number, number]> {
		for (let from = 1; from <= this.nodeCount; from++) {
			for (let to = 1; to <= this.nodeCount; to++) if (from !== to) yield [from, to];
		}
	}

	#order(order: LinkOrder): void {
		void this.#switch.stdin.write(`${JSON.stringify(order)}\n`);
		void this.#switch.stdin.flush();
	}
}
