import { timingSafeEqual } from "node:crypto";
import type { Clock } from "../../base/clock.ts";
import { ERROR_TABLE, HiveError } from "../../base/errors.ts";
import { hashKey, newRequestId, type RandomBytes, REQUEST_ID_PATTERN, SERVICE_KEY_PATTERN } from "../../base/ids.ts";
import { ChangeStore } from "./change-store.ts";
import { CollectionStore } from "./collection-store.ts";
import type { HubDatabase } from "./hub-database.ts";
import { HUB_ROUTES, type HubRoute, type HubStores } from "./hub-routes.ts";
import { KeyStore } from "./key-store.ts";
import { readJsonBody, readQuery } from "./request-input.ts";
import { TenantStore } from "./tenant-store.ts";
import { TopologyStore } from "./topology-store.ts";
import { UsageStore } from "./usage-store.ts";

export interface HubServerOptions {
	/** Closed with the server. */
	readonly database: HubDatabase;
	readonly clock: Clock;
	readonly random: RandomBytes;
	/** SHA-256, lower-case hex, of the service keys that may ask (`hashKey`). */
	readonly serviceKeyHashes: readonly string[];
	readonly version: string;
	/** What nodes send to `POST /logs`. */
	readonly onLogs: (entries: readonly Record<string, unknown>[]) => void;
	/** Told of what answered INTERNAL. */
	readonly onDefect: (error: unknown, requestId: string) => void;
}

/** The HiveHub API as a function of a request, to be called in-process or mounted on a socket. */
export interface HubServer {
	/**
	 * Never throws. A socket in front of it must allow an answer 60 s and a body `requestBodyBytesMax`: `GET /changes`
	 * waits that long.
	 */
	handle(request: Request): Promise<Response>;
	/** Ends long polls, waits for the requests under way, closes the database. */
	close(): Promise<void>;
}

const PREFIX = "/api/v1";

/** The embedded hub (CONTRACT section 6), whole. */
export function createHubServer(options: HubServerOptions): HubServer {
	const { database, clock, random } = options;
	const changes = new ChangeStore(database, clock);
	const stores: HubStores = {
		tenants: new TenantStore(database, clock),
		keys: new KeyStore(database, clock, random),
		collections: new CollectionStore(database, clock, random),
		usage: new UsageStore(database),
		topology: new TopologyStore(database),
		changes,
		onLogs: options.onLogs,
		version: options.version,
	};
	const serviceKeyHashes = options.serviceKeyHashes.map((hash) => Buffer.from(hash, "hex"));
	const underWay = new Set<Promise<unknown>>();
	let closing: Promise<void> | undefined;

	async function answer(request: Request, requestId: string): Promise<Response> {
		try {
			if (closing !== undefined) throw new HiveError("HUB_UNAVAILABLE", "the hub is shutting down");
			const url = new URL(request.url);
			const found = matchPath(url.pathname);
			const route = found.find(({ route }) => route.method === request.method);
			// Whoever has no key learns nothing, not even which paths exist.
			if (route?.route.public !== true) authenticate(request, serviceKeyHashes);
			if (route === undefined) throw routeMissing(found);
			const body = await route.route.run(stores, {
				path: route.path,
				query: () => readQuery(url),
				body: () => readJsonBody(request),
				signal: request.signal,
			});
			return Response.json(body, { status: route.route.status ?? 200, headers: headersFor(requestId) });
		} catch (error) {
			if (!(error instanceof HiveError)) options.onDefect(error, requestId);
			return errorResponse(error, requestId);
		}
	}

	return {
		async handle(request) {
			const given = request.headers.get("x-request-id");
			const requestId = given !== null && REQUEST_ID_PATTERN.test(given) ? given : newRequestId(random);
			const answered = answer(request, requestId);
			underWay.add(answered);
			try {
				return await answered;
			} finally {
				underWay.delete(answered);
			}
		},
		close() {
			closing ??= (async () => {
				changes.close();
				await Promise.all(underWay);
				await database.close();
			})();
			return closing;
		},
	};
}

interface MatchedRoute {
	readonly route: HubRoute;
	readonly path: Record<string, string>;
}

function matchPath(pathname: string): readonly MatchedRoute[] {
	if (!pathname.startsWith(`${PREFIX}/`)) return [];
	const given = pathname.slice(PREFIX.length).split("/");
	const matched: MatchedRoute[] = [];
	for (const route of HUB_ROUTES) {
		const wanted = route.path.split("/");
		const path: Record<string, string> = {};
		const fits =
			wanted.length === given.length &&
			wanted.every((segment, index) => {
				if (!segment.startsWith("{")) return segment === given[index];
				path[segment.slice(1, -1)] = decodeSegment(given[index]!);
				return true;
			});
		if (fits) matched.push({ route, path });
	}
	return matched;
}

/** A broken escape stays as it is, and as no name contains `%` it finds nothing. */
function decodeSegment(segment: string): string {
	try {
		return decodeURIComponent(segment);
	} catch {
		return segment;
	}
}

function routeMissing(samePath: readonly MatchedRoute[]): HiveError {
	if (samePath.length === 0) return new HiveError("NOT_FOUND", "the hub has no such path");
	const allowed = samePath.map(({ route }) => route.method);
	return new HiveError("METHOD_NOT_ALLOWED", `this path takes ${allowed.join(", ")}`, { allowed });
}

function authenticate(request: Request, serviceKeyHashes: readonly Buffer[]): void {
	const header = request.headers.get("authorization");
	if (header === null) throw new HiveError("AUTH_MISSING", "the hub needs a service key: Authorization: Bearer svc_…");
	const token = /^bearer +(\S+) *$/i.exec(header)?.[1];
	if (token === undefined || !SERVICE_KEY_PATTERN.test(token)) {
		throw new HiveError("AUTH_INVALID_FORMAT", "a service key is svc_ and 40 letters or digits");
	}
	const given = Buffer.from(hashKey(token), "hex");
	// Every key is compared to its end, so the time taken says nothing about them.
	let known = false;
	for (const hash of serviceKeyHashes) known = timingSafeEqual(hash, given) || known;
	if (!known) throw new HiveError("AUTH_INVALID", "the hub does not know this service key");
}

function headersFor(requestId: string): Record<string, string> {
	return { "x-request-id": requestId, "cache-control": "no-store", "x-content-type-options": "nosniff" };
}

function errorResponse(error: unknown, requestId: string): Response {
	const hiveError =
		error instanceof HiveError
			? error
			: new HiveError("INTERNAL", "the hub failed to answer", undefined, { cause: error });
	const { code, message, details } = hiveError.toWire();
	const headers = headersFor(requestId);
	const { http } = ERROR_TABLE[code];
	if (http === 401) headers["www-authenticate"] = "Bearer";
	if (http === 503) headers["retry-after"] = "1";
	const allowed = details?.allowed;
	if (code === "METHOD_NOT_ALLOWED" && Array.isArray(allowed)) headers.allow = allowed.join(", ");
	const body = { error: message, code, ...(details !== undefined && { details }), request_id: requestId };
	return Response.json(body, { status: http, headers });
}
