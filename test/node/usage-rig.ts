import { writeSync } from "node:fs";
import { join } from "node:path";
import { SlotFile } from "../../src/access/slot-file.ts";
import { SubjectSlots } from "../../src/access/subject-slots.ts";
import { UsageMeter } from "../../src/access/usage-meter.ts";
import type { Clock } from "../../src/base/clock.ts";
import type { NodeId, TenantId } from "../../src/base/ids.ts";
import type { ShareMoment } from "../../src/cluster/accounts/own-shares.ts";
import type { TenantUsage } from "../../src/cluster/tenant-types.ts";
import type { TenantRecord, UsageReport } from "../../src/hub/models.ts";
import { UsageOutbox } from "../../src/node/usage-outbox.ts";
import { UsageReporter } from "../../src/node/usage-reporter.ts";

/** What the parts of a process do to the world outside it, each a moment at which it may die. */
export interface Moments {
	/** @throws when the process is dead by then */
	pass(): void;
}

export interface ProcessOptions {
	readonly folder: string;
	readonly clock: Clock;
	readonly send: (report: UsageReport) => Promise<void>;
	readonly tenant: (tenantId: TenantId) => Promise<TenantRecord | undefined>;
	readonly storedBy?: (tenantId: TenantId) => Promise<TenantUsage>;
	/** Tenants of which others wrote something here. */
	readonly changedShares?: readonly ShareMoment[];
	readonly moments?: Moments;
}

/** The counting parts of a node on a folder of their own, as one process would have them. */
export class CountingProcess {
	readonly slots: SubjectSlots;
	readonly meter: UsageMeter;
	readonly outbox: UsageOutbox;
	readonly reporter: UsageReporter;
	outboxDamageCount = 0;
	readonly reportedShares: ShareMoment[] = [];

	constructor({ folder, clock, send, tenant, storedBy, changedShares, moments }: ProcessOptions) {
		const pass = () => moments?.pass();
		this.slots = new SubjectSlots(clock, { warn: () => {} }, (onSlot) =>
			SlotFile.open(join(folder, "usage.counters"), onSlot, {
				onDamage: () => {},
				disk: {
					write: (file, bytes, offset, length, position) => {
						pass();
						return writeSync(file, bytes, offset, length, position);
					},
					sync: async () => pass(),
				},
			}),
		);
		this.meter = new UsageMeter(clock, this.slots);
		this.outbox = new UsageOutbox(join(folder, "usage.outbox"), () => this.outboxDamageCount++);
		this.reporter = new UsageReporter({
			nodeId: "node_a" as NodeId,
			meter: this.meter,
			clock,
			outbox: this.outbox,
			tenant,
			shares: {
				ownShare: storedBy ?? (async () => ({ storageBytes: 100, vectorCount: 3, collectionCount: 1 })),
				changed: () => changedShares ?? [],
				reported: (moments) => this.reportedShares.push(...moments),
			},
			hub: {
				reportUsage: async (report) => {
					pass();
					await send(report);
					pass();
				},
			},
		});
	}
}
