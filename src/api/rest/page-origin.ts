import { isLoopback } from "../../base/loopback.ts";

/**
 * Whether a web page of another origin may have sent this. Browsers let any page post to any address, a node on the user's
 * own machine included, so where nobody needs a key this is what keeps other people's pages out.
 *
 * @param isLoopbackOnly whether the node can be reached from its own machine alone. Then `Host` must be a name of this
 *        machine: a page whose own name was made to lead here (DNS rebinding) would else count as of the same origin.
 * @param isInvited whether the operator lets pages of an origin in.
 */
export function isForeignPage(
	headers: Headers,
	isLoopbackOnly: boolean,
	isInvited: (origin: string) => boolean,
): boolean {
	const origin = headers.get("origin");
	if (origin !== null && isInvited(origin)) return false;
	if (hasForeignOrigin(headers, isInvited)) return true;
	return isLoopbackOnly && !isLoopback(nameOf(namedHost(headers)));
}

/** Whether a web page of an origin that is neither this server nor invited sent this. */
export function hasForeignOrigin(headers: Headers, isInvited: (origin: string) => boolean): boolean {
	const origin = headers.get("origin");
	return origin !== null && !isInvited(origin) && hostOf(origin) !== namedHost(headers);
}

const namedHost = (headers: Headers): string => headers.get("host")?.toLowerCase() ?? "";

/** With its port. Undefined for an opaque origin, `null`. */
const hostOf = (origin: string): string | undefined => /^https?:\/\/([^/]+)$/.exec(origin.toLowerCase())?.[1];

/** `[::1]:7801` is `::1`. */
const nameOf = (host: string): string => /^\[?(.*?)\]?(?::\d+)?$/.exec(host)?.[1] ?? "";
