import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import { tenantIdSchema } from "../base/schemas.ts";
import type { HubClient } from "../hub/hub-client-types.ts";
import { tenantPages } from "../hub/hub-listing.ts";
import { clusterProblems } from "./cluster-problems.ts";
import { collectionField } from "./input-fields.ts";
import { type AnyOperation, type ClusterControl, defineOperation, type NodeInfo } from "./node-services.ts";

const TENANT_PAGE = 1_000;
const GB = 1e9;

const transferSchema = z.strictObject({
	tenant_id: z.string(),
	collection_id: z.string(),
	shard: z.int(),
	from: z.string().describe("the node it comes from"),
	rows_done: z.int(),
	rows_total: z.int(),
	bytes_done: z.int(),
});

const nodeSchema = z.strictObject({
	node_id: z.string(),
	state: z
		.enum(["joining", "active", "draining", "removed", "down"])
		.describe("down: a member that does not answer; removed: dead, its copies are being replaced"),
	addresses: z.array(z.string()).describe("where other nodes reach it, as multiaddresses"),
	url: z.string().nullable().describe("of its REST API"),
	version: z.string().nullable(),
	ring_share: z.number().min(0).max(1).describe("share of the ring's key space that the node owns first"),
	self: z.boolean().describe("the node that answers"),
	last_heard_seconds: z.number().nullable().describe("since its last sign of life; null: none since this node started"),
	hub: z.strictObject({
		serves: z.boolean().describe("runs the hub that other members use"),
		connected: z.boolean().nullable().describe("the hub answers it"),
	}),
	shards_open: z.int().nullable(),
	stored_gb: z.number().nullable().describe("GB (10^9 bytes) the storage quotas count, each vector at one node"),
	transfers: z.array(transferSchema).describe("shards that are on their way to it"),
	transfers_waiting: z.int(),
	hints_pending: z.int().describe("shards of other nodes of which it remembers that they missed something"),
	replication_lag_seconds: z.number().describe("age of the oldest write that it misses, as far as this node knows"),
});

const clusterHealth = defineOperation({
	name: "cluster.health",
	summary: "Show the cluster's state",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({}),
	output: z.strictObject({
		status: z.enum(["healthy", "degraded"]),
		problems: z.array(z.string()).describe("what is wrong, a sentence each; empty when healthy"),
		cluster_mode: z.boolean(),
		hivehub_connection: z.enum(["connected", "disconnected"]),
		tenant_count: z.int().nullable().describe("null: the hub does not answer"),
		total_storage_gb: z.number().describe("GB (10^9 bytes) the storage quotas count, of all nodes that were heard of"),
		uptime_seconds: z.int(),
		version: z.string(),
		topology_version: z.int(),
		is_changing: z.boolean().describe("members join or leave: some shards have to move"),
		nodes: z.array(nodeSchema),
	}),
	rest: { method: "GET", path: "/cluster/health" },
	async run({ services }) {
		const tenantCount = await countTenants(services.directory.hub);
		const state = services.cluster.state();
		const isConnected = tenantCount !== null && services.directory.connected;
		const problems = clusterProblems(state, isConnected);
		return {
			status: problems.length === 0 ? "healthy" : "degraded",
			problems,
			cluster_mode: services.isClusterMode,
			hivehub_connection: isConnected ? "connected" : "disconnected",
			tenant_count: tenantCount,
			total_storage_gb: Math.round((state.stored_bytes / GB) * 1e6) / 1e6,
			uptime_seconds: Math.floor((services.clock.nowMs() - services.startedAtMs) / 1000),
			version: services.version,
			topology_version: state.topology_version,
			is_changing: state.is_changing,
			nodes: state.nodes,
		};
	},
});

/** null: the hub does not answer. */
async function countTenants(hub: HubClient): Promise<number | null> {
	try {
		let count = 0;
		for await (const tenants of tenantPages(hub, TENANT_PAGE)) count += tenants.length;
		return count;
	} catch (error) {
		if (error instanceof HiveError && error.code === "HUB_UNAVAILABLE") return null;
		throw error;
	}
}

const listNodes = defineOperation({
	name: "cluster.nodes",
	summary: "List the cluster's members, their shares of the ring and the transfers under way",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({}),
	output: z.strictObject({ topology_version: z.int(), is_changing: z.boolean(), nodes: z.array(nodeSchema) }),
	rest: { method: "GET", path: "/cluster/nodes" },
	async run({ services }) {
		const { topology_version, is_changing, nodes } = services.cluster.state();
		return { topology_version, is_changing, nodes };
	},
});

