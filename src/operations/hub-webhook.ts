import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import { type AnyOperation, defineOperation } from "./node-services.ts";

const WEBHOOKS_PER_MINUTE = 600;

const receiveWebhook = defineOperation({
	name: "hub.webhook",
	summary: "Take HiveHub's word that a key, a tenant or a quota changed",
	description:
		"Signed as Standard Webhooks are, with `hub.webhook_secret`; without that setting there is nothing here. " +
		"The body is JSON `{type, timestamp, data}` of at most 64 KiB, where `type` is one of key.revoked, key.rotated, key.updated, " +
		"tenant.updated, tenant.suspended, tenant.deleted and quota.updated, and `data` names `key_hash`, `api_key_id` or `tenant_id`. " +
		"Deliveries older than 300 s are refused, and each `webhook-id` is taken once.",
	scope: "public",
	permissions: [],
	addressRequestsPerMinute: WEBHOOKS_PER_MINUTE,
	audit: "hub.webhook",
	// What is missing is a signature that does not hold, so that an address without a secret tells nobody that it is one.
	input: z.strictObject({
		webhook_id: z.string().optional().describe("of this delivery: printable ASCII without spaces and dots"),
		webhook_timestamp: z.string().optional().describe("when it was sent, in Unix seconds"),
		webhook_signature: z.string().optional().describe("`v1,` and base64; several are separated by spaces"),
		body: z.string().default("").describe("the text that was signed"),
	}),
	output: z.strictObject({
		accepted: z.literal(true),
		duplicate: z.literal(true).optional().describe("this webhook-id was taken before; nothing was done"),
		ignored: z.literal(true).optional().describe("a type that this version does not know"),
	}),
	rest: {
		method: "POST",
		path: "/hub/webhooks",
		headers: {
			webhook_id: "webhook-id",
			webhook_timestamp: "webhook-timestamp",
			webhook_signature: "webhook-signature",
		},
		body: "text",
	},
	async run({ services }, input) {
		if (services.webhooks === undefined) throw new HiveError("NOT_FOUND", "there is nothing at this address");
		const outcome = services.webhooks.take({
			id: input.webhook_id,
			timestamp: input.webhook_timestamp,
			signature: input.webhook_signature,
			body: input.body,
		});
		return {
			accepted: true as const,
			...(outcome === "duplicate" && { duplicate: true as const }),
			...(outcome === "ignored" && { ignored: true as const }),
		};
	},
});

export const HUB_WEBHOOK_OPERATIONS: readonly AnyOperation[] = [receiveWebhook];
