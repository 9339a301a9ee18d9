import { join } from "node:path";
import { builtBinary, User } from "../cli/binary.ts";
import { ServerProcess } from "../cli/server-process.ts";
import { EmbeddingServer } from "../embedding/embedding-server.ts";
import { type Answer, clientOf } from "../node/node-fixture.ts";
import type { Output } from "../operations/operations-fixture.ts";
import { type Caller, postMcp, type Way, type WayName, waysTo } from "./ways.ts";

/** Calls a minute of each key: few enough that none comes back while a row is looked at. */
const KEY_CALLS = 6;
const PLENTY = 1_000_000;

export interface MintedKey {
	readonly key: string;
	readonly id: string;
}

/** The compiled binary as a node of several tenants, with an embedding server, and one tenant for each way to it. */
export class ProtocolsRig {
	readonly user = new User();
	readonly embedding = new EmbeddingServer();
	server!: ServerProcess;
	ways!: readonly Way[];
	#admin!: ReturnType<typeof clientOf>;

	async start(): Promise<void> {
		await builtBinary();
		this.server = await ServerProcess.start(
			this.user,
			["serve", "--cluster", "--listen", "/ip4/127.0.0.1/tcp/0"],
			join(this.user.folder, "node"),
			this.embedding.env({
				HIVE_VECTOR_RATE_LIMITS_REQUESTS_PER_MINUTE: String(PLENTY),
				HIVE_VECTOR_RATE_LIMITS_REQUESTS_PER_HOUR: String(PLENTY),
				HIVE_VECTOR_RATE_LIMITS_MCP_REQUESTS_PER_MINUTE: String(PLENTY),
				HIVE_VECTOR_AUTH_BRUTE_FORCE_FAILURES: String(PLENTY),
			}),
		);
		this.ways = waysTo(this.server.url, this.user);
		this.#admin = clientOf(this.server.url, this.server.secret("admin.key"));
	}

	async stop(): Promise<void> {
		await this.server.stop();
		await this.embedding[Symbol.asyncDispose]();
		this.user.leave();
	}

	async admin(method: string, path: string, body?: unknown): Promise<Output> {
		const answer: Answer = await this.#admin(method, `/api/v1${path}`, body);
		if (answer.status >= 300) throw new Error(`${method} ${path}: ${JSON.stringify(answer.body)}`);
		return answer.body;
	}

	/** A key with limits, and so with buckets, of its own. */
	async mint(tenantId: string, permissions: readonly string[]): Promise<MintedKey> {
		const { api_key, api_key_id } = await this.admin("POST", `/tenants/${tenantId}/keys`, {
			permissions,
			rate_limit_override: { requests_per_minute: KEY_CALLS, mcp_requests_per_minute: KEY_CALLS },
		});
		return { key: api_key, id: api_key_id };
	}

	/** What is left of a key's calls by this way, after the one that asks. */
	async callsLeft(caller: Caller, way: WayName): Promise<number> {
		const { url } = this.server;
		const headers = isMcp(way)
			? (await postMcp(url, caller, { jsonrpc: "2.0", id: 0, method: "ping" })).headers
			: (await clientOf(url, caller.key)("GET", "/api/v1/me")).headers;
		return Number(headers.get("x-ratelimit-remaining"));
	}

	/** Newest first. */
	async audit(): Promise<readonly Output[]> {
		return (await this.admin("GET", "/audit?limit=200")).entries;
	}

	async counters(): Promise<Counters> {
		const { body } = await this.#admin("GET", "/metrics");
		const requests = new Map<string, number>();
		const failures = new Map<string, number>();
		for (const line of String(body).split("\n")) {
			const [, name = "", labels = "", count] = /^(\w+)(\{.*\}) (\d+)$/.exec(line) ?? [];
			if (name === "hive_vector_tenant_requests_total") requests.set(labels, Number(count));
			if (name === "hive_vector_auth_failures_total") failures.set(labels, Number(count));
		}
		return { requests, failures };
	}
}

type Series = ReadonlyMap<string, number>;

/** By their labels. */
interface Counters {
	/** `hive_vector_tenant_requests_total` */
	readonly requests: Series;
	/** `hive_vector_auth_failures_total` */
	readonly failures: Series;
}

export const isMcp = (way: WayName): boolean => way === "http" || way === "socket" || way === "stdio";

/** What was counted in between. */
export function risen(before: Series, after: Series): [string, number][] {
	return [...after].flatMap(([series, count]): [string, number][] => {
		const more = count - (before.get(series) ?? 0);
		return more === 0 ? [] : [[series, more]];
	});
}
