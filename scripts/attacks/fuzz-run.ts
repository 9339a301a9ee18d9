import { decode } from "@msgpack/msgpack";
import fc from "fast-check";
import { ERROR_TABLE, isErrorCode } from "../../src/base/errors.ts";
import { LocalNode } from "../local-node.ts";
import { ApiDocument } from "./api-operations.ts";
import { ATTACKED_NODE_ENV } from "./attack-world.ts";
import { type FuzzFixtures, type FuzzRequest, fuzzRequests } from "./fuzz-requests.ts";
import { encodeRequest, Hang, headerOf, NoAnswer, type RawAnswer, RawClient } from "./raw-http.ts";

export interface FuzzOptions {
	readonly requestCount: number;
	readonly seed: number;
}

export interface FuzzViolation {
	readonly rule: "server error" | "hang" | "no answer" | "error body" | "headers" | "not ready";
	readonly text: string;
}

export interface FuzzReport {
	readonly requestCount: number;
	readonly violationCount: number;
	/** The first of each operation and rule. */
	readonly violations: readonly FuzzViolation[];
	readonly statuses: ReadonlyMap<number, number>;
	/** Operations that answered a success at least once. */
	readonly succeeded: ReadonlySet<string>;
}

const BATCH = 250;
const DEADLINE_MS = 30_000;
const COLLECTIONS = ["docs", "Docs.2", "docs-3"];
const TENANT = "fuzzed";
const EXPENDABLE = ["expendable", "expendable-2", "expendable_3"];
const SECURITY_HEADERS = [
	"x-content-type-options",
	"x-frame-options",
	"referrer-policy",
	"content-security-policy",
	"cache-control",
	"x-request-id",
];

/** Sends requests made from the node's own OpenAPI document, and nonsense, to a node of its own. */
export async function runFuzz(options: FuzzOptions): Promise<FuzzReport> {
	const node = await LocalNode.start({ env: ATTACKED_NODE_ENV });
	try {
		return await new FuzzRun(node, options).run();
	} finally {
		await node.stop();
		node.removeData();
	}
}

class FuzzRun {
	#requestCount = 0;
	#violationCount = 0;
	readonly #violations = new Map<string, FuzzViolation>();
	readonly #statuses = new Map<number, number>();
	readonly #succeeded = new Set<string>();

	constructor(
		private readonly node: LocalNode,
		private readonly options: FuzzOptions,
	) {}

	async run(): Promise<FuzzReport> {
		const { node, options } = this;
		const document = await ApiDocument.fetch(node.url);
		const url = new URL(node.url);
		const client = new RawClient(url.hostname, Number(url.port));
		const unlimited = { requests_per_minute: 1e9, requests_per_hour: 1e9, mcp_requests_per_minute: 1e9 };
		await node.call(node.adminKey(), "POST", "/tenants", {
			id: TENANT,
			quota: { max_collections: 8 },
			rate_limits: unlimited,
		});
		const { api_key: key } = await mintKey(node, TENANT);
		for (let batch = 0; this.#requestCount < options.requestCount; batch++) {
			const fixtures = await this.#restore(key);
			const count = Math.min(BATCH, options.requestCount - this.#requestCount);
			// fast-check takes seeds of 32 bits.
			const seed = (options.seed * 65_537 + batch) | 0;
			const requests = fc.sample(fuzzRequests(document, fixtures), { seed, numRuns: count });
			for (const each of requests) await this.#send(client, each);
			await this.#requireReady(batch);
		}
		client.close();
		return {
			requestCount: this.#requestCount,
			violationCount: this.#violationCount,
			violations: [...this.#violations.values()],
			statuses: this.#statuses,
			succeeded: this.#succeeded,
		};
	}

	/** Puts back what requests have destroyed, and removes what they have made. */
	async #restore(key: string): Promise<FuzzFixtures> {
		const { node } = this;
		const admin = node.adminKey();
		for (const owner of [key, admin]) {
			const { collections } = (await node.call(owner, "GET", "/collections")) as { collections: { name: string }[] };
			for (const { name } of collections) await node.call(owner, "DELETE", `/collections/${encodeURIComponent(name)}`);
		}
		for (const name of COLLECTIONS) await this.#fillCollection(key, name);
		const { tenants } = (await node.call(admin, "GET", "/tenants?limit=1000")) as { tenants: { id: string }[] };
		for (const { id } of tenants) {
			if (id !== TENANT && id !== "system") await node.call(admin, "DELETE", `/tenants/${id}`);
		}
		for (const id of EXPENDABLE) await node.call(admin, "POST", "/tenants", { id });
		const minted = await Promise.all(EXPENDABLE.map((id) => mintKey(node, id)));
		return {
			collections: COLLECTIONS,
			expendableTenantIds: EXPENDABLE,
			expendableKeyIds: minted.map((each) => each.api_key_id),
			tenantCredentials: [
				[["authorization", `Bearer ${key}`]],
				[["x-api-key", key]],
				[
					["x-api-key", admin],
					["x-tenant-id", TENANT],
				],
				[["x-api-key", minted[0]!.api_key]],
			],
			adminCredentials: [
				[["authorization", `Bearer ${admin}`]],
				[["x-api-key", admin]],
				[["x-api-key", admin]],
				[["x-api-key", key]],
			],
		};
	}

	async #fillCollection(key: string, name: string): Promise<void> {
		await this.node.call(key, "POST", "/collections", { name, dimension: 3 });
		await this.node.call(key, "POST", `/collections/${name}/vectors`, {
			vectors: [
				{ id: "kept", vector: [1, 0, 0], payload: { note: "x", place: { lat: 1, lon: 2 }, tags: ["a"] } },
				{ id: 7, vector: [0, 1, 0], payload: { note: 3, when: "2024-01-01T00:00:00Z", a: { b: [1, null] } } },
			],
		});
	}

