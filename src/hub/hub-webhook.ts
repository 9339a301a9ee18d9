import { Webhook } from "standardwebhooks";
import { z } from "zod";
import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import type { ApiKeyId } from "../base/ids.ts";
import { tenantIdSchema } from "../base/schemas.ts";
import type { HubNews } from "./write-through-hub-client.ts";

/** What HiveHub sent, as it came. Nothing here is trusted. */
export interface WebhookDelivery {
	/** `webhook-id`, `webhook-timestamp` (Unix seconds) and `webhook-signature`; undefined where the header was absent. */
	readonly id: string | undefined;
	readonly timestamp: string | undefined;
	readonly signature: string | undefined;
	/** The very text that was signed. */
	readonly body: string;
}

/** `duplicate`: taken before, nothing done. `ignored`: of a type that this version does not know. */
export type WebhookOutcome = "taken" | "duplicate" | "ignored";

/** What is done about a delivery: the directory's side of it. */
export type WebhookNews = Pick<
	HubNews,
	"hashOf" | "keyForgotten" | "keyMinted" | "keyUnsure" | "tenantUnsure" | "tenantDeleted"
>;

export interface HubWebhooksOptions {
	/** `whsec_` and base64. */
	readonly secret: string;
	/** Its wall clock decides when an id may be forgotten; the window itself is kept by the library, on the system's clock. */
	readonly clock: Pick<Clock, "nowMs">;
	readonly news: WebhookNews;
	/** Has the feed of changes asked at once: a delivery says that something changed, the feed says what. */
	readonly nudge: () => void;
	/** Ids remembered at once; the default is ID_COUNT_MAX. */
	readonly idCountMax?: number;
}

const BODY_BYTES_MAX = 64 * 1024;
/** The library's: older and later deliveries are refused. */
const WINDOW_SECONDS = 300;
const ID_COUNT_MAX = 10_000;
const OVERLOADED_RETRY_SECONDS = 60;
/** Several may be sent while a secret is being replaced. */
const SIGNATURE_LENGTH_MAX = 4_096;
/** The parts of what is signed are joined by dots: with a dot inside, one text could be read as two deliveries. */
const ID_PATTERN = /^[\x21-\x2d\x2f-\x7e]{1,256}$/;
const TIMESTAMP_PATTERN = /^\d{1,11}$/;

/** More fields may be there, of which nothing is taken. */
const pushSchema = z.object({ type: z.string().min(1).max(256), data: z.unknown() });

const keyDataSchema = z
	.object({
		key_hash: z
			.string()
			.regex(/^[0-9a-f]{64}$/, "SHA-256 in lower-case hex")
			.optional(),
		api_key_id: z
			.string()
			.min(1)
			.max(128)
			.transform((text) => text as ApiKeyId)
			.optional(),
	})
	.refine((data) => data.key_hash !== undefined || data.api_key_id !== undefined, {
		error: "name the key by key_hash or api_key_id",
		path: ["key_hash"],
	});
const tenantDataSchema = z.object({ tenant_id: tenantIdSchema });

/**
 * HiveHub's push (CONTRACT section 3), signed as Standard Webhooks are. A delivery is a hint, not an authority: what it names
 * is dropped from the cache or asked for again, and nothing it says enters the cache. So whoever learned the secret can make
 * a node ask its hub more often, and nothing else.
 */
export class HubWebhooks {
	readonly #options: HubWebhooksOptions;
	readonly #verifier: Webhook;
	readonly #idCountMax: number;
	/** When each id that was taken was sent, in Unix seconds. */
	readonly #timestampById = new Map<string, number>();
	/** The latest of the forgotten ids: a clock that was set back must not make a delivery new again. */
	#forgottenUpTo = Number.NEGATIVE_INFINITY;

	constructor(options: HubWebhooksOptions) {
		this.#options = options;
		this.#verifier = new Webhook(options.secret);
		this.#idCountMax = options.idCountMax ?? ID_COUNT_MAX;
	}

	/**
	 * Takes a delivery: when it returns, a key that was revoked is out of the cache.
	 *
	 * @throws PAYLOAD_TOO_LARGE; AUTH_SIGNATURE_INVALID (also for what is more than 300 s old or ahead); VALIDATION_FAILED for a
	 *         body that makes no sense though it is signed; OVERLOADED when no further id can be remembered
	 */
	take(delivery: WebhookDelivery): WebhookOutcome {
		const { id, timestampSeconds } = this.#verify(delivery);
		if (this.#wasTaken(id, timestampSeconds)) return "duplicate";
		const act = this.#actionFor(delivery.body);
		this.#remember(id, timestampSeconds);
		if (act === undefined) return "ignored";
		act();
		this.#options.nudge();
		return "taken";
	}

	#verify({ id, timestamp, signature, body }: WebhookDelivery): { id: string; timestampSeconds: number } {
		if (Buffer.byteLength(body) > BODY_BYTES_MAX) {
			throw new HiveError("PAYLOAD_TOO_LARGE", `the body is larger than ${BODY_BYTES_MAX} bytes`, {
				max_bytes: BODY_BYTES_MAX,
			});
		}
		if (id === undefined || timestamp === undefined || signature === undefined) {
			throw signatureInvalid("the headers webhook-id, webhook-timestamp and webhook-signature are needed");
		}
		if (!ID_PATTERN.test(id) || !TIMESTAMP_PATTERN.test(timestamp) || signature.length > SIGNATURE_LENGTH_MAX) {
			throw signatureInvalid("the headers of the webhook are not well formed");
		}
		const headers = { "webhook-id": id, "webhook-timestamp": timestamp, "webhook-signature": signature };
		try {
			this.#verifier.verify(body, headers, { jsonParse: false });
		} catch (cause) {
			throw signatureInvalid("the signature does not hold, or the webhook is too old or too far ahead", cause);
		}
		return { id, timestampSeconds: Number(timestamp) };
	}

