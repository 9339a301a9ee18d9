import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import { API_KEY_ID_PATTERN, type ApiKeyId, SYSTEM_TENANT, type TenantId } from "../base/ids.ts";
import { permissionSchema, tenantIdSchema } from "../base/schemas.ts";
import { type KeyRecord, keyRecordSchema, type MintedKey, rateLimitsSchema } from "../hub/models.ts";
import { newKeySchema, rotateKeySchema, SIGNING_KEY_UNUSED, signingKeyIsUsed } from "../hub/request-schemas.ts";
import { definedFields } from "./input-fields.ts";
import { type AnyOperation, defineOperation, type NodeServices } from "./node-services.ts";

/** Ten years: past any sensible life of a key, and within what a date can hold. */
const EXPIRES_IN_SECONDS_MAX = 10 * 366 * 86_400;
const VALIDATIONS_PER_MINUTE = 60;
const PRESENTED_KEY_LENGTH_MAX = 256;

const keyAnswerSchema = keyRecordSchema
	.omit({ revision: true })
	.extend({ api_key_id: z.string(), tenant_id: z.string() });
const mintedKeySchema = keyAnswerSchema.extend({
	api_key: z.string().describe("the key itself, shown this once; the hub keeps its SHA-256"),
});

type KeyAnswer = z.infer<typeof keyAnswerSchema>;

const keyAnswer = ({ revision: _, ...shown }: KeyRecord): KeyAnswer => shown;
const mintedAnswer = (minted: MintedKey): z.infer<typeof mintedKeySchema> => ({
	api_key: minted.api_key,
	...keyAnswer(minted.record),
});

const keyPathFields = {
	tenant_id: tenantIdSchema,
	key_id: z
		.string()
		.regex(API_KEY_ID_PATTERN, "a key id is `key_` and 16 of a-z and 0-9")
		.transform((text) => text as ApiKeyId),
};

/** A key of another tenant is no key of this one. */
async function requireKeyOf(services: NodeServices, tenantId: TenantId, apiKeyId: ApiKeyId): Promise<void> {
	const keys = await services.directory.hub.listKeys(tenantId);
	if (!keys.some((key) => key.api_key_id === apiKeyId)) {
		throw new HiveError("KEY_NOT_FOUND", "the tenant has no key with this id");
	}
}

const listKeys = defineOperation({
	name: "keys.list",
	summary: "List a tenant's keys, without the keys themselves",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({ tenant_id: tenantIdSchema }),
	output: z.strictObject({ keys: z.array(keyAnswerSchema) }),
	rest: { method: "GET", path: "/tenants/{tenant_id}/keys" },
	async run({ services }, input) {
		const keys = await services.directory.hub.listKeys(input.tenant_id);
		return { keys: keys.map(keyAnswer) };
	},
});

const createKey = defineOperation({
	name: "keys.create",
	summary: "Create an API key for a tenant; the answer shows it, the only time",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z
		.strictObject({
			tenant_id: tenantIdSchema,
			name: newKeySchema.shape.name.default("key"),
			permissions: newKeySchema.shape.permissions,
			expires_at: newKeySchema.shape.expires_at.describe("RFC 3339 time; null: never"),
			expires_in_seconds: z.int().min(1).max(EXPIRES_IN_SECONDS_MAX).optional(),
			environment: newKeySchema.shape.environment,
			rate_limit_override: rateLimitsSchema
				.partial()
				.nullable()
				.default(null)
				.describe("limits of this key alone, with buckets of its own"),
			allowed_ips: newKeySchema.shape.allowed_ips.describe(
				"addresses and networks the key may be used from; null: any",
			),
			signing_required: newKeySchema.shape.signing_required.describe("whether each request must be signed (RFC 9421)"),
			signing_public_key: newKeySchema.shape.signing_public_key.describe(
				"Ed25519, PEM or base64 of the 32 bytes; null: requests are signed with HMAC-SHA256, keyed with the API key",
			),
		})
		.refine((input) => input.expires_in_seconds === undefined || input.expires_at === null, {
			error: "give either expires_at or expires_in_seconds",
			path: ["expires_at"],
		})
		.refine((input) => input.tenant_id === SYSTEM_TENANT || !input.permissions.includes("ADMIN"), {
			error: "ADMIN can only be held by keys of tenant system",
			path: ["permissions"],
		})
		.refine(signingKeyIsUsed, SIGNING_KEY_UNUSED),
	output: mintedKeySchema,
	rest: { method: "POST", path: "/tenants/{tenant_id}/keys", body: "json", status: 201 },
	async run({ services }, input) {
		const nowMs = services.clock.nowMs();
		const expiresAt =
			input.expires_in_seconds === undefined
				? input.expires_at
				: new Date(nowMs + input.expires_in_seconds * 1000).toISOString();
		if (expiresAt !== null && Date.parse(expiresAt) <= nowMs) {
			throw new HiveError("VALIDATION_FAILED", "expires_at is in the past", { field: "expires_at" });
		}
		const minted = await services.directory.hub.createKey(input.tenant_id, {
			name: input.name,
			permissions: input.permissions,
			environment: input.environment,
			expires_at: expiresAt,
			rate_limit_override: input.rate_limit_override === null ? null : definedFields(input.rate_limit_override),
			allowed_ips: input.allowed_ips,
			signing_required: input.signing_required,
			signing_public_key: input.signing_public_key,
		});
		return mintedAnswer(minted);
	},
});