	async #send(client: RawClient, fuzzed: FuzzRequest): Promise<void> {
		this.#requestCount++;
		let answer: RawAnswer;
		try {
			answer = await client.send(fuzzed.request, DEADLINE_MS);
		} catch (error) {
			if (error instanceof Hang) this.#violate("hang", fuzzed);
			else if (!(error instanceof NoAnswer)) throw error;
			else if (!fuzzed.isMalformed) this.#violate("no answer", fuzzed);
			return;
		}
		this.#statuses.set(answer.status, (this.#statuses.get(answer.status) ?? 0) + 1);
		if (answer.status >= 500) this.#violate("server error", fuzzed, answer);
		if (answer.status < 300) this.#succeeded.add(fuzzed.operation);
		// The HTTP parser beneath us refuses what is no request, in its own way.
		const isParsers = fuzzed.isMalformed && headerOf(answer, "x-request-id") === undefined;
		if (isParsers) return;
		const missing = SECURITY_HEADERS.filter((name) => headerOf(answer, name) === undefined);
		if (missing.length > 0) this.#violate("headers", fuzzed, answer, `without ${missing.join(", ")}`);
		if (answer.status >= 400 && fuzzed.request.method !== "HEAD") {
			const fault = errorFault(answer);
			if (fault !== undefined) this.#violate("error body", fuzzed, answer, fault);
		}
	}

	async #requireReady(batch: number): Promise<void> {
		const isReady =
			this.node.process.exitCode === null &&
			(await fetch(`${this.node.url}/ready`).then(
				(answer) => answer.ok,
				() => false,
			));
		if (isReady) return;
		const text = `after batch ${batch} the node is not ready; exit code ${this.node.process.exitCode}`;
		this.#violations.set("not ready", { rule: "not ready", text });
		this.#violationCount++;
		throw new Error(text);
	}

	#violate(rule: FuzzViolation["rule"], { operation, request }: FuzzRequest, answer?: RawAnswer, what = ""): void {
		this.#violationCount++;
		const place = `${rule} ${operation} ${what}`;
		if (this.#violations.has(place)) return;
		const sent = JSON.stringify(encodeRequest(request, "node").toString("latin1").slice(0, 2_000));
		const told = answer === undefined ? "" : `answers ${answer.status} ${answer.body.toString().slice(0, 500)}`;
		const shown = sent.replace(/hh_(live|test)_[A-Za-z0-9]+/g, "hh_$1_…");
		this.#violations.set(place, { rule, text: `${operation}: ${what}\n${shown}\n${told}` });
	}
}

interface MintedKey {
	readonly api_key: string;
	readonly api_key_id: string;
}

async function mintKey(node: LocalNode, tenantId: string): Promise<MintedKey> {
	const permissions = ["READ_WRITE"];
	return (await node.call(node.adminKey(), "POST", `/tenants/${tenantId}/keys`, { permissions })) as MintedKey;
}

/** How an error's body departs from CONTRACT section 3; undefined when it does not. */
function errorFault(answer: RawAnswer): string | undefined {
	let body: Record<string, unknown>;
	try {
		const isMsgpack = headerOf(answer, "content-type") === "application/msgpack";
		body = (isMsgpack ? decode(answer.body) : JSON.parse(answer.body.toString())) as Record<string, unknown>;
	} catch {
		return "no JSON";
	}
	const told = toldIn(body);
	if (typeof told === "string") return told;
	const { error, code, details, request_id } = told;
	if (typeof error !== "string" || error === "") return "no error text";
	if (!isErrorCode(code)) return "no known code";
	if (ERROR_TABLE[code].http !== answer.status) return `${code} with status ${answer.status}`;
	if (request_id !== headerOf(answer, "x-request-id")) return "request_id differs from the header";
	if (details !== undefined && (typeof details !== "object" || details === null)) return "details";
	return undefined;
}

type Told = Readonly<Record<string, unknown>>;

/** What an error body says, in the form of its protocol: REST's, GraphQL's or JSON-RPC's. @returns what is wrong with it, else */
function toldIn(body: Told): Told | string {
	if (Array.isArray(body.errors)) {
		const [first] = body.errors as readonly { readonly message?: unknown; readonly extensions?: Told }[];
		return { ...first?.extensions, error: first?.message };
	}
	if (body.jsonrpc === "2.0") {
		const { message, data } = (body.error ?? {}) as { readonly message?: unknown; readonly data?: Told };
		const { code, request_id } = data ?? {};
		return { error: message, code, request_id };
	}
	const unknown = Object.keys(body).find((name) => !["error", "code", "details", "request_id"].includes(name));
	return unknown === undefined ? body : `unknown field ${unknown}`;
}
