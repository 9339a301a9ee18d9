import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import type { HubClient } from "../hub/hub-client-types.ts";
import { type AnyOperation, defineOperation } from "./node-services.ts";

const TENANT_PAGE = 1_000;
const GB = 1e9;

const nodeSchema = z.strictObject({
	node_id: z.string(),
	state: z.enum(["active", "draining", "down"]),
	addresses: z.array(z.string()),
	ring_share: z.number().min(0).max(1).describe("share of the ring's key space that the node owns first"),
	self: z.boolean().describe("the node that answers"),
});

const clusterHealth = defineOperation({
	name: "cluster.health",
	summary: "Show the cluster's state",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({}),
	output: z.strictObject({
		status: z.enum(["healthy", "degraded"]),
		cluster_mode: z.boolean(),
		hivehub_connection: z.enum(["connected", "disconnected"]),
		tenant_count: z.int().nullable().describe("null: the hub does not answer"),
		total_storage_gb: z.number().describe("GB (10^9 bytes) the storage quotas count"),
		uptime_seconds: z.int(),
		version: z.string(),
		nodes: z.array(nodeSchema),
	}),
	rest: { method: "GET", path: "/cluster/health" },
	async run({ services }) {
		const [tenantCount, nodes, storedBytes] = await Promise.all([
			countTenants(services.directory.hub),
			services.nodes(),
			services.storedBytes(),
		]);
		const isConnected = tenantCount !== null && services.directory.connected;
		const isHealthy = isConnected && nodes.every((node) => node.state === "active");
		return {
			status: isHealthy ? "healthy" : "degraded",
			cluster_mode: services.isClusterMode,
			hivehub_connection: isConnected ? "connected" : "disconnected",
			tenant_count: tenantCount,
			total_storage_gb: Math.round((storedBytes / GB) * 1e6) / 1e6,
			uptime_seconds: Math.floor((services.clock.nowMs() - services.startedAtMs) / 1000),
			version: services.version,
			nodes,
		};
	},
});

/** null: the hub does not answer. */
async function countTenants(hub: HubClient): Promise<number | null> {
	try {
		let count = 0;
		let after: string | null = null;
		do {
			const position: { after?: string } = after === null ? {} : { after };
			const page = await hub.listTenants({ limit: TENANT_PAGE, ...position });
			count += page.tenants.length;
			after = page.next;
		} while (after !== null);
		return count;
	} catch (error) {
		if (error instanceof HiveError && error.code === "HUB_UNAVAILABLE") return null;
		throw error;
	}
}

const listNodes = defineOperation({
	name: "cluster.nodes",
	summary: "List the cluster's members and their shares of the ring",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({}),
	output: z.strictObject({ nodes: z.array(nodeSchema) }),
	rest: { method: "GET", path: "/cluster/nodes" },
	async run({ services }) {
		return { nodes: await services.nodes() };
	},
});

export const CLUSTER_OPERATIONS: readonly AnyOperation[] = [clusterHealth, listNodes];