	/** @throws AUTH_SIGNATURE_INVALID where nobody can tell any more */
	#wasTaken(id: string, timestampSeconds: number): boolean {
		const known = this.#timestampById.get(id);
		if (known === undefined) {
			if (timestampSeconds > this.#forgottenUpTo) return false;
			throw signatureInvalid("the webhook is older than what is remembered of webhooks");
		}
		// Sent again with a later time, it could be replayed for longer.
		if (timestampSeconds > known) this.#timestampById.set(id, timestampSeconds);
		return true;
	}

	/** @throws OVERLOADED: to forget an id whose time is not over would let it be replayed */
	#remember(id: string, timestampSeconds: number): void {
		if (this.#timestampById.size >= this.#idCountMax) this.#forgetOver();
		if (this.#timestampById.size >= this.#idCountMax) {
			throw new HiveError("OVERLOADED", "too many webhooks within a short time", {
				retry_after_seconds: OVERLOADED_RETRY_SECONDS,
			});
		}
		this.#timestampById.set(id, timestampSeconds);
	}

	#forgetOver(): void {
		const oldestValid = Math.floor(this.#options.clock.nowMs() / 1_000) - WINDOW_SECONDS;
		for (const [id, timestampSeconds] of this.#timestampById) {
			if (timestampSeconds >= oldestValid) continue;
			this.#timestampById.delete(id);
			this.#forgottenUpTo = Math.max(this.#forgottenUpTo, timestampSeconds);
		}
	}

	/** @returns undefined for a type that is not known. @throws VALIDATION_FAILED */
	#actionFor(body: string): (() => void) | undefined {
		const { news } = this.#options;
		const { type, data } = parsedBy(pushSchema, jsonOf(body), "");
		switch (type) {
			case "key.revoked": {
				const { key_hash, api_key_id } = parsedBy(keyDataSchema, data, "data.");
				return () => this.#forgetKey(key_hash, api_key_id);
			}
			case "key.rotated":
			case "key.updated": {
				const { key_hash, api_key_id } = parsedBy(keyDataSchema, data, "data.");
				return () => {
					// A record is marked by its key's id. One that is named by its hash alone is fetched anew.
					if (api_key_id === undefined) this.#forgetKey(key_hash, undefined);
					else news.keyUnsure(api_key_id);
					if (key_hash !== undefined) news.keyMinted(key_hash);
				};
			}
			case "tenant.updated":
			case "quota.updated": {
				const { tenant_id } = parsedBy(tenantDataSchema, data, "data.");
				return () => news.tenantUnsure(tenant_id);
			}
			case "tenant.suspended":
			case "tenant.deleted": {
				const { tenant_id } = parsedBy(tenantDataSchema, data, "data.");
				// Out of the cache with its keys, so that nothing of it serves while the hub can't be asked. Nothing on disk is
				// touched: that takes the hub's own word, in the feed.
				return () => news.tenantDeleted(tenant_id);
			}
			default:
				return undefined;
		}
	}

	#forgetKey(keyHash: string | undefined, apiKeyId: ApiKeyId | undefined): void {
		const { news } = this.#options;
		if (keyHash !== undefined) news.keyForgotten(keyHash);
		if (apiKeyId === undefined) return;
		const cachedHash = news.hashOf(apiKeyId);
		if (cachedHash !== undefined) news.keyForgotten(cachedHash);
		// Not cached, but the hub may be just being asked for it.
		else news.keyUnsure(apiKeyId);
	}
}

const signatureInvalid = (message: string, cause?: unknown): HiveError =>
	new HiveError("AUTH_SIGNATURE_INVALID", message, undefined, { cause });

function jsonOf(body: string): unknown {
	try {
		return JSON.parse(body);
	} catch (cause) {
		throw new HiveError("VALIDATION_FAILED", "the body is not JSON", { field: "body" }, { cause });
	}
}

function parsedBy<Schema extends z.ZodType>(schema: Schema, value: unknown, prefix: string): z.output<Schema> {
	const parsed = schema.safeParse(value);
	if (parsed.success) return parsed.data;
	const { path, message } = parsed.error.issues[0]!;
	const field = `${prefix}${path.join(".")}`.replace(/\.$/, "") || "body";
	throw new HiveError("VALIDATION_FAILED", `${field}: ${message}`, { field });
}
