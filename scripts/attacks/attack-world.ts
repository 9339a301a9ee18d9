import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { LocalNode } from "../local-node.ts";
import { type Belongings, DIMENSION, inventBelongings, shadowOf, tellTales, withKeys } from "./belongings.ts";
import { Dice } from "./dice.ts";

/** A tenant with marked data, and keys of every kind to attack with. */
export interface Inhabitant {
	readonly owns: Belongings;
	readonly shadow: Belongings;
	readonly keys: {
		readonly READ_WRITE: string;
		readonly READ_ONLY: string;
		readonly MCP: string;
		readonly revoked: string;
	};
}

/** A node's tenants as an attack finds them. */
export interface AttackWorld {
	readonly node: LocalNode;
	readonly operatorKey: string;
	/** The last one never asks for anything while the attack lasts. */
	readonly inhabitants: readonly Inhabitant[];
	/** The operators' tenant, of which an attacker knows the name alone. */
	readonly system: { readonly owns: Belongings; readonly shadow: Belongings };
}

/** The collection in which a tenant's own calls write. Not among its belongings. */
export const SCRATCH = "scratch";
export const SCRATCH_IDS: readonly string[] = ["a-own-1", "a-own-2", "a-own-3"];

/**
 * Settings under which attacks reach the node's inside, instead of being kept out by its limits: bad keys are part of the
 * attack, and all of it comes from one address.
 */
export const ATTACKED_NODE_ENV: Readonly<Record<string, string>> = {
	HIVE_VECTOR_AUTH_BRUTE_FORCE_FAILURES: "1000000",
	HIVE_VECTOR_RATE_LIMITS_REQUESTS_PER_MINUTE: "1000000000",
	HIVE_VECTOR_RATE_LIMITS_REQUESTS_PER_HOUR: "1000000000",
	HIVE_VECTOR_RATE_LIMITS_MCP_REQUESTS_PER_MINUTE: "1000000000",
	HIVE_VECTOR_LOG_LEVEL: "error",
};

/** Fills a fresh node with tenants whose every piece of data can be told from all others'. */
export async function buildWorld(node: LocalNode, seed: number, tenantCount: number): Promise<AttackWorld> {
	const dice = new Dice(seed);
	const operatorKey = node.adminKey();
	const inhabitants: Inhabitant[] = [];
	for (let index = 0; index < tenantCount; index++) inhabitants.push(await settle(node, operatorKey, dice, index));
	const owns = { ...inhabitants.at(-1)!.owns, tenantId: "system" };
	const shadow = { ...inhabitants.at(-1)!.shadow, tenantId: "sxwqzv" };
	return { node, operatorKey, inhabitants, system: { owns, shadow } };
}

async function settle(node: LocalNode, operatorKey: string, dice: Dice, index: number): Promise<Inhabitant> {
	const invented = inventBelongings(dice, index);
	const { tenantId } = invented;
	await node.call(operatorKey, "POST", "/tenants", { id: tenantId, name: invented.tenantName });
	const mint = async (permissions: readonly string[]): Promise<{ id: string; key: string }> => {
		const minted = await node.call(operatorKey, "POST", `/tenants/${tenantId}/keys`, { permissions });
		const { api_key_id: id, api_key: key } = minted as { api_key_id: string; api_key: string };
		return { id, key };
	};
	const writer = await mint(["READ_WRITE"]);
	const reader = await mint(["READ_ONLY"]);
	const mcp = await mint(["MCP"]);
	const revoked = await mint(["READ_WRITE"]);
	await node.call(operatorKey, "DELETE", `/tenants/${tenantId}/keys/${revoked.id}`);
	for (const [place, name] of invented.collections.entries()) await fill(node, writer.key, invented, name, place);
	const collectionIds = readdirSync(join(node.dataDir, "tenants", tenantId)).filter((name) => /^[a-z0-9]+$/.test(name));
	const owns = { ...withKeys(invented, [writer, reader, mcp, revoked]), collectionIds };
	await node.call(writer.key, "POST", "/collections", {
		name: SCRATCH,
		dimension: DIMENSION,
		text: { provider: "openai", fields: ["note"] },
	});
	await node.call(writer.key, "POST", `/collections/${SCRATCH}/vectors`, {
		vectors: SCRATCH_IDS.map((id, axis) => ({ id, vector: [1, 2, 3, axis + 1], payload: { note: "own" } })),
	});
	const keys = { READ_WRITE: writer.key, READ_ONLY: reader.key, MCP: mcp.key, revoked: revoked.key };
	const shadow = shadowOf(dice, owns);
	const shared = tellTales(shadow).filter((text) => tellTales(owns).includes(text));
	if (shared.length > 0) throw new Error(`a shadow that is no shadow: ${shared[0]}`);
	return { owns, shadow, keys };
}

async function fill(node: LocalNode, key: string, owner: Belongings, name: string, place: number): Promise<void> {
	const isOfTexts = place > 0;
	const payload = { [owner.payloadField]: owner.payloadTexts[0], secret: owner.payloadTexts[1], place };
	const ids = [...owner.stringIds, ...owner.numericIds, ...owner.digitIds];
	await node.call(key, "POST", "/collections", {
		name,
		dimension: DIMENSION,
		metric: "cosine",
		...(isOfTexts && { text: { provider: "openai", fields: ["secret"] } }),
	});
	await node.call(key, "PUT", `/collections/${name}/payload-indexes/${owner.payloadField}`, { type: "keyword" });
	await node.call(key, "POST", `/collections/${name}/vectors`, {
		vectors: ids.map((id, index) => ({ id, vector: owner.vectors[index], payload })),
	});
	if (!isOfTexts) return;
	for (const path of owner.stringIds) {
		const text = `# ${owner.payloadTexts[0]}\n\n${owner.payloadTexts[1]}\n`;
		await node.call(key, "POST", `/collections/${name}/documents`, { path, text });
	}
}
