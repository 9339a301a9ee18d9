import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { HiveError } from "../../src/base/errors.ts";
import type { NodeServices } from "../../src/operations/node-services.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import { type Input, OperationsNode, type Output, thrownBy } from "./operations-fixture.ts";

let node: OperationsNode;
beforeAll(async () => {
	node = await OperationsNode.start();
});
afterAll(() => node.stop());

const refusal = (operation: string, input: Input): Promise<HiveError> =>
	node.refusal(operation, input, { key: node.adminKey });

describe("a tenant", () => {
	test("is made with what was left out filled in", async () => {
		const made = await node.asAdmin("tenants.create", { id: "acme" });
		expect(made).toEqual({
			id: "acme",
			name: "acme",
			active: true,
			quota: { max_storage_bytes: null, max_vectors: null, max_collections: null },
			rate_limits: null,
			metadata: {},
			created_at: expect.any(String),
			api_keys_count: 0,
		});
		expect(await node.asAdmin("tenants.get", { tenant_id: "acme" })).toEqual(made);
		expect((await refusal("tenants.create", { id: "acme" })).code).toBe("TENANT_EXISTS");
	});

	test("is made as it was asked for, limits completed from the node's", async () => {
		const made = await node.asAdmin("tenants.create", {
			id: "full",
			name: "Full & Co. 語",
			quota: { max_vectors: 5 },
			rate_limits: { requests_per_minute: 7 },
			metadata: { plan: "gold", deep: { a: [1] } },
		});
		expect(made).toMatchObject({
			name: "Full & Co. 語",
			quota: { max_storage_bytes: null, max_vectors: 5, max_collections: null },
			rate_limits: { requests_per_minute: 7, requests_per_hour: 1_000_000, mcp_requests_per_minute: 1_000_000 },
			metadata: { plan: "gold", deep: { a: [1] } },
		});
	});

	test("is changed in what is named and nothing else", async () => {
		await node.asAdmin("tenants.create", { id: "changed", name: "Old", quota: { max_vectors: 5, max_collections: 2 } });
		const update = (input: Input) => node.asAdmin("tenants.update", { tenant_id: "changed", ...input });
		expect(await update({ quota: { max_vectors: 9 } })).toMatchObject({
			name: "Old",
			quota: { max_storage_bytes: null, max_vectors: 9, max_collections: 2 },
		});
		expect(await update({ quota: { max_vectors: null } })).toMatchObject({ quota: { max_vectors: null } });
		expect(await update({ name: "New", metadata: { a: 1 } })).toMatchObject({ name: "New", metadata: { a: 1 } });
		const limited = await update({ rate_limits: { requests_per_minute: 3 } });
		expect(limited.rate_limits).toMatchObject({ requests_per_minute: 3, requests_per_hour: 1_000_000 });
		expect((await update({ rate_limits: { requests_per_hour: 4 } })).rate_limits).toMatchObject({
			requests_per_minute: 3,
			requests_per_hour: 4,
		});
		expect(await update({ rate_limits: null })).toMatchObject({ rate_limits: null, name: "New" });
	});

	test("is limited as its record says from its next request on", async () => {
		const slow = await node.newTenant("slow", { rate_limits: { requests_per_minute: 2 } });
		await slow.ask("collections.list", {});
		const { facts } = await node.call("collections.list", {}, { key: slow.key });
		expect(facts.rateLimit).toMatchObject({ limit: 2, remaining: 0 });
		expect((await slow.refusal("collections.list", {})).code).toBe("RATE_LIMITED");
		await node.asAdmin("tenants.update", { tenant_id: "slow", rate_limits: null });
		await slow.ask("collections.list", {});
	});

	test("is suspended and let work again", async () => {
		const paused = await node.newTenant("paused");
		await node.asAdmin("tenants.update", { tenant_id: "paused", active: false });
		expect((await paused.refusal("collections.list", {})).code).toBe("TENANT_SUSPENDED");
		await node.asAdmin("tenants.update", { tenant_id: "paused", active: true });
		await paused.ask("collections.list", {});
	});

	test("is deleted with its keys and its files, and its name is free", async () => {
		const gone = await node.newTenant("gone");
		await gone.ask("collections.create", { name: "docs", dimension: 2 });
		await gone.ask("vectors.upsert", { collection: "docs", vectors: [{ id: 1, vector: [1, 0] }] });
		const folder = join(node.workshop.root, "data-0", "tenants", "gone");
		expect(existsSync(folder)).toBe(true);
		expect(await node.asAdmin("tenants.delete", { tenant_id: "gone" })).toEqual({ deleted: true });
		expect(existsSync(folder)).toBe(false);
		expect((await gone.refusal("collections.list", {})).code).toBe("AUTH_INVALID");
		for (const operation of ["tenants.get", "tenants.delete", "keys.list"]) {
			expect((await refusal(operation, { tenant_id: "gone" })).code).toBe("TENANT_NOT_FOUND");
		}
		const again = await node.newTenant("gone");
		expect(await again.ask("collections.list", {})).toEqual({ collections: [] });
	});

	test("whose deletion got stuck half-way loses its data on the next try", async () => {
		const dropped: string[] = [];
		const { run } = OPERATIONS.find(({ name }) => name === "tenants.delete")!;
		const deletes = (error: HiveError | undefined) => {
			const services = {
				directory: { hub: { deleteTenant: () => (error ? Promise.reject(error) : Promise.resolve()) } },
				dropTenant: async (tenantId: string) => void dropped.push(tenantId),
			} as unknown as NodeServices;
			return run({ services } as Parameters<typeof run>[0], { tenant_id: "half" });
		};
		const missing = new HiveError("TENANT_NOT_FOUND", "no such tenant");
		expect(await thrownBy(() => deletes(missing))).toBe(missing);
		expect(dropped).toEqual(["half"]);
		const away = new HiveError("HUB_UNAVAILABLE", "away");
		expect(await thrownBy(() => deletes(away))).toBe(away);
		expect(dropped).toEqual(["half"]);
		await deletes(undefined);
		expect(dropped).toEqual(["half", "half"]);
	});
});

