import type { Arrival } from "../../operations/pipeline-types.ts";

/** What of a request was found out on the way in. */
export type CallFacts = Pick<Arrival, "credentials" | "actingTenant" | "requestId" | "remoteAddress">;

/** @param isForeignPage asked only of who shows no key. */
export function callFacts(
	{ headers }: Request,
	requestId: string,
	remoteAddress: string,
	isForeignPage: () => boolean,
): CallFacts {
	const authorization = headers.get("authorization");
	const apiKey = headers.get("x-api-key");
	const actingTenant = headers.get("x-tenant-id");
	return {
		credentials: {
			...(authorization === null ? undefined : { authorization }),
			...(apiKey === null ? undefined : { apiKey }),
			...(authorization === null && apiKey === null && { isForeignPage: isForeignPage() }),
		},
		...(actingTenant === null ? undefined : { actingTenant }),
		requestId,
		remoteAddress,
	};
}
