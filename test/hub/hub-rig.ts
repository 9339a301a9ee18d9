import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Clock } from "../../src/base/clock.ts";
import { hashKey, newServiceKey, systemRandom, type TenantId } from "../../src/base/ids.ts";
import type { HubClient } from "../../src/hub/hub-client-types.ts";
import { HubHttpClient, type HubHttpClientOptions, type HubTransport } from "../../src/hub/hub-http-client.ts";
import type { NewCollection } from "../../src/hub/models.ts";
import { bootstrapHub } from "../../src/hub/server/hub-bootstrap.ts";
import { HubDatabase, type HubDatabaseAddress } from "../../src/hub/server/hub-database.ts";
import { createHubServer, type HubServer } from "../../src/hub/server/hub-server.ts";

/** A clock that stands until it is told to go on. */
export class TestClock implements Clock {
	#nowMs = Date.parse("2030-01-01T00:00:00Z");
	#monotonicMs = 1_000_000;

	nowMs(): number {
		return this.#nowMs;
	}

	monotonicMs(): number {
		return this.#monotonicMs;
	}

	advanceSeconds(seconds: number): void {
		this.#nowMs += seconds * 1_000;
		this.#monotonicMs += seconds * 1_000;
	}
}

/** Time that passes: what long polls need. */
export class RunningClock extends TestClock {
	readonly #startMs = performance.now();

	override monotonicMs(): number {
		return super.monotonicMs() + performance.now() - this.#startMs;
	}
}

// biome-ignore lint/suspicious/noExplicitAny: answers are taken as they come and held against expectations
export type Json = any;

export const SERVICE_KEY = newServiceKey(systemRandom);

export interface HubRig {
	readonly server: HubServer;
	readonly database: HubDatabase;
	readonly clock: TestClock;
	readonly logs: Record<string, unknown>[];
	readonly defects: unknown[];
	/** Calls an endpoint with the service key. */
	ask(method: string, path: string, body?: unknown): Promise<{ status: number; body: Json; headers: Headers }>;
	client(options?: Partial<HubHttpClientOptions>): HubClient;
}

export async function openHub(address: HubDatabaseAddress, clock: TestClock = new TestClock()): Promise<HubRig> {
	const database = await HubDatabase.open(address);
	await bootstrapHub(database, clock, { defaultTenant: false });
	const logs: Record<string, unknown>[] = [];
	const defects: unknown[] = [];
	const server = createHubServer({
		database,
		clock,
		random: systemRandom,
		serviceKeyHashes: [hashKey(newServiceKey(systemRandom)), hashKey(SERVICE_KEY)],
		version: "1.2.3",
		onLogs: (entries) => logs.push(...entries),
		onDefect: (error) => defects.push(error),
	});
	return {
		server,
		database,
		clock,
		logs,
		defects,
		ask: (method, path, body) => askHub((request) => server.handle(request), method, path, body),
		client: (options = {}) => newClient((request) => server.handle(request), options),
	};
}

export async function askHub(transport: HubTransport, method: string, path: string, body?: unknown) {
	const response = await transport(
		new Request(`http://hub.test/api/v1${path}`, {
			method,
			headers: { authorization: `Bearer ${SERVICE_KEY}` },
			...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
		}),
	);
	return { status: response.status, body: (await response.json()) as Json, headers: response.headers };
}

export function newClient(transport: HubTransport, options: Partial<HubHttpClientOptions> = {}): HubHttpClient {
	return new HubHttpClient({
		baseUrl: "http://hub.test",
		serviceKey: SERVICE_KEY,
		transport,
		timeoutSeconds: 10,
		retries: 0,
		maxConcurrent: 10,
		clock: new TestClock(),
		random: systemRandom,
		...options,
	});
}

export function temporaryFolder(): { readonly path: string; remove(): void } {
	const path = mkdtempSync(join(tmpdir(), "hub-test-"));
	return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

export const newCollection = (name: string): NewCollection => ({
	name: name as NewCollection["name"],
	dimension: 3,
	metric: "cosine",
	quantization: "f16",
	index: "auto",
	shards: 1,
	replicas: 1,
	hnsw: { m: 16, ef_construction: 128, ef_search: 64 },
	payload_indexes: {},
});

export const ACME = "acme" as TenantId;

/** What a promise is rejected with. */
export async function rejectionOf(promise: Promise<unknown>): Promise<Json> {
	try {
		await promise;
	} catch (error) {
		return error;
	}
	throw new Error("it was not rejected");
}
