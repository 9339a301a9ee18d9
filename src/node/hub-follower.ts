import type { TenantId } from "../base/ids.ts";
import type { TenantDirectory } from "../cluster/tenant-directory.ts";
import { ChangeFeed } from "../hub/change-feed.ts";
import type { CachedHubDirectory } from "../hub/hub-directory.ts";
import type { AuditTrail } from "../operations/audit-trail.ts";
import type { DataFolder } from "./data-folder.ts";
import type { ProcessParts } from "./process-parts.ts";

/** How long one question for changes stays open at the hub, and a connection that died may go unnoticed. */
const FEED_WAIT_SECONDS = 10;

/** That the hub does not answer is said no more often. */
const WARN_EVERY_MS = 10_000;

export interface HubFollowerParts {
	readonly directory: CachedHubDirectory;
	readonly folder: DataFolder;
	readonly tenants: TenantDirectory;
	/** What lay here of the tenant is gone. */
	readonly onTenantGone: (tenantId: TenantId) => Promise<void>;
	/** Changes may have been missed. */
	readonly onGap: () => Promise<void> | undefined;
	/** Whether it is worth a warning that the hub does not answer. */
	readonly isHubExpected: () => boolean;
	readonly auditTrail: AuditTrail | undefined;
	readonly process: ProcessParts;
}

/** Keeps the cache and the disk in step with what the hub decided, wherever it was asked for. */
export function followHub({
	directory,
	folder,
	tenants,
	onTenantGone,
	onGap,
	isHubExpected,
	auditTrail,
	process: { clock, random, log },
}: HubFollowerParts): ChangeFeed {
	let warnedAtMs = Number.NEGATIVE_INFINITY;
	const isDue = (): boolean => {
		const nowMs = clock.monotonicMs();
		if (nowMs - warnedAtMs < WARN_EVERY_MS) return false;
		warnedAtMs = nowMs;
		return true;
	};
	return new ChangeFeed({
		hub: directory.hub,
		directory,
		cursors: {
			load: async () => folder.readCounter("cursor"),
			save: async (cursor) => folder.writeCounter("cursor", cursor),
		},
		subscribers: [
			{
				onChange: (change) => auditTrail?.hubChanged(change),
				onCollectionDeleted: (tenantId) => tenants.sweepTenant(tenantId as TenantId),
				onTenantDeleted: async (tenantId) => {
					await tenants.sweepTenant(tenantId as TenantId);
					await onTenantGone(tenantId as TenantId);
				},
				onGap: async () => {
					await onGap();
					await tenants.dropUnknownTenants();
				},
			},
		],
		waitSeconds: FEED_WAIT_SECONDS,
		random,
		onFailure: (err, what) => {
			if (what === "delivery") {
				log.warn({ err }, "a change could not be carried out");
				return;
			}
			// A hub that is away fails again and again: a line now and then, not a stack each time.
			const level = isHubExpected() && isDue() ? "warn" : "debug";
			log[level]({ reason: (err as Error).message }, "the hub did not tell what changed");
		},
	});
}
