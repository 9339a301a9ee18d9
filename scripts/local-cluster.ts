import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./free-port.ts";
import { LocalNode } from "./local-node.ts";

const SETTLE_MS_MAX = 60_000;

interface Seat {
	readonly dataDir: string;
	readonly clusterPort: number;
	node: LocalNode | undefined;
}

/** The compiled binary as several nodes on loopback, the first with the embedded hub. Nodes are numbered from 0. */
export class LocalCluster {
	readonly #folder = mkdtempSync(join(tmpdir(), "hive-vector-cluster-"));
	readonly #seats: Seat[] = [];

	constructor(private readonly env: Readonly<Record<string, string>> = {}) {
		writeFileSync(this.#secretPath, "the secret of a cluster on loopback\n", { mode: 0o600 });
	}

	/** All nodes up, each knowing all others. */
	static async start(nodeCount: number, env: Readonly<Record<string, string>> = {}): Promise<LocalCluster> {
		const cluster = new LocalCluster(env);
		try {
			for (let index = 0; index < nodeCount; index++) await cluster.add();
			await cluster.settled();
			return cluster;
		} catch (error) {
			await cluster.close();
			throw error;
		}
	}

	get size(): number {
		return this.#seats.length;
	}

	node(index: number): LocalNode {
		const node = this.#seats[index]?.node;
		if (node === undefined) throw new Error(`node ${index} does not run`);
		return node;
	}

	get nodes(): readonly LocalNode[] {
		return this.#seats.flatMap(({ node }) => node ?? []);
	}

	get adminKey(): string {
		return this.node(0).adminKey();
	}

	/** One more node joins. @returns its number */
	async add(): Promise<number> {
		const index = this.#seats.length;
		this.#seats.push({ dataDir: join(this.#folder, `node${index}`), clusterPort: freePort(), node: undefined });
		await this.restart(index);
		return index;
	}

	/** Starts a node that does not run. */
	async restart(index: number): Promise<void> {
		const seat = this.#seats[index]!;
		const join = index === 0 ? [] : ["--join", this.clusterAddress(0)];
		seat.node = await LocalNode.start({
			dataDir: seat.dataDir,
			flags: ["--listen", this.clusterAddress(index), ...join],
			env: { HIVE_VECTOR_CLUSTER_SECRET_FILE: this.#secretPath, ...this.env },
		});
	}

	clusterAddress(index: number): string {
		return `/ip4/127.0.0.1/tcp/${this.#seats[index]!.clusterPort}`;
	}

	async kill(index: number): Promise<void> {
		await this.node(index).kill();
		this.#seats[index]!.node = undefined;
	}

	async stop(index: number): Promise<void> {
		await this.node(index).stop();
		this.#seats[index]!.node = undefined;
	}

	/** What `GET /cluster/health` says on a node. */
	async health(index = 0): Promise<ClusterHealth> {
		return (await this.node(index).call(this.adminKey, "GET", "/cluster/health")) as ClusterHealth;
	}

	/** Waits until every running node sees all members at work and nothing left to move. @throws after a minute */
	async settled(memberCount = this.nodes.length): Promise<void> {
		const deadline = performance.now() + SETTLE_MS_MAX;
		let last = "";
		while (performance.now() < deadline) {
			const states = await Promise.all(
				this.#seats.map(async ({ node }, index) =>
					node === undefined ? undefined : await this.health(index).catch(String),
				),
			);
			last = JSON.stringify(states);
			const isSettled = states.every(
				(health) =>
					health === undefined ||
					(typeof health !== "string" &&
						health.status === "healthy" &&
						!health.is_changing &&
						health.nodes.length === memberCount &&
						health.nodes.every(
							(node) => node.state === "active" && !(node.hints_pending > 0) && !(node.transfers_waiting > 0),
						)),
			);
			if (isSettled) return;
			await Bun.sleep(50);
		}
		throw new Error(`the cluster did not settle: ${last}`);
	}

	async close(): Promise<void> {
		await Promise.all(this.nodes.map((node) => node.kill()));
		rmSync(this.#folder, { recursive: true, force: true });
	}

	get #secretPath(): string {
		return join(this.#folder, "cluster.secret");
	}
}

export interface ClusterHealth {
	readonly status: "healthy" | "degraded";
	readonly is_changing: boolean;
	readonly topology_version: number;
	readonly nodes: readonly {
		readonly node_id: string;
		readonly state: string;
		readonly self: boolean;
		readonly ring_share: number;
		readonly hints_pending: number;
		readonly transfers_waiting: number;
	}[];
}
