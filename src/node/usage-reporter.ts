import type { UsageMeter } from "../access/usage-meter.ts";
import type { Clock } from "../base/clock.ts";
import type { NodeId, TenantId } from "../base/ids.ts";
import type { TenantUsage } from "../cluster/tenant-types.ts";
import type { HubClient } from "../hub/hub-client-types.ts";
import { HUB_LIMITS } from "../hub/hub-limits.ts";
import type { UsageReport } from "../hub/models.ts";

/** Where the number of the last report outlives the process. */
export interface SequenceStore {
	read(): number | undefined;
	/** On disk when it returns. */
	write(sequence: number): void;
}

export interface UsageReporterParts {
	readonly nodeId: NodeId;
	readonly hub: Pick<HubClient, "reportUsage">;
	readonly meter: Pick<UsageMeter, "drain">;
	readonly clock: Clock;
	readonly sequences: SequenceStore;
	/** What a tenant has stored on this node; undefined when the tenant is gone. */
	storedBy(tenantId: TenantId): Promise<TenantUsage | undefined>;
}

/**
 * Tells the hub what each tenant did. Each count is reported once: a report whose fate is unknown is sent again under the
 * same sequence, which the hub counts once, and nothing new is drained before it got through.
 */
export class UsageReporter {
	private readonly unsent: UsageReport[] = [];
	private running: Promise<void> | undefined;

	constructor(private readonly parts: UsageReporterParts) {}

	/** Reports what was counted since the last time; calls at the same time are one. @throws what the hub threw */
	report(): Promise<void> {
		this.running ??= this.drainAndSend().finally(() => {
			this.running = undefined;
		});
		return this.running;
	}

	private async drainAndSend(): Promise<void> {
		await this.send();
		await this.drain();
		await this.send();
	}

	private async send(): Promise<void> {
		for (let report = this.unsent[0]; report !== undefined; report = this.unsent[0]) {
			await this.parts.hub.reportUsage(report);
			this.unsent.shift();
		}
	}

	private async drain(): Promise<void> {
		const { sinceMs, untilMs, tenants, keys } = this.parts.meter.drain();
		const period = { period_start: new Date(sinceMs).toISOString(), period_end: new Date(untilMs).toISOString() };
		const entries = [];
		for (const { tenantId, requests, searches, vectorsWritten } of tenants) {
			const stored = await this.parts.storedBy(tenantId).catch(() => undefined);
			if (stored === undefined) continue;
			entries.push({
				tenant_id: tenantId,
				requests,
				searches,
				vectors_written: vectorsWritten,
				storage_bytes: stored.storageBytes,
				vectors: stored.vectorCount,
				...period,
			});
		}
		const keyUses = keys.map(({ apiKeyId, lastUsedAtMs }) => ({
			api_key_id: apiKeyId,
			last_used_at: new Date(lastUsedAtMs).toISOString(),
		}));
		const max = HUB_LIMITS.usageEntriesMax;
		for (let start = 0; start < Math.max(entries.length, keyUses.length); start += max) {
			this.unsent.push({
				node_id: this.parts.nodeId,
				sequence: this.nextSequence(),
				entries: entries.slice(start, start + max),
				keys: keyUses.slice(start, start + max),
			});
		}
	}

	private nextSequence(): number {
		// A node that lost its number must not start at 1 again: the hub would take its reports for old ones. The time in
		// seconds is past any number it can have reached.
		const last = this.parts.sequences.read() ?? Math.floor(this.parts.clock.nowMs() / 1000);
		this.parts.sequences.write(last + 1);
		return last + 1;
	}
}
