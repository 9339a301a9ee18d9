import type { Inhabitant } from "./attack-world.ts";
import type { Belongings } from "./belongings.ts";
import type { Dice } from "./dice.ts";
import { asBytes } from "./raw-http.ts";

export type Headers = (readonly [string, string])[];

/** @param operatorKey with which to act in the attacker's tenant, instead of a key of that tenant's */
export function credentialsOf(dice: Dice, { keys, owns }: Inhabitant, operatorKey?: string): Headers {
	if (operatorKey !== undefined) {
		return [
			["authorization", `Bearer ${operatorKey}`],
			["x-tenant-id", owns.tenantId],
		];
	}
	const roll = dice.next();
	if (roll < 0.02) return [];
	if (roll < 0.04) return [["authorization", `Bearer ${keys.revoked}`]];
	const key = roll < 0.1 ? keys.MCP : roll < 0.25 ? keys.READ_ONLY : keys.READ_WRITE;
	return dice.chance(0.3) ? [["x-api-key", key]] : [["authorization", `Bearer ${key}`]];
}

/**
 * Headers by which a careless server might take the caller for somebody else, or for somewhere else.
 *
 * @param actsElsewhere how probably they name the tenant in which to act, 0..1
 */
export function foreignHeaders(dice: Dice, target: Belongings, own: Belongings, actsElsewhere: number): Headers {
	const { tenantId } = target;
	const stolen = dice.pick([...target.keyHashes, ...target.maimedKeys, ...target.keyIds]);
	const acting: readonly Headers[] = [
		[["x-tenant-id", tenantId]],
		[["X-TENANT-ID", tenantId.toUpperCase()]],
		[["x-tenant-id", `${own.tenantId}, ${tenantId}`]],
		[
			["x-tenant-id", own.tenantId],
			["x-tenant-id", tenantId],
		],
		[["x-tenant-id", ` ${tenantId} `]],
		[["x-tenant-id", `${tenantId}:${target.collections[0]}`]],
		[["x-tenant-id", asBytes(`${tenantId}\u200b`)]],
		[["x-tenant-id", `../${tenantId}`]],
	];
	const around: readonly Headers[] = [
		[["x-api-key", stolen]],
		[["authorization", `Bearer ${stolen}`]],
		[["authorization", `Basic ${Buffer.from(`${tenantId}:${stolen}`).toString("base64")}`]],
		[["x-forwarded-for", "127.0.0.1"]],
		[
			["x-forwarded-for", `10.0.0.1, ${tenantId}`],
			["x-real-ip", "127.0.0.1"],
		],
		[["forwarded", `for=127.0.0.1;host=${tenantId};proto=https`]],
		[["x-original-url", `/api/v1/collections/${target.collections[0]}`]],
		[["x-rewrite-url", `/api/v1/tenants/${tenantId}`]],
		[["x-http-method-override", "DELETE"]],
		[["x-forwarded-host", `${tenantId}.example.com`]],
		[["host", `${tenantId}.example.com`]],
		[["origin", `https://${tenantId}.example.com`]],
		[["referer", `https://${tenantId}.example.com/`]],
		[["cookie", `tenant_id=${tenantId}; api_key=${stolen}; session=${target.keyIds[0]}`]],
		[["x-tenant", tenantId]],
		[
			["x-user", tenantId],
			["x-hivehub-internal", "true"],
			["x-admin", "true"],
		],
		[["if-none-match", `"${target.collections[0]}"`]],
		[["accept", "application/msgpack"]],
	];
	if (!dice.chance(actsElsewhere)) return dice.pick(around);
	return [...dice.pick(acting), ...(dice.chance(0.3) ? dice.pick(around) : [])];
}
