import { z } from "zod";
import { permissionSchema } from "../base/schemas.ts";
import { type AnyOperation, defineOperation } from "./node-services.ts";

const getMe = defineOperation({
	name: "me.get",
	summary: "Show who is asking: the tenant, the key and what it may do",
	scope: "tenant",
	permissions: ["ADMIN", "READ_WRITE", "READ_ONLY", "MCP"],
	input: z.strictObject({}),
	output: z.strictObject({
		tenant_id: z.string().describe("the tenant acted in"),
		tenant_name: z.string(),
		home_tenant_id: z.string().describe("the tenant the key belongs to; another one where an admin acts in a tenant"),
		api_key_id: z.string().nullable().describe("null: no key was needed"),
		key_name: z.string().nullable(),
		permissions: z.array(permissionSchema),
		expires_at: z.string().nullable().describe("when the key ends; null: never"),
	}),
	rest: { method: "GET", path: "/me" },
	async run({ caller: { key, tenant, homeTenantId, permissions } }) {
		return {
			tenant_id: tenant.id,
			tenant_name: tenant.name,
			home_tenant_id: homeTenantId,
			api_key_id: key?.api_key_id ?? null,
			key_name: key?.name ?? null,
			permissions: [...permissions].sort(),
			expires_at: key?.expires_at ?? null,
		};
	},
});

export const ME_OPERATIONS: readonly AnyOperation[] = [getMe];
