import { type AttackWorld, type Inhabitant, SCRATCH } from "./attack-world.ts";

type Fields = Record<string, unknown>;

/** Everything that others must not have changed, by tenant, as text that can be compared. */
export async function readBack(world: AttackWorld): Promise<ReadonlyMap<string, string>> {
	const read = new Map<string, string>();
	for (const inhabitant of world.inhabitants) {
		read.set(inhabitant.owns.tenantId, JSON.stringify(await everythingOf(world, inhabitant), null, 1));
	}
	return read;
}

async function everythingOf(world: AttackWorld, { owns, keys }: Inhabitant): Promise<Fields> {
	const { node, operatorKey } = world;
	const key = keys.READ_WRITE;
	const { collections } = (await node.call(key, "GET", "/collections")) as { collections: Fields[] };
	const data: Fields[] = [];
	for (const shown of collections) {
		if (shown.name === SCRATCH) continue;
		const { disk_bytes: _, index_state: __, indexed_vectors: ___, ...steady } = shown;
		const scrolled = await node.call(key, "POST", `/collections/${shown.name}/vectors/scroll`, {
			limit: 1_000,
			with_vector: true,
		});
		const counted = await node.call(key, "POST", `/collections/${shown.name}/vectors/count`, {});
		const documents = await documentsOf(world, key, String(shown.name));
		data.push({ ...steady, scrolled, counted, documents });
	}
	const usage = (await node.call(key, "GET", "/usage")) as Fields;
	const tenant = await node.call(operatorKey, "GET", `/tenants/${owns.tenantId}`);
	const listed = (await node.call(operatorKey, "GET", `/tenants/${owns.tenantId}/keys`)) as { keys: Fields[] };
	return {
		data,
		tenant,
		keys: listed.keys.map(({ last_used_at: _, ...steady }) => steady),
		storage: usage.storage,
		collections: usage.collections,
		vectors: usage.vectors,
	};
}

async function documentsOf({ node }: AttackWorld, key: string, collection: string): Promise<readonly unknown[]> {
	const path = `/collections/${collection}/documents`;
	const { files } = (await node.call(key, "GET", path)) as { files: { path: string }[] };
	return await Promise.all(
		files.map(async (shown) => [
			shown,
			await node.call(key, "GET", `${path}/content?path=${encodeURIComponent(shown.path)}`),
		]),
	);
}

/** What the node knows of a tenant's requests, at its meters and in its metrics. Asking changes nothing of it. */
export async function countedRequests({ node, operatorKey }: AttackWorld, tenantId: string): Promise<string> {
	const answer = await fetch(`${node.url}/metrics`, { headers: { authorization: `Bearer ${operatorKey}` } });
	if (!answer.ok) throw new Error(`GET /metrics answers ${answer.status}`);
	const series = (await answer.text()).split("\n").filter((line) => line.includes(`tenant_id="${tenantId}"`));
	const { rate_limits: limits, ...usage } = (await node.call(
		operatorKey,
		"GET",
		`/cluster/usage?tenant_id=${tenantId}`,
	)) as { rate_limits: Record<string, { used: number }> };
	const used = Object.entries(limits).map(([name, bucket]) => `${name} ${bucket.used > 0 ? "used" : "full"}`);
	return [...series, JSON.stringify(usage, null, 1), ...used].join("\n");
}
