import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import type { NodeId } from "../base/ids.ts";
import type { HubTransport } from "../hub/hub-http-client.ts";
import { HUB_LIMITS } from "../hub/hub-limits.ts";
import { PEER_LIMITS } from "./peer/peer-limits.ts";
import type { PeerCalls, PeerHandler } from "./peer/peer-types.ts";

/** What a member asks of the one that runs the cluster's embedded hub. */
export const HUB_METHOD = "hub.request";

/** The host that requests to a hub within the cluster name; it is looked up nowhere. */
export const HUB_ORIGIN = "http://embedded-hub";

const PATH_PREFIX = "/api/v1/";
const PATH_LENGTH_MAX = 8_192;
const METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"] as const;
const REQUEST_HEADERS = ["content-type", "x-request-id"] as const;
const ANSWER_HEADERS = ["content-type", "x-request-id", "retry-after", "allow"] as const;

/** Of these the answers may be long, and nothing shall wait behind them. */
const LONG_ANSWER = /\/(?:changes|tenants|keys|collections|topology)$/;

const bytes = (max: number) => z.instanceof(Uint8Array).refine((body) => body.byteLength <= max, { error: "too long" });
/** As HTTP admits them. */
const HEADER_VALUE = /^[\t\x20-\x7e]{0,1024}$/;
const headersSchema = z.record(z.string().regex(/^[a-z0-9-]{1,64}$/), z.string().regex(HEADER_VALUE));

const requestSchema = z.object({
	method: z.enum(METHODS),
	path: z.string().startsWith(PATH_PREFIX).max(PATH_LENGTH_MAX),
	headers: headersSchema,
	body: bytes(HUB_LIMITS.requestBodyBytesMax).nullable(),
});

const answerSchema = z.object({
	status: z.int().min(200).max(599),
	headers: headersSchema,
	body: bytes(HUB_LIMITS.answerBytesMax),
});

export interface HubOverPeersParts {
	readonly calls: PeerCalls;
	/** The member that runs the embedded hub, as the topology has it now. */
	readonly hubNode: () => NodeId | undefined;
	/** For one request; a long poll may take the time it asks the hub to wait besides. */
	readonly timeoutSeconds: number;
}

/** The way to the hub of a node that joined a cluster and has none of its own: through the member that has. */
export class HubOverPeers {
	readonly #parts: HubOverPeersParts;

	constructor(parts: HubOverPeersParts) {
		this.#parts = parts;
	}

	/** For `HubHttpClient`. @throws HUB_UNAVAILABLE when no member answers for the hub */
	readonly transport: HubTransport = async (request) => {
		const { calls, hubNode, timeoutSeconds } = this.#parts;
		const nodeId = hubNode();
		if (nodeId === undefined) throw new HiveError("HUB_UNAVAILABLE", "no member of the cluster runs a hub");
		const url = new URL(request.url);
		const body = request.body === null ? null : new Uint8Array(await request.arrayBuffer());
		const waitSeconds = Math.min(Number(url.searchParams.get("wait") ?? 0) || 0, HUB_LIMITS.changeWaitSecondsMax);
		const asked = calls.call(
			nodeId,
			HUB_METHOD,
			{
				method: request.method,
				path: `${url.pathname}${url.search}`,
				headers: allowedHeaders(request.headers, REQUEST_HEADERS),
				body,
			},
			{
				timeoutMs: (waitSeconds + timeoutSeconds) * 1_000,
				isBulk: LONG_ANSWER.test(url.pathname) || (body?.byteLength ?? 0) >= PEER_LIMITS.bulkBytesMin,
				signal: request.signal,
			},
		);
		const answer = await asked.catch((error: unknown) => {
			// Refusals of the hub itself come as answers: whatever is thrown is the way there.
			throw new HiveError("HUB_UNAVAILABLE", "the node that runs the hub does not answer", undefined, { cause: error });
		});
		const parsed = answerSchema.safeParse(answer);
		if (!parsed.success) {
			throw new HiveError("HUB_UNAVAILABLE", "the hub's answer makes no sense", undefined, { cause: parsed.error });
		}
		return new Response(parsed.data.body, { status: parsed.data.status, headers: parsed.data.headers });
	};
}

/**
 * The side of the node that runs the hub. That the caller is a member, which its identity has proven, is what lets it in: the
 * service key never leaves this process.
 */
export function hubRequestHandler(
	hub: { handle(request: Request): Promise<Response> },
	serviceKey: string,
): PeerHandler {
	return async (body, { signal }) => {
		const parsed = requestSchema.safeParse(body);
		if (!parsed.success) {
			throw new HiveError("VALIDATION_FAILED", "this is no request to the hub", undefined, { cause: parsed.error });
		}
		const { method, path, headers, body: content } = parsed.data;
		const url = new URL(`${HUB_ORIGIN}${path}`);
		// Dots in a path may lead out of where it begins.
		if (url.origin !== HUB_ORIGIN || !url.pathname.startsWith(PATH_PREFIX)) {
			throw new HiveError("VALIDATION_FAILED", "this is no request to the hub");
		}
		const request = new Request(url.href, {
			method,
			headers: { ...allowedHeaders(new Headers(headers), REQUEST_HEADERS), authorization: `Bearer ${serviceKey}` },
			signal,
			...(content !== null && method !== "GET" && { body: content }),
		});
		const answer = await hub.handle(request);
		return {
			status: answer.status,
			headers: allowedHeaders(answer.headers, ANSWER_HEADERS),
			body: new Uint8Array(await answer.arrayBuffer()),
		};
	};
}

function allowedHeaders(headers: Headers, names: readonly string[]): Record<string, string> {
	const allowed: Record<string, string> = {};
	for (const name of names) {
		const value = headers.get(name);
		if (value !== null) allowed[name] = value;
	}
	return allowed;
}
