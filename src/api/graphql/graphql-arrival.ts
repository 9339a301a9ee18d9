import { HiveError } from "../../base/errors.ts";
import type { Arrival } from "../../operations/pipeline-types.ts";
import type { MountedArrival } from "../wire/mount.ts";
import type { Presented } from "../wire/mounted-arrival.ts";

export const showsKey = ({ credentials }: Pick<Arrival, "credentials">): boolean =>
	credentials.authorization !== undefined || credentials.apiKey !== undefined;

/**
 * What a client that can set no headers says in `connection_init`: the same names, in any case. Without a key there, what came
 * with the upgrade counts.
 *
 * @throws VALIDATION_FAILED
 */
export function presentedIn(params: Readonly<Record<string, unknown>>, arrival: MountedArrival): Presented {
	const said = new Map(Object.entries(params).map(([name, value]) => [name.toLowerCase(), value]));
	const text = (name: string): string | undefined => {
		const value = said.get(name) ?? undefined;
		if (value === undefined || typeof value === "string") return value;
		throw new HiveError("VALIDATION_FAILED", `${name} is no text`, { field: name });
	};
	const authorization = text("authorization");
	const apiKey = text("x-api-key");
	const actingTenant = text("x-tenant-id") ?? arrival.actingTenant;
	const acting = actingTenant !== undefined && { actingTenant };
	if (authorization === undefined && apiKey === undefined) return { credentials: arrival.credentials, ...acting };
	return {
		credentials: {
			...(authorization !== undefined && { authorization }),
			...(apiKey !== undefined && { apiKey }),
		},
		...acting,
	};
}
