import { expect } from "bun:test";
import { hashKey } from "../../src/base/ids.ts";
import type { HubDatabaseAddress } from "../../src/hub/server/hub-database.ts";
import { type HubRig, type Json, openHub, RunningClock } from "./hub-rig.ts";

export const newKey = { name: "ci", permissions: ["READ_WRITE"], environment: "live", expires_at: null };

/** The hub that the test at hand works with, and what most tests do to it. */
export class OpenSuite {
	hub!: HubRig;
	address!: HubDatabaseAddress;

	async open(address: HubDatabaseAddress): Promise<void> {
		this.address = address;
		this.hub = await openHub(address, new RunningClock());
	}

	async reopen(): Promise<void> {
		this.hub = await openHub(this.address, this.hub.clock);
	}

	async makeTenant(id = "acme", more: object = {}): Promise<Json> {
		const { status, body } = await this.hub.ask("POST", "/tenants", { id, name: "Acme", ...more });
		expect(status).toBe(201);
		return body;
	}

	async makeKey(tenant = "acme", more: object = {}): Promise<{ api_key: string; record: Json }> {
		const { status, body } = await this.hub.ask("POST", `/tenants/${tenant}/keys`, { ...newKey, ...more });
		expect(status).toBe(201);
		return body;
	}

	validate(apiKey: string): Promise<{ status: number; body: Json }> {
		return this.hub.ask("POST", "/keys/validate", { key_hash: hashKey(apiKey) });
	}

	async expectRefusal(answered: Promise<{ status: number; body: Json }>, code: string, field?: string): Promise<Json> {
		const { body } = await answered;
		expect(body.code).toBe(code);
		expect(typeof body.error).toBe("string");
		expect(body.request_id).toStartWith("req_");
		if (field !== undefined) expect(body.details.field).toBe(field);
		return body;
	}
}
