import type { Arrival } from "../../operations/pipeline-types.ts";
import type { MountedArrival } from "./mount.ts";

export type Presented = Pick<Arrival, "credentials" | "actingTenant">;

/** Who comes, as the pipeline is told. @param presented instead of what came in headers */
export const arrivalOver = (
	protocol: Arrival["protocol"],
	arrival: MountedArrival,
	presented: Presented = arrival,
): Arrival => ({
	credentials: presented.credentials,
	...(presented.actingTenant !== undefined && { actingTenant: presented.actingTenant }),
	requestId: arrival.requestId,
	remoteAddress: arrival.remoteAddress,
	protocol,
	// Told only to whoever looks for a signature: some requests have no address that could be signed.
	get message() {
		return arrival.message;
	},
});
