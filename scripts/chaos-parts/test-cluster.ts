import { mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BINARY } from "../local-node.ts";
import type { VirtualNetwork } from "./virtual-network.ts";

const READY_MS_MAX = 60_000;
const FAKETIME_LIBRARIES = [
	"/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
	"/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1",
];
/** What a node's disk holds in all: little enough to be filled. */
const DISK_BYTES = 384 * 1024 * 1024;

export const clockLibrary = (): string | undefined => FAKETIME_LIBRARIES.find((path) => Bun.file(path).size > 0);

interface Member {
	process: Bun.Subprocess | undefined;
	isStopped: boolean;
	clockOffsetSeconds: number;
	startCount: number;
}

/** The compiled binary as several nodes, each on its own host of a virtual network and its own small disk. Node numbers begin at 1. */
export class TestCluster {
	readonly #members = new Map<number, Member>();

	constructor(
		private readonly network: VirtualNetwork,
		private readonly folder: string,
		private readonly env: Readonly<Record<string, string>> = {},
	) {}

	get running(): readonly number[] {
		return [...this.#members]
			.filter(([, { process, isStopped }]) => process !== undefined && !isStopped)
			.map(([node]) => node);
	}

	url(node: number): string {
		return `http://${this.network.address(node)}:7801`;
	}

	adminKey(): string {
		return readFileSync(join(this.#dataDir(1), "admin.key"), "utf8").trim();
	}

	/** Node 1 begins the cluster, the others join it. Settles when it is ready. */
	async start(node: number): Promise<void> {
		const member = this.#member(node);
		if (member.process !== undefined) throw new Error(`node ${node} runs already`);
		const dataDir = this.#dataDir(node);
		if (member.startCount === 0) this.#makeDisk(dataDir);
		const address = this.network.address(node);
		const flags = ["serve", "--cluster", "--data-dir", dataDir, "--host", address, "--port", "7801"];
		flags.push("--listen", `/ip4/${address}/tcp/7802`);
		if (node !== 1) flags.push("--join", `/ip4/${this.network.address(1)}/tcp/7802`);
		const library = clockLibrary();
		const clock =
			member.clockOffsetSeconds === 0 || library === undefined
				? {}
				: { LD_PRELOAD: library, FAKETIME: `${member.clockOffsetSeconds > 0 ? "+" : ""}${member.clockOffsetSeconds}s` };
		const log = Bun.file(join(this.folder, `node${node}.${member.startCount}.log`));
		member.startCount++;
		member.process = Bun.spawn([...this.network.prefix(node), BINARY, ...flags], {
			stdin: "ignore",
			stdout: log,
			stderr: log,
			env: {
				...process.env,
				HIVE_VECTOR_LOG_LEVEL: "info",
				HIVE_VECTOR_LOG_FORMAT: "json",
				HIVE_VECTOR_CLUSTER_SECRET_FILE: join(this.folder, "cluster.secret"),
				HIVE_VECTOR_RATE_LIMITS_REQUESTS_PER_MINUTE: "100000000",
				HIVE_VECTOR_RATE_LIMITS_REQUESTS_PER_HOUR: "100000000",
				...this.env,
				...clock,
			},
		});
		await this.#ready(node, member.process);
	}

	/** As a power cut would, but for what the kernel still holds. */
	async kill(node: number): Promise<void> {
		await this.#end(node, "SIGKILL");
	}

	/** As an operator would. */
	async stop(node: number): Promise<void> {
		await this.#end(node, "SIGTERM");
	}

	freeze(node: number): void {
		const member = this.#member(node);
		member.process?.kill("SIGSTOP");
		member.isStopped = true;
	}

	thaw(node: number): void {
		const member = this.#member(node);
		member.process?.kill("SIGCONT");
		member.isStopped = false;
	}

	/** From its next start on. */
	setClock(node: number, offsetSeconds: number): void {
		this.#member(node).clockOffsetSeconds = offsetSeconds;
	}

	fillDisk(node: number): void {
		const { bavail, bsize } = statfsSync(this.#dataDir(node));
		try {
			writeFileSync(this.#ballast(node), new Uint8Array(Math.max(0, bavail * bsize)));
		} catch {
			// It is full now.
		}
	}

	freeDisk(node: number): void {
		rmSync(this.#ballast(node), { force: true });
	}

	logs(node: number): string {
		return Array.from({ length: this.#member(node).startCount }, (_, start) =>
			readFileSync(join(this.folder, `node${node}.${start}.log`), "utf8"),
		).join("");
	}

	async close(): Promise<void> {
		for (const [node, { process, isStopped }] of this.#members) {
			if (isStopped) this.thaw(node);
			process?.kill("SIGKILL");
			await process?.exited;
		}
	}

	async #end(node: number, signal: "SIGKILL" | "SIGTERM"): Promise<void> {
		const member = this.#member(node);
		const child = member.process;
		if (child === undefined) return;
		if (member.isStopped) this.thaw(node);
		member.process = undefined;
		child.kill(signal);
		await child.exited;
	}

	async #ready(node: number, child: Bun.Subprocess): Promise<void> {
		const deadline = performance.now() + READY_MS_MAX;
		while (performance.now() < deadline) {
			if (child.exitCode !== null)
				throw new Error(`node ${node} ended with exit code ${child.exitCode}:\n${this.logs(node).slice(-2_000)}`);
			const isReady = await fetch(`${this.url(node)}/ready`, { signal: AbortSignal.timeout(1_000) }).then(
				(answer) => answer.ok,
				() => false,
			);
			if (isReady) return;
			await Bun.sleep(50);
		}
		throw new Error(`node ${node} was not ready within ${READY_MS_MAX / 1000} s:\n${this.logs(node).slice(-2_000)}`);
	}

	#member(node: number): Member {
		let member = this.#members.get(node);
		if (member === undefined) {
			member = { process: undefined, isStopped: false, clockOffsetSeconds: 0, startCount: 0 };
			this.#members.set(node, member);
		}
		return member;
	}

	#makeDisk(dataDir: string): void {
		mkdirSync(dataDir, { recursive: true, mode: 0o700 });
		const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", `size=${DISK_BYTES},mode=0700`, "tmpfs", dataDir]);
		if (mounted.exitCode !== 0) throw new Error("a small disk could not be mounted");
	}

	#dataDir(node: number): string {
		return join(this.folder, `node${node}`);
	}

	#ballast(node: number): string {
		return join(this.#dataDir(node), "ballast");
	}
}