const nodeIdField = z
	.string()
	.regex(/^[\w-]{1,64}$/, "a node id looks like node_4k2x9a7c1m5q8z3e")
	.transform((text) => text as NodeId)
	.meta({ examples: ["node_4k2x9a7c1m5q8z3e"] });

const memberChangeSchema = z.strictObject({
	node_id: z.string(),
	state: z
		.enum([...nodeSchema.shape.state.options, "gone"])
		.describe("gone: it held nothing that others don't, and has left already"),
	topology_version: z.int(),
});

function memberChange(cluster: ClusterControl, nodeId: NodeId): z.infer<typeof memberChangeSchema> {
	const { nodes, topology_version } = cluster.state();
	const state: NodeInfo["state"] | "gone" = nodes.find((node) => node.node_id === nodeId)?.state ?? "gone";
	return { node_id: nodeId, state, topology_version };
}

const drainNode = defineOperation({
	name: "cluster.drain",
	summary: "Empty a node: its shards move to the others, then it leaves the cluster",
	description:
		"Answers at once; `GET /cluster/nodes` shows the progress, and no longer shows the node when it has left. Nothing is lost, and " +
		"everything goes on being served. Asking again changes nothing. `cancel=true` keeps a node that has not left yet.",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({
		node_id: nodeIdField,
		cancel: z.boolean().default(false).describe("the node stays after all"),
	}),
	output: memberChangeSchema,
	rest: { method: "POST", path: "/cluster/nodes/{node_id}/drain", query: ["cancel"], status: 202 },
	async run({ services }, input) {
		if (input.cancel) await services.cluster.cancelDrain(input.node_id);
		else await services.cluster.drain(input.node_id);
		return memberChange(services.cluster, input.node_id);
	},
});

const removeNode = defineOperation({
	name: "cluster.remove",
	summary: "Drop a dead node: its copies are made anew from the others'",
	description:
		"Only a node that does not answer; one that lives is drained. What no other node has a copy of is lost, which " +
		"`accept_loss=true` says yes to. A node that was removed is never let in again with the same data folder.",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({
		node_id: nodeIdField,
		accept_loss: z.boolean().default(false).describe("collections with one copy, on this node, may be lost"),
	}),
	output: memberChangeSchema,
	rest: { method: "DELETE", path: "/cluster/nodes/{node_id}", query: ["accept_loss"], status: 202 },
	async run({ services }, input) {
		await services.cluster.remove(input.node_id, input.accept_loss);
		return memberChange(services.cluster, input.node_id);
	},
});

const rebalance = defineOperation({
	name: "cluster.rebalance",
	summary: "Have every node look at once for shards that should be elsewhere",
	description:
		"Nodes do so by themselves; this is for whoever does not want to wait. Nothing moves that is in its place.",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({}),
	output: z.strictObject({
		moves_running: z.int(),
		moves_waiting: z.int(),
		topology_version: z.int(),
		is_changing: z.boolean(),
	}),
	rest: { method: "POST", path: "/cluster/rebalance", status: 202 },
	async run({ services }) {
		await services.cluster.rebalance();
		const { nodes, topology_version, is_changing } = services.cluster.state();
		return {
			moves_running: nodes.reduce((sum, { transfers }) => sum + transfers.length, 0),
			moves_waiting: nodes.reduce((sum, { transfers_waiting }) => sum + transfers_waiting, 0),
			topology_version,
			is_changing,
		};
	},
});

const listShards = defineOperation({
	name: "cluster.shards",
	summary: "List the copies of a tenant's shards, with what each came to",
	description:
		"Every member is asked, which may open the copies: for finding out what is where, not for watching it. Copies with equal digests " +
		"hold the same documents in the same versions.",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({ tenant_id: tenantIdSchema, collection: collectionField.optional() }),
	output: z.strictObject({
		shards: z.array(
			z.strictObject({
				tenant_id: z.string(),
				collection: z.string(),
				shard: z.int(),
				copies: z.array(
					z.strictObject({
						node_id: z.string(),
						state: z
							.enum(["complete", "incoming", "unknown"])
							.describe("incoming: being filled; unknown: the node does not answer"),
						vectors: z.int().optional(),
						digest: z.string().optional(),
					}),
				),
			}),
		),
	}),
	rest: { method: "GET", path: "/cluster/shards", query: ["tenant_id", "collection"] },
	async run({ services }, input) {
		return { shards: await services.cluster.shards(input.tenant_id, input.collection) };
	},
});

export const CLUSTER_OPERATIONS: readonly AnyOperation[] = [
	clusterHealth,
	listNodes,
	drainNode,
	removeNode,
	rebalance,
	listShards,
];
