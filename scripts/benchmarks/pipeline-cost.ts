import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { systemRandom } from "../../src/base/ids.ts";
import { startNode } from "../../src/node/node.ts";
import { loadSettings } from "../../src/node/settings.ts";
import { createLog } from "../../src/observe/log.ts";
import { summarise, type Timing } from "./measure.ts";
import { UNLIMITED } from "./served.ts";

const WARM_UP_CALLS = 20_000;
/** Tenants made at once. */
const MAKERS = 32;

/** What nobody looks at, as no key here demands a signature. */
const UNSIGNED = { method: "GET", url: "http://127.0.0.1/api/v1/usage", headers: new Headers() };

/**
 * What a request costs before and after its own work: authenticate, authorise, rate limit, validate, meter, all cached.
 * The operation is `usage.own`, which itself only reads counters, so this is an upper bound. In this process, one call
 * after another, tenants in turn.
 */
export async function benchPipeline(tenantCount: number, callCount = 200_000): Promise<Timing> {
	const folder = mkdtempSync(join(tmpdir(), "hive-vector-pipeline-"));
	const settings = loadSettings({
		folder,
		env: {},
		flags: { port: 0, cluster: true, "data-dir": join(folder, "data") },
	});
	const log = await createLog({
		level: "error",
		format: "json",
		colors: false,
		write: (line) => void process.stderr.write(line),
	});
	const node = await startNode(settings, { clock: systemClock, random: systemRandom, log, version: "bench" });
	try {
		const admin = readFileSync(join(folder, "data", "admin.key"), "utf8").trim();
		const ask = async (operation: string, apiKey: string, input: unknown): Promise<unknown> => {
			const answer = await node.pipeline.execute({
				operation,
				credentials: { apiKey },
				requestId: "req_bench",
				remoteAddress: "127.0.0.1",
				message: UNSIGNED,
				bodyBytes: 0,
				protocol: "rest",
				signal: new AbortController().signal,
				readInput: async () => input,
			});
			if (!answer.ok) throw answer.error;
			return answer.output;
		};
		const keys: string[] = [];
		let made = 0;
		const makeTenants = async (): Promise<void> => {
			for (let tenant = made++; tenant < tenantCount; tenant = made++) {
				await ask("tenants.create", admin, { id: `t${tenant}`, rate_limits: UNLIMITED });
				const minted = await ask("keys.create", admin, { tenant_id: `t${tenant}`, permissions: ["READ_WRITE"] });
				keys[tenant] = (minted as { api_key: string }).api_key;
			}
		};
		await Promise.all(Array.from({ length: MAKERS }, makeTenants));
		const signal = new AbortController().signal;
		const readInput = async (): Promise<unknown> => ({});
		const request = (call: number) => ({
			operation: "usage.own",
			credentials: { apiKey: keys[call % tenantCount] as string },
			requestId: "req_bench",
			remoteAddress: "127.0.0.1",
			message: UNSIGNED,
			bodyBytes: 0,
			protocol: "rest" as const,
			signal,
			readInput,
		});
		for (let call = 0; call < Math.max(WARM_UP_CALLS, 2 * tenantCount); call++)
			await node.pipeline.execute(request(call));
		const latencies: number[] = [];
		const startedAt = performance.now();
		for (let call = 0; call < callCount; call++) {
			const callAt = performance.now();
			const answer = await node.pipeline.execute(request(call));
			latencies.push(performance.now() - callAt);
			if (!answer.ok) throw answer.error;
		}
		return summarise(latencies, performance.now() - startedAt);
	} finally {
		await node.stop();
		rmSync(folder, { recursive: true, force: true });
	}
}
