import type { AnswerFacts } from "../../operations/pipeline-types.ts";

/** Seconds for which browsers keep to TLS. */
const HSTS_SECONDS = 31_536_000;

/** Nothing an API answers is to be run, framed or fetched from by a browser. */
const API_POLICY = "default-src 'none'; frame-ancestors 'none'";

/** What every answer carries (CONTRACT section 3); a page may have a policy of its own. */
export function securityHeaders(isTls: boolean): Record<string, string> {
	const headers: Record<string, string> = {
		"X-Content-Type-Options": "nosniff",
		"X-Frame-Options": "DENY",
		"Referrer-Policy": "no-referrer",
		"Content-Security-Policy": API_POLICY,
		"Cache-Control": "no-store",
	};
	if (isTls) headers["Strict-Transport-Security"] = `max-age=${HSTS_SECONDS}`;
	return headers;
}

/** Writes down what the pipeline found out, as headers (CONTRACT section 3). */
export function addFactHeaders(headers: Record<string, string>, facts: AnswerFacts): void {
	headers["X-Request-ID"] = facts.requestId;
	const { rateLimit, storage } = facts;
	if (facts.tenantId !== undefined) headers["X-Tenant-ID"] = facts.tenantId;
	if (rateLimit !== undefined) {
		headers["X-RateLimit-Limit"] = String(rateLimit.limit);
		headers["X-RateLimit-Remaining"] = String(rateLimit.remaining);
		headers["X-RateLimit-Reset"] = String(rateLimit.resetUnixSeconds);
	}
	if (storage !== undefined) {
		headers["X-Storage-Used"] = String(storage.usedBytes);
		headers["X-Storage-Quota"] = storage.quotaBytes === null ? "unlimited" : String(storage.quotaBytes);
	}
	if (facts.retryAfterSeconds !== undefined) {
		// Whole seconds, and never "now": that would only bring the client back too early.
		headers["Retry-After"] = String(Math.max(1, Math.ceil(facts.retryAfterSeconds)));
	}
	if (facts.keyDeprecatedUntil !== undefined) {
		headers["X-API-Key-Deprecated"] = "true";
		headers["X-API-Key-Expires"] = facts.keyDeprecatedUntil;
	}
}
