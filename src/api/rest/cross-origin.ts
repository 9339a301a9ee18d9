import { REST_LIMITS } from "./rest-limits.ts";

/** What an invited page may send along. */
const REQUEST_HEADERS = [
	"authorization",
	"x-api-key",
	"content-type",
	"x-tenant-id",
	"x-request-id",
	"accept",
	"signature",
	"signature-input",
	"content-digest",
	"mcp-protocol-version",
	"mcp-method",
	"mcp-name",
].join(", ");

/** What it may read of an answer, besides what any page may. */
const ANSWER_HEADERS = [
	"X-Request-ID",
	"X-Tenant-ID",
	"X-RateLimit-Limit",
	"X-RateLimit-Remaining",
	"X-RateLimit-Reset",
	"X-Storage-Used",
	"X-Storage-Quota",
	"Retry-After",
	"X-API-Key-Deprecated",
	"X-API-Key-Expires",
].join(", ");

/**
 * Which web pages of other origins may ask (CORS, the Fetch standard, section 3.3). Cookies are never taken, so credentials are
 * never allowed, and a page must bring a key like any other client.
 */
export class CrossOrigin {
	readonly #invited: ReadonlySet<string>;

	/** @param origins as browsers write them, `https://app.example.com`; none: no page of another origin may. */
	constructor(origins: readonly string[]) {
		this.#invited = new Set(origins);
	}

	isInvited(origin: string): boolean {
		return this.#invited.has(origin);
	}

	/** Adds what a browser needs to hand the answer to the page. */
	addHeaders(headers: Record<string, string>, request: Request): void {
		if (this.#invited.size === 0) return;
		headers.Vary = "Origin";
		const origin = request.headers.get("origin");
		if (origin === null || !this.#invited.has(origin)) return;
		headers["Access-Control-Allow-Origin"] = origin;
		headers["Access-Control-Expose-Headers"] = ANSWER_HEADERS;
	}

	/** Whether a browser asks for an invited page what it may do here. */
	isPreflight(request: Request): boolean {
		if (request.method !== "OPTIONS" || this.#invited.size === 0) return false;
		const origin = request.headers.get("origin");
		return origin !== null && this.#invited.has(origin) && request.headers.has("access-control-request-method");
	}

	/** @param methods what the address takes. */
	addPreflightHeaders(headers: Record<string, string>, methods: readonly string[]): void {
		headers["Access-Control-Allow-Methods"] = methods.join(", ");
		headers["Access-Control-Allow-Headers"] = REQUEST_HEADERS;
		headers["Access-Control-Max-Age"] = String(REST_LIMITS.corsMaxAgeSeconds);
	}
}