test("tenants are listed page by page, each once, the same to both names of the list", async () => {
	for (let index = 0; index < 7; index++) await node.asAdmin("tenants.create", { id: `page-${index}` });
	for (const operation of ["tenants.list", "cluster.tenants"]) {
		const seen: string[] = [];
		let cursor: string | null = null;
		do {
			const page: Output = await node.asAdmin(operation, { limit: 3, ...(cursor !== null && { cursor }) });
			expect(page.tenants.length).toBeLessThanOrEqual(3);
			seen.push(...page.tenants.map(({ id }: Output) => id));
			cursor = page.next_cursor;
		} while (cursor !== null);
		expect(new Set(seen).size).toBe(seen.length);
		expect(seen).toContain("system");
		expect(seen.filter((id) => id.startsWith("page-"))).toHaveLength(7);
	}
});

describe("what is built in", () => {
	test.each(["system", "default"])("%s can't be made, suspended or deleted", async (tenant_id) => {
		const made = await refusal("tenants.create", { id: tenant_id });
		expect([made.code, made.details?.field]).toEqual(["VALIDATION_FAILED", "id"]);
		expect((await refusal("tenants.update", { tenant_id, active: false })).code).toBe("CONFLICT");
		expect((await refusal("tenants.delete", { tenant_id })).code).toBe("CONFLICT");
	});
});

describe("what is wrong with a tenant is named", () => {
	test.each<[string, Input, string]>([
		["no id", {}, "id"],
		["capitals", { id: "Acme" }, "id"],
		["one letter", { id: "a" }, "id"],
		["too long an id", { id: "a".repeat(64) }, "id"],
		["a path", { id: "../acme" }, "id"],
		["a look-alike", { id: "аcme" }, "id"],
		["a line break", { id: "acme\n" }, "id"],
		["an empty name", { id: "ok-id", name: "" }, "name"],
		["a long name", { id: "ok-id", name: "x".repeat(201) }, "name"],
		["control characters in a name", { id: "ok-id", name: "a\u001b[31m" }, "name"],
		["a negative quota", { id: "ok-id", quota: { max_vectors: -1 } }, "quota.max_vectors"],
		["half a quota", { id: "ok-id", quota: { max_vectors: 1.5 } }, "quota.max_vectors"],
		["an unknown quota", { id: "ok-id", quota: { max_users: 1 } }, "quota.max_users"],
		["a limit of 0", { id: "ok-id", rate_limits: { requests_per_minute: 0 } }, "rate_limits.requests_per_minute"],
		["large metadata", { id: "ok-id", metadata: { a: "x".repeat(20_000) } }, "metadata"],
		["a list for metadata", { id: "ok-id", metadata: [] }, "metadata"],
		["an unknown field", { id: "ok-id", plan: "gold" }, "plan"],
	])("%s", async (_, input, field) => {
		const error = await refusal("tenants.create", input);
		expect([error.code, error.details?.field]).toEqual(["VALIDATION_FAILED", field]);
		expect((await refusal("tenants.get", { tenant_id: "ok-id" })).code).toBe("TENANT_NOT_FOUND");
	});

	test("also when it is changed, and one that is not there can't be", async () => {
		const change = (input: Input) => refusal("tenants.update", { tenant_id: "nobody", ...input });
		expect((await change({ active: "no" })).details?.field).toBe("active");
		expect((await change({ id: "other" })).details?.field).toBe("id");
		for (const input of [{ name: "x" }, { rate_limits: { requests_per_minute: 1 } }]) {
			expect((await change(input)).code).toBe("TENANT_NOT_FOUND");
		}
		expect((await refusal("tenants.list", { limit: 1_001 })).details?.field).toBe("limit");
	});
});
