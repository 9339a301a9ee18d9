import { readFileSync } from "node:fs";
import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";
import { SYSTEM_TENANT } from "../../src/base/ids.ts";
import type { RunningNode } from "../../src/node/node.ts";
import { type Answer, clientOf, Workshop } from "../node/node-fixture.ts";

export const LEGACY = "2025-11-25";
export const MODERN = "2026-07-28";
export type Era = typeof LEGACY | typeof MODERN;
export const ERAS: readonly Era[] = [LEGACY, MODERN];

// biome-ignore lint/suspicious/noExplicitAny: JSON-RPC as it came; each test looks at what it needs.
export type Rpc = any;

/** `_meta` of a request of the revision that has no handshake. */
export const ENVELOPE = {
	"io.modelcontextprotocol/protocolVersion": MODERN,
	"io.modelcontextprotocol/clientInfo": { name: "test", version: "1" },
	"io.modelcontextprotocol/clientCapabilities": {},
};

/** A node with tenants, as clients of MCP see it. */
export class McpRig {
	readonly workshop = new Workshop();
	node!: RunningNode;
	adminKey!: string;

	async start(env: Record<string, string> = {}): Promise<this> {
		this.node = await this.workshop.node(this.workshop.newDataDir(), { HIVE_VECTOR_CLUSTER_ENABLED: "true", ...env });
		this.adminKey = readFileSync(this.node.adminKeyPath!, "utf8").trim();
		return this;
	}

	stop(): Promise<void> {
		return this.workshop.clear();
	}

	admin(method: string, path: string, body?: unknown): Promise<Answer> {
		return clientOf(this.node.url, this.adminKey)(method, `/api/v1${path}`, body);
	}

	rest(key: string, method: string, path: string, body?: unknown): Promise<Answer> {
		return clientOf(this.node.url, key)(method, `/api/v1${path}`, body);
	}

	async tenant(id: string, more: object = {}): Promise<string> {
		if (id !== SYSTEM_TENANT) await this.admin("POST", "/tenants", { id, name: id, ...more });
		return await this.key(id, "READ_WRITE");
	}

	async key(tenantId: string, ...permissions: string[]): Promise<string> {
		return (await this.keyRecord(tenantId, ...permissions)).key;
	}

	async keyRecord(tenantId: string, ...permissions: string[]): Promise<{ key: string; id: string }> {
		const { body, status } = await this.admin("POST", `/tenants/${tenantId}/keys`, { permissions });
		if (status !== 201) throw new Error(JSON.stringify(body));
		return { key: body.key ?? body.api_key, id: body.api_key_id ?? body.id };
	}

	/** One message over HTTP, as a client of the older era sends it. */
	async post(key: string | undefined, body: unknown, headers: Record<string, string> = {}): Promise<PostAnswer> {
		const response = await fetch(`${this.node.url}/mcp`, {
			method: "POST",
			headers: {
				"content-type": "application/json",
				accept: "application/json, text/event-stream",
				...(key !== undefined && { authorization: `Bearer ${key}` }),
				...headers,
			},
			body: typeof body === "string" ? body : JSON.stringify(body),
		});
		const text = await response.text();
		return { status: response.status, headers: response.headers, body: text === "" ? undefined : JSON.parse(text) };
	}

	async call(key: string, name: string, given: object = {}): Promise<Rpc> {
		const message = { jsonrpc: "2.0", id: 7, method: "tools/call", params: { name, arguments: given } };
		return (await this.post(key, message)).body;
	}

	/** A client of the official SDK, over HTTP. */
	async client(era: Era, key: string): Promise<Client> {
		const client = sdkClient(era);
		await client.connect(
			new StreamableHTTPClientTransport(new URL(`${this.node.url}/mcp`), {
				requestInit: { headers: { authorization: `Bearer ${key}` } },
			}),
		);
		return client;
	}
}

export interface PostAnswer {
	readonly status: number;
	readonly headers: Headers;
	readonly body: Rpc;
}

export const sdkClient = (era: Era): Client =>
	new Client(
		{ name: "test", version: "1" },
		{ versionNegotiation: { mode: era === LEGACY ? "legacy" : { pin: MODERN } } },
	);
