import type { KeyUse, TenantReading, TenantTotals, UsageMeter } from "../access/usage-meter.ts";
import type { Clock } from "../base/clock.ts";
import { HiveError } from "../base/errors.ts";
import type { NodeId, TenantId } from "../base/ids.ts";
import type { OwnShares, ShareMoment } from "../cluster/accounts/own-shares.ts";
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
	/** What of tenants this node answers for. */
	readonly shares: Pick<OwnShares, "ownShare" | "changed" | "reported">;
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
		const { meter, shares } = this.parts;
		await this.send();
		// What comes meanwhile is left for the next time.
		const moments = new Map(shares.changed().map((moment) => [moment.tenantId, moment]));
		const active = [...meter.unreported()].map(({ totals }) => totals.tenantId);
		const due = [...new Set([...active, ...moments.keys()])];
		const longest = Math.max(due.length, meter.keyUseCount);
		for (let start = 0; start < longest; start += ENTRIES_MAX) {
			await this.take(due.slice(start, start + ENTRIES_MAX), moments);
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

	/** Puts what these tenants did and have stored, and some uses of keys, into the outbox. */
	private async take(tenantIds: readonly TenantId[], moments: ReadonlyMap<TenantId, ShareMoment>): Promise<void> {
		const { meter, outbox, clock, nodeId, shares } = this.parts;
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
			const share = stored.get(reading.totals.tenantId);
			if (share === undefined) continue;
			stored.delete(reading.totals.tenantId);
			entries.push({ ...entryOf(reading, share.usage), ...period });
			totals.push(reading.totals);
		}
		// What others had done here.
		for (const [tenantId, { usage, createdAt }] of stored) {
			if (moments.has(tenantId)) entries.push({ ...quietEntryOf(tenantId, createdAt, usage), ...period });
		}
		const uses = meter.keyUses(ENTRIES_MAX);
		if (entries.length === 0 && uses.length === 0) return;
		// Of these very counts, so that a loss of power can't take back what is reported.
		await meter.sync();
		const report = { node_id: nodeId, sequence: this.nextSequence(), entries, keys: uses.map(keyEntryOf) };
		outbox.put({ report, totals }, untilMs);
		meter.keysReported(uses);
		shares.reported(entries.flatMap(({ tenant_id }) => moments.get(tenant_id as TenantId) ?? []));
	}

	/** Tenants that are gone are forgotten, and those whose storage can't be told now are left for the next report. */
	private async storedByEach(tenantIds: readonly TenantId[]): Promise<Map<TenantId, StoredShare>> {
		const { meter, tenant, shares } = this.parts;
		const stored = new Map<TenantId, StoredShare>();
		for (const tenantId of tenantIds) {
			const record = await tenant(tenantId);
			meter.forget(tenantId, record?.created_at);
			if (record === undefined) continue;
			try {
				stored.set(tenantId, { usage: await shares.ownShare(tenantId), createdAt: record.created_at });
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

interface StoredShare {
	readonly usage: TenantUsage;
	/** Of the tenant, as the hub tells it. */
	readonly createdAt: string;
}

type EntryWithoutPeriod = Omit<UsageEntry, "period_start" | "period_end">;

const quietEntryOf = (tenantId: TenantId, createdAt: string, stored: TenantUsage): EntryWithoutPeriod => ({
	tenant_id: tenantId,
	tenant_created_at: createdAt,
	requests: 0,
	searches: 0,
	vectors_written: 0,
	...storedFields(stored),
});

/** The hub refuses a report for good that says less than nothing. */
const storedFields = (stored: TenantUsage): Pick<UsageEntry, "storage_bytes" | "vectors"> => ({
	storage_bytes: Math.max(0, stored.storageBytes),
	vectors: Math.max(0, stored.vectorCount),
});

const entryOf = ({ totals, unreported }: TenantReading, stored: TenantUsage): EntryWithoutPeriod => ({
	tenant_id: totals.tenantId,
	...(totals.createdAtMs > 0 && { tenant_created_at: new Date(totals.createdAtMs).toISOString() }),
	requests: unreported.requests,
	searches: unreported.searches,
	vectors_written: unreported.vectorsWritten,
	...storedFields(stored),
});

const keyEntryOf = ({ apiKeyId, lastUsedAtMs }: KeyUse): { api_key_id: string; last_used_at: string } => ({
	api_key_id: apiKeyId,
	last_used_at: new Date(lastUsedAtMs).toISOString(),
});
