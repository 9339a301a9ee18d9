import { expect, test } from "bun:test";
import { UsageMeter } from "../../src/access/usage-meter.ts";
import type { ApiKeyId } from "../../src/base/ids.ts";
import { FakeClock, START_MS, tenantId } from "./access-fixture.ts";

const ACME = tenantId("acme");
const BETA = tenantId("beta");
const KEY = "key_a" as ApiKeyId;

function meterWithWork() {
	const clock = new FakeClock();
	const meter = new UsageMeter(clock);
	clock.advance(1_000);
	meter.countRequest(ACME, KEY);
	meter.countRequest(ACME, undefined);
	meter.countSearches(ACME, 5);
	meter.countVectorsWritten(BETA, 7);
	clock.advance(1_000);
	return { clock, meter };
}

const ACME_COUNTS = { tenantId: ACME, requests: 2, searches: 5, vectorsWritten: 0 };
const BETA_COUNTS = { tenantId: BETA, requests: 0, searches: 0, vectorsWritten: 7 };

test("what each tenant did is handed over once", () => {
	const { meter } = meterWithWork();
	expect(meter.drain()).toEqual({
		sinceMs: START_MS,
		untilMs: START_MS + 2_000,
		tenants: [ACME_COUNTS, BETA_COUNTS],
		keys: [{ apiKeyId: KEY, lastUsedAtMs: START_MS + 1_000 }],
	});
	expect(meter.drain()).toEqual({ sinceMs: START_MS + 2_000, untilMs: START_MS + 2_000, tenants: [], keys: [] });
});

test("a reading that could not be reported is in the next one, with what came since", () => {
	const { clock, meter } = meterWithWork();
	const lost = meter.drain();
	meter.countRequest(ACME, KEY);
	meter.countSearches(BETA, 1);
	clock.advance(500);
	meter.putBack(lost);
	const next = meter.drain();
	expect([next.sinceMs, next.untilMs]).toEqual([START_MS, START_MS + 2_500]);
	expect(next.tenants).toEqual([
		{ ...ACME_COUNTS, requests: 3 },
		{ ...BETA_COUNTS, searches: 1 },
	]);
	// The later use of the key is the last one.
	expect(next.keys).toEqual([{ apiKeyId: KEY, lastUsedAtMs: START_MS + 2_000 }]);
});

test("a key's last use is put back when it was not used since", () => {
	const { meter } = meterWithWork();
	meter.putBack(meter.drain());
	expect(meter.drain().keys).toEqual([{ apiKeyId: KEY, lastUsedAtMs: START_MS + 1_000 }]);
});

test("when a tenant was last seen is known beyond reports, and to no other tenant's credit", () => {
	const { meter } = meterWithWork();
	meter.drain();
	expect(meter.lastRequestMs(ACME)).toBe(START_MS + 1_000);
	expect(meter.lastRequestMs(BETA)).toBeUndefined();
});

test("of very many keys and tenants the longest unseen are forgotten", () => {
	const meter = new UsageMeter(new FakeClock());
	for (let index = 0; index <= 100_000; index++) {
		meter.countRequest(tenantId(`t${index}`), `key_${index}` as ApiKeyId);
		// Seen again and again, the first stays.
		if (index === 99_999) meter.countRequest(tenantId("t0"), "key_0" as ApiKeyId);
	}
	expect(meter.lastRequestMs(tenantId("t0"))).toBe(START_MS);
	expect(meter.lastRequestMs(tenantId("t1"))).toBeUndefined();
	const { keys, tenants } = meter.drain();
	expect(keys).toHaveLength(100_000);
	expect(keys.some(({ apiKeyId }) => apiKeyId === "key_1")).toBe(false);
	// Counts are what is charged: none of them is lost.
	expect(tenants).toHaveLength(100_001);
});
