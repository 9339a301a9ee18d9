import { type McpParts, mcpMounts } from "../../src/api/mcp/mcp-mounts.ts";
import { HiveSurface } from "../../src/api/mcp/mcp-surface.ts";
import type { McpOperation } from "../../src/api/mcp/tool-schemas.ts";
import { HiveError } from "../../src/base/errors.ts";
import type { TenantId } from "../../src/base/ids.ts";
import type { Log } from "../../src/observe/log.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import type { Admission, Arrival, Call, Pipeline, Visit } from "../../src/operations/pipeline-types.ts";
import { startServer, type TestServer } from "../rest/rest-harness.ts";

/** A pipeline that lets everybody in and does as a test says: for what takes long, or is never answered. */
export class StubPipeline implements Pick<Pipeline, "admit"> {
	readonly charged: string[] = [];
	readonly admitted: Arrival[] = [];
	/** Why a connection has to go, once it does. */
	gone: HiveError | undefined;
	run: (call: Call) => Promise<unknown> = async () => ({ collections: [] });

	async admit(arrival: Arrival): Promise<Admission> {
		this.admitted.push(arrival);
		if (arrival.credentials.isForeignPage === true) {
			const error = new HiveError("FORBIDDEN", "a foreign page");
			return { ok: false, error, facts: { requestId: arrival.requestId } };
		}
		const tenantId = (arrival.actingTenant ?? "acme") as TenantId;
		const facts = { requestId: arrival.requestId, tenantId };
		const visit: Partial<Visit> = {
			caller: { tenant: { id: tenantId } } as unknown as Visit["caller"],
			facts,
			checkBody: () => {},
			mayCall: () => true,
			inTurn: (_, work) => work(),
			execute: async (call) => {
				await call.readInput();
				return { ok: true, output: await this.run(call), facts };
			},
			charge: async (label) => {
				this.charged.push(label);
				return { ok: true, output: undefined, facts };
			},
			renew: () => this.gone,
		};
		return { ok: true, visit: visit as Visit };
	}
}

export function startMcp(
	pipeline: StubPipeline,
	{ timeoutSeconds = 60, ...more }: Partial<McpParts> & { timeoutSeconds?: number } = {},
): TestServer {
	const operations: readonly McpOperation[] = OPERATIONS;
	const errors: unknown[] = [];
	const mounts = mcpMounts({
		pipeline,
		surface: async () => new HiveSurface({ operations, version: "1", timeoutSeconds }),
		maxConcurrentRequestsPerTenant: 3,
		maxBodyBytes: 100_000,
		nowMs: () => Date.UTC(2026, 0, 1),
		repeat: (intervalMs, task) => {
			const timer = setInterval(task, intervalMs);
			return () => clearInterval(timer);
		},
		log: { error: (facts: unknown) => void errors.push(facts) } as Pick<Log, "error">,
		...more,
	});
	return startServer([], { maxBodyBytes: 100_000 }, mounts);
}
