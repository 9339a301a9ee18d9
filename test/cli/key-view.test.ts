import { expect, test } from "bun:test";
import { demandsOf, type KeyAnswer, mintedKeyText } from "../../commands/shared/key-view.ts";

const KEY = {
	api_key_id: "key_0123456789abcdef",
	tenant_id: "acme",
	name: "app",
	permissions: ["READ_ONLY"],
	created_at: "2030-01-01T00:00:00.000Z",
	expires_at: null,
	last_used_at: null,
	rotation_status: "active",
	rate_limit_override: null,
	allowed_ips: null,
	signing_required: false,
	signing_public_key: null,
} as unknown as KeyAnswer;
const PLAIN = { color: false } as Parameters<typeof mintedKeyText>[1];

test("what a key demands of requests is said in words, and nothing where it demands nothing", () => {
	expect(demandsOf(KEY)).toBe("");
	expect(demandsOf({ ...KEY, allowed_ips: ["10.0.0.0/8", "::1"] })).toBe("address in 10.0.0.0/8, ::1");
	expect(demandsOf({ ...KEY, signing_required: true })).toBe("hmac-sha256 signature");
	const both = { ...KEY, allowed_ips: ["::1"], signing_required: true, signing_public_key: "A" };
	expect(demandsOf(both)).toBe("address in ::1; ed25519 signature");
	expect(mintedKeyText({ ...both, api_key: "hh_live_x" }, PLAIN)).toMatch(
		/^demands +address in ::1; ed25519 signature$/m,
	);
	expect(mintedKeyText({ ...KEY, api_key: "hh_live_x" }, PLAIN)).not.toContain("demands");
});
