import { graphqlMounts } from "../api/graphql/graphql-mounts.ts";
import { mcpMounts } from "../api/mcp/mcp-mounts.ts";
import type { Mount } from "../api/wire/mount.ts";
import type { Clock } from "../base/clock.ts";
import { systemEvery } from "../observe/event-loop-lag.ts";
import type { Log } from "../observe/log.ts";
import type { AnyOperation } from "../operations/node-services.ts";
import type { Pipeline } from "../operations/pipeline-types.ts";
import type { TenantMarks } from "../operations/tenant-marks.ts";
import type { EffectiveSettings } from "./settings.ts";

export interface ProtocolMountsParts {
	readonly settings: Pick<EffectiveSettings, "server" | "mcp" | "graphql">;
	readonly operations: readonly AnyOperation[];
	readonly pipeline: Pipeline;
	readonly marks: TenantMarks;
	readonly clock: Clock;
	readonly version: string;
	readonly log: Log;
}

/** The endpoints of the protocols beside REST, as far as they are switched on. */
export function protocolMounts(parts: ProtocolMountsParts): readonly Mount[] {
	const { operations, pipeline, log } = parts;
	const { server, mcp, graphql } = parts.settings;
	const mounts: Mount[] = [];
	if (graphql.enabled) {
		mounts.push(
			...graphqlMounts({
				operations,
				pipeline,
				rules: { introspection: graphql.introspection, maxDepth: graphql.max_depth, maxCost: graphql.max_cost },
				mark: (tenantId) => parts.marks.of(tenantId),
				timeoutSeconds: server.request_timeout_seconds,
				log,
			}),
		);
	}
	if (mcp.enabled) {
		mounts.push(
			...mcpMounts({
				pipeline,
				surface: async () => {
					const { HiveSurface } = await import("../api/mcp/mcp-surface.ts");
					return new HiveSurface({ operations, version: parts.version, timeoutSeconds: mcp.timeout_seconds });
				},
				maxConcurrentRequestsPerTenant: mcp.max_concurrent_requests_per_tenant,
				maxBodyBytes: server.max_body_bytes,
				nowMs: () => parts.clock.nowMs(),
				repeat: systemEvery,
				log,
			}),
		);
	}
	return mounts;
}
