import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import { DEFAULT_TENANT, SYSTEM_TENANT, type TenantId } from "../base/ids.ts";
import { tenantIdSchema } from "../base/schemas.ts";
import { type Quota, quotaSchema, type RateLimits, rateLimitsSchema, type TenantRecord } from "../hub/models.ts";
import { newTenantSchema, tenantPatchSchema } from "../hub/request-schemas.ts";
import { definedFields } from "./input-fields.ts";
import { type AnyOperation, defineOperation, type NodeServices } from "./node-services.ts";

const TENANT_PAGE_MAX = 1_000;
const TENANT_PAGE_DEFAULT = 100;

const tenantIdField = tenantIdSchema.meta({ examples: ["acme"] });
const quotaField = quotaSchema.partial().describe("absent or null: unlimited");
const rateLimitsField = rateLimitsSchema
	.partial()
	.nullable()
	.describe("null: the node's settings; what is left out of an object comes from there too");

const tenantAnswerSchema = z.strictObject({
	id: z.string(),
	name: z.string(),
	active: z.boolean(),
	quota: quotaSchema,
	rate_limits: rateLimitsSchema.nullable(),
	metadata: z.record(z.string(), z.unknown()),
	created_at: z.string(),
	api_keys_count: z.int(),
});

type TenantAnswer = z.infer<typeof tenantAnswerSchema>;

/** The record as admins see it: the revision is between hub and nodes. */
const tenantAnswer = ({ revision: _, ...shown }: TenantRecord): TenantAnswer => shown;

const isReserved = (tenantId: TenantId): boolean => tenantId === SYSTEM_TENANT || tenantId === DEFAULT_TENANT;

const completeRateLimits = (
	given: z.infer<typeof rateLimitsField>,
	present: RateLimits | null,
	services: NodeServices,
): RateLimits | null =>
	given === null ? null : { ...services.defaultRateLimits, ...present, ...definedFields(given) };

const tenantPageFields = {
	limit: z.int().min(1).max(TENANT_PAGE_MAX).default(TENANT_PAGE_DEFAULT),
	cursor: z.string().min(1).max(63).optional().describe("`next_cursor` of the page before"),
};
const tenantPageSchema = z.strictObject({
	tenants: z.array(tenantAnswerSchema),
	next_cursor: z.string().nullable(),
});

async function tenantPage(
	services: NodeServices,
	input: { readonly limit: number; readonly cursor?: string | undefined },
): Promise<z.infer<typeof tenantPageSchema>> {
	const page = { limit: input.limit, ...(input.cursor === undefined ? {} : { after: input.cursor }) };
	const { tenants, next } = await services.directory.hub.listTenants(page);
	return { tenants: tenants.map(tenantAnswer), next_cursor: next };
}

const listTenants = defineOperation({
	name: "tenants.list",
	summary: "List tenants, page by page",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject(tenantPageFields),
	output: tenantPageSchema,
	rest: { method: "GET", path: "/tenants", query: ["limit", "cursor"] },
	run: ({ services }, input) => tenantPage(services, input),
});

const listClusterTenants = defineOperation({
	name: "cluster.tenants",
	summary: "List the cluster's tenants, page by page",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject(tenantPageFields),
	output: tenantPageSchema,
	rest: { method: "GET", path: "/cluster/tenants", query: ["limit", "cursor"] },
	run: ({ services }, input) => tenantPage(services, input),
});

const createTenant = defineOperation({
	name: "tenants.create",
	summary: "Create a tenant",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({
		id: tenantIdField.refine((id) => !isReserved(id), { error: "`system` and `default` are reserved" }),
		name: newTenantSchema.shape.name.optional().describe("default: the id"),
		quota: quotaField.optional(),
		rate_limits: rateLimitsField.optional(),
		metadata: newTenantSchema.shape.metadata,
	}),
	output: tenantAnswerSchema,
	rest: { method: "POST", path: "/tenants", body: "json", status: 201 },
	async run({ services }, input) {
		const quota: Quota = {
			max_storage_bytes: input.quota?.max_storage_bytes ?? null,
			max_vectors: input.quota?.max_vectors ?? null,
			max_collections: input.quota?.max_collections ?? null,
		};
		const tenant = await services.directory.hub.createTenant({
			id: input.id,
			name: input.name ?? input.id,
			quota,
			rate_limits: completeRateLimits(input.rate_limits ?? null, null, services),
			metadata: input.metadata ?? {},
		});
		return tenantAnswer(tenant);
	},
});

async function requireTenant(services: NodeServices, tenantId: TenantId): Promise<TenantRecord> {
	const tenant = await services.directory.hub.getTenant(tenantId);
	if (tenant === undefined) throw new HiveError("TENANT_NOT_FOUND", "no such tenant");
	return tenant;
}

const getTenant = defineOperation({
	name: "tenants.get",
	summary: "Show a tenant",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({ tenant_id: tenantIdField }),
	output: tenantAnswerSchema,
	rest: { method: "GET", path: "/tenants/{tenant_id}" },
	async run({ services }, input) {
		return tenantAnswer(await requireTenant(services, input.tenant_id));
	},
});

const updateTenant = defineOperation({
	name: "tenants.update",
	summary: "Change a tenant; `active: false` suspends it, `true` lets it work again",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({
		...tenantPatchSchema.shape,
		tenant_id: tenantIdField,
		quota: quotaField.optional(),
		rate_limits: rateLimitsField.optional(),
	}),
	output: tenantAnswerSchema,
	rest: { method: "PATCH", path: "/tenants/{tenant_id}", body: "json" },
	async run({ services }, input) {
		const { tenant_id: tenantId, name, active, quota, rate_limits, metadata } = input;
		if (active === false && isReserved(tenantId)) {
			throw new HiveError("CONFLICT", `tenant ${tenantId} is built in and can't be suspended`);
		}
		const rateLimits =
			rate_limits === undefined
				? undefined
				: completeRateLimits(rate_limits, (await requireTenant(services, tenantId)).rate_limits, services);
		const patch = definedFields({
			name,
			active,
			metadata,
			rate_limits: rateLimits,
			quota: quota === undefined ? undefined : definedFields(quota),
		});
		return tenantAnswer(await services.directory.hub.updateTenant(tenantId, patch));
	},
});

const deleteTenant = defineOperation({
	name: "tenants.delete",
	summary: "Delete a tenant with its keys, its collections and all their data",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({ tenant_id: tenantIdField }),
	output: z.strictObject({ deleted: z.literal(true) }),
	rest: { method: "DELETE", path: "/tenants/{tenant_id}" },
	async run({ services }, { tenant_id: tenantId }) {
		if (isReserved(tenantId)) throw new HiveError("CONFLICT", `tenant ${tenantId} is built in and can't be deleted`);
		try {
			await services.directory.hub.deleteTenant(tenantId);
		} catch (error) {
			// An earlier attempt may have got no further than the hub: its data must not stay behind.
			if (error instanceof HiveError && error.code === "TENANT_NOT_FOUND") await services.dropTenant(tenantId);
			throw error;
		}
		await services.dropTenant(tenantId);
		return { deleted: true };
	},
});

export const TENANT_OPERATIONS: readonly AnyOperation[] = [
	listTenants,
	listClusterTenants,
	createTenant,
	getTenant,
	updateTenant,
	deleteTenant,
];
