import type { LocalNode } from "../../scripts/local-node.ts";

export interface Answer {
	readonly status: number;
	// biome-ignore lint/suspicious/noExplicitAny: answers are held against expectations, not typed
	readonly body: any;
	readonly headers: Headers;
}

/** One REST call with a key; never throws on a status. */
export async function call(
	node: LocalNode,
	key: string | undefined,
	method: string,
	path: string,
	body?: unknown,
	headers: Readonly<Record<string, string>> = {},
): Promise<Answer> {
	const answer = await fetch(`${node.url}${path.startsWith("/api/") ? path : `/api/v1${path}`}`, {
		method,
		headers: {
			...(key === undefined ? {} : { authorization: `Bearer ${key}` }),
			...(body === undefined ? {} : { "content-type": "application/json" }),
			...headers,
		},
		...(body === undefined ? {} : { body: typeof body === "string" ? body : JSON.stringify(body) }),
	});
	const text = await answer.text();
	let parsed: unknown;
	try {
		parsed = JSON.parse(text);
	} catch {
		parsed = text;
	}
	return { status: answer.status, body: parsed, headers: answer.headers };
}

/** A tenant without limits and a key of it. */
export async function newTenant(
	node: LocalNode,
	id: string,
	options: { permissions?: readonly string[]; quota?: Record<string, number>; requestsPerMinute?: number } = {},
): Promise<string> {
	const perMinute = options.requestsPerMinute ?? 1_000_000;
	await node.call(node.adminKey(), "POST", "/tenants", {
		id,
		name: id,
		rate_limits: { requests_per_minute: perMinute, requests_per_hour: 100_000_000, mcp_requests_per_minute: perMinute },
		...(options.quota === undefined
			? {}
			: { quota: { max_storage_bytes: null, max_vectors: null, max_collections: null, ...options.quota } }),
	});
	return newKey(node, id, options.permissions ?? ["READ_WRITE"]);
}

export async function newKey(node: LocalNode, tenant: string, permissions: readonly string[]): Promise<string> {
	const minted = (await node.call(node.adminKey(), "POST", `/tenants/${tenant}/keys`, { permissions })) as {
		api_key: string;
	};
	return minted.api_key;
}

/** Everything in a collection, page by page. */
export async function scrollAll(
	node: LocalNode,
	key: string,
	collection: string,
): Promise<Map<string | number, { vector: number[]; payload?: Record<string, unknown> }>> {
	const all = new Map<string | number, { vector: number[]; payload?: Record<string, unknown> }>();
	let cursor: string | null = null;
	do {
		const page: Answer = await call(node, key, "POST", `/collections/${collection}/vectors/scroll`, {
			limit: 500,
			with_vector: true,
			...(cursor === null ? {} : { cursor }),
		});
		if (page.status !== 200) throw new Error(`scroll answers ${page.status}: ${JSON.stringify(page.body)}`);
		for (const found of page.body.vectors) all.set(found.id, found);
		cursor = page.body.next_cursor;
	} while (cursor !== null);
	return all;
}