const revokeKey = defineOperation({
	name: "keys.revoke",
	summary: "Revoke a key, at once and for good",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject(keyPathFields),
	output: keyAnswerSchema,
	rest: { method: "DELETE", path: "/tenants/{tenant_id}/keys/{key_id}" },
	async run({ services }, input) {
		await requireKeyOf(services, input.tenant_id, input.key_id);
		return keyAnswer(await services.directory.hub.revokeKey(input.key_id));
	},
});

const rotateKey = defineOperation({
	name: "keys.rotate",
	summary: "Replace a key; the old one works on for `grace_seconds`, marked deprecated",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({ ...keyPathFields, grace_seconds: rotateKeySchema.shape.grace_seconds }),
	output: mintedKeySchema,
	rest: { method: "POST", path: "/tenants/{tenant_id}/keys/{key_id}/rotate", body: "json" },
	async run({ services }, input) {
		await requireKeyOf(services, input.tenant_id, input.key_id);
		return mintedAnswer(await services.directory.hub.rotateKey(input.key_id, input.grace_seconds));
	},
});

const validationSchema = z.union([
	z.strictObject({
		valid: z.literal(true),
		tenant_id: z.string(),
		permissions: z.array(permissionSchema),
		expires_at: z.string().nullable(),
	}),
	z.strictObject({ valid: z.literal(false), error: z.string().describe("an error code") }),
]);

/** What is wrong with the key that was asked about, as opposed to with asking. */
const KEY_FAULTS: ReadonlySet<string> = new Set([
	"AUTH_INVALID_FORMAT",
	"AUTH_INVALID",
	"AUTH_KEY_EXPIRED",
	"TENANT_SUSPENDED",
]);

const validateKey = defineOperation({
	name: "keys.validate",
	summary: "Tell whether a key may be used, and for what; not from where, nor whether signed",
	scope: "public",
	permissions: [],
	addressRequestsPerMinute: VALIDATIONS_PER_MINUTE,
	input: z.strictObject({ api_key: z.string().max(PRESENTED_KEY_LENGTH_MAX) }),
	output: validationSchema,
	rest: { method: "POST", path: "/cluster/keys/validate", body: "json" },
	async run({ services }, input): Promise<z.infer<typeof validationSchema>> {
		try {
			const { key, homeTenantId, permissions } = await services.authenticator.identifyKey(input.api_key);
			return {
				valid: true,
				tenant_id: homeTenantId,
				permissions: [...permissions],
				expires_at: key?.expires_at ?? null,
			};
		} catch (error) {
			if (error instanceof HiveError && KEY_FAULTS.has(error.code)) return { valid: false, error: error.code };
			throw error;
		}
	},
});

export const KEY_OPERATIONS: readonly AnyOperation[] = [listKeys, createKey, revokeKey, rotateKey, validateKey];
