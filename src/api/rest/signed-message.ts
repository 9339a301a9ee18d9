import type { RequestMessage } from "../../access/message-signature.ts";
import { HiveError } from "../../base/errors.ts";
import { pathOf, type RestRoute } from "./rest-route.ts";

/**
 * What a signature of this request is about. The address is the one that was acted on, or there is none: a signature for one
 * address must never pass for another.
 *
 * @param pathValues the path's fields, as the operation gets them
 * @throws AUTH_SIGNATURE_INVALID where the address can't be told for certain
 */
export function signedMessage(
	request: Request,
	route: Pick<RestRoute, "path">,
	pathValues: Readonly<Record<string, string>>,
): RequestMessage {
	const { url } = request;
	// Without a usable `Host` the server knows the path alone.
	if (url.startsWith("/")) throw unsignable("a signed request needs a Host header that names this server");
	// A fragment is none to the server, which takes it for a part of the path or query.
	if (url.includes("#") || !isActedOn(pathOf(url), route, pathValues)) {
		throw unsignable("a signed request must percent-encode what an address may not hold as it is");
	}
	return { method: request.method, url, headers: request.headers };
}

/** The server routes by the address as it was sent, but tells it with some characters replaced. */
function isActedOn(
	path: string,
	route: Pick<RestRoute, "path">,
	pathValues: Readonly<Record<string, string>>,
): boolean {
	const segments = path.split("/");
	const wanted = route.path.split("/");
	return (
		segments.length === wanted.length &&
		wanted.every((template, index) => {
			const segment = segments[index]!;
			return template.startsWith("{") ? decoded(segment) === pathValues[template.slice(1, -1)] : segment === template;
		})
	);
}

function decoded(segment: string): string | undefined {
	try {
		return decodeURIComponent(segment);
	} catch {
		return undefined;
	}
}

const unsignable = (why: string): HiveError => new HiveError("AUTH_SIGNATURE_INVALID", why);
