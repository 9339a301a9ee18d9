import type { KeyUse, TenantReading, TenantTotals, UsageMeter } from "../access/usage-meter.ts";
import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import type { NodeId, TenantId } from "../base/ids.ts";
import type { TenantUsage } from "../cluster/tenant-types.ts";
import type { HubClient } from "../hub/hub-client-types.ts";
import type { TenantRecord, UsageEntry } from "../hub/models.ts";
import type { UsageOutbox } from "./usage-outbox.ts";

/** Of tenants, and of keys, in one report. The hub takes more (HUB_LIMITS), but writes nothing else meanwhile. */
const ENTRIES_MAX = 1_000;

export interface UsageReporterParts {
	readonly nodeId: NodeId;
	readonly hub: Pick<HubClient, "reportUsage">;
	readonly meter: UsageMeter;
	readonly clock: Clock;
	readonly outbox: UsageOutbox;
	/** undefined: there is none of that name. @throws HUB_UNAVAILABLE */
	tenant(tenantId: TenantId): Promise<TenantRecord | undefined>;
	/** What a tenant has stored on this node. */
	storedBy(tenantId: TenantId): Promise<TenantUsage>;
}

/**
 * Tells the hub what each tenant did, each count once, whenever node or hub may die:
 *
 * 1. Counters are synced, and what the hub has not acknowledged of them goes into the outbox under the next sequence.
 * 2. Only then it is sent, and sent again as it is until the hub acknowledges it. The hub counts a sequence once.
 * 3. The counters take note of what is acknowledged and are synced. Only then the outbox is emptied.
 *
 * Dying before the end of 1 changes nothing, later has the same report sent again, and taking note of it twice is as once.
 * However long the hub is away, there is one report in the outbox, and nothing grows but the counters.
 */
export class UsageReporter {
	private running: Promise<void> | undefined;
	private readonly startMs: number;

	constructor(private readonly parts: UsageReporterParts) {
		this.startMs = parts.clock.nowMs();
	}

	/** Reports what was counted since the last time; calls at the same time are one. @throws what the hub or the disk threw */
	report(): Promise<void> {
		this.running ??= this.run().finally(() => {
			this.running = undefined;
		});
		return this.running;
	}

	private async run(): Promise<void> {
		const { meter } = this.parts;
		await this.send();
		const due = [...meter.unreported()].map(({ totals }) => totals.tenantId);
		// What comes meanwhile is left for the next time.
		const longest = Math.max(due.length, meter.keyUseCount);
		for (let start = 0; start < longest; start += ENTRIES_MAX) {
			await this.take(due.slice(start, start + ENTRIES_MAX));
			await this.send();
		}
	}

	private async send(): Promise<void> {
		const { outbox, hub, meter } = this.parts;
		const { batch } = outbox;
		if (batch === undefined) return;
		await hub.reportUsage(batch.report);
		meter.acknowledge(batch.totals);
		await meter.sync();
		outbox.clear();
	}

	/** Puts what these tenants did, and some uses of keys, into the outbox. */
	private async take(tenantIds: readonly TenantId[]): Promise<void> {
		const { meter, outbox, clock, nodeId } = this.parts;
		const stored = await this.storedByEach(tenantIds);
		const untilMs = clock.nowMs();
		const period = {
			// A clock that was set back makes a short period, not a negative one.
			period_start: new Date(Math.min(outbox.untilMs ?? this.startMs, untilMs)).toISOString(),
			period_end: new Date(untilMs).toISOString(),
		};
		const entries: UsageEntry[] = [];
		const totals: TenantTotals[] = [];
		for (const reading of meter.unreported()) {
			const usage = stored.get(reading.totals.tenantId);
			if (usage === undefined) continue;
			entries.push({ ...entryOf(reading, usage), ...period });
			totals.push(reading.totals);
		}
		const uses = meter.keyUses(ENTRIES_MAX);
		if (entries.length === 0 && uses.length === 0) return;
		// Of these very counts, so that a loss of power can't take back what is reported.
		await meter.sync();
		const report = { node_id: nodeId, sequence: this.nextSequence(), entries, keys: uses.map(keyEntryOf) };
		outbox.put({ report, totals }, untilMs);
		meter.keysReported(uses);
	}

	/** Tenants that are gone are forgotten, and those whose storage can't be told now are left for the next report. */
	private async storedByEach(tenantIds: readonly TenantId[]): Promise<ReadonlyMap<TenantId, TenantUsage>> {
		const { meter, tenant, storedBy } = this.parts;
		const stored = new Map<TenantId, TenantUsage>();
		for (const tenantId of tenantIds) {
			const record = await tenant(tenantId);
			meter.forget(tenantId, record?.created_at);
			if (record === undefined) continue;
			try {
				stored.set(tenantId, await storedBy(tenantId));
			} catch (error) {
				if (error instanceof HiveError && error.code === "HUB_UNAVAILABLE") throw error;
			}
		}
		return stored;
	}

	private nextSequence(): number {
		// A node that lost its number must not start at 1 again: the hub would take its reports for old ones. The time in
		// seconds is past any number it can have reached.
		return (this.parts.outbox.sequence ?? Math.floor(this.parts.clock.nowMs() / 1000)) + 1;
	}
}

const entryOf = (
	{ totals, unreported }: TenantReading,
	stored: TenantUsage,
): Omit<UsageEntry, "period_start" | "period_end"> => ({
	tenant_id: totals.tenantId,
	...(totals.createdAtMs > 0 && { tenant_created_at: new Date(totals.createdAtMs).toISOString() }),
	requests: unreported.requests,
	searches: unreported.searches,
	vectors_written: unreported.vectorsWritten,
	// The hub refuses a report for good that says less than nothing.
	storage_bytes: Math.max(0, stored.storageBytes),
	vectors: Math.max(0, stored.vectorCount),
});

const keyEntryOf = ({ apiKeyId, lastUsedAtMs }: KeyUse): { api_key_id: string; last_used_at: string } => ({
	api_key_id: apiKeyId,
	last_used_at: new Date(lastUsedAtMs).toISOString(),
});
