import type { TenantId } from "../base/ids.ts";
import type { CollectionRecord, HubChange, KeyRecord, TenantRecord } from "./models.ts";
import type { HeardElsewhere } from "./recent-changes.ts";

/** A record that some node had from the hub. */
export interface SharedRecord<Record> extends HeardElsewhere<Record> {
	/** Milliseconds since the hub vouched for it. */
	readonly ageMs: number;
}

/** A tenant's collections as some node had them from the hub. */
export interface SharedList {
	readonly records: readonly CollectionRecord[];
	/** Milliseconds since the hub vouched for it. */
	readonly ageMs: number;
}

/** A question to the hub: what its answer vouches for. */
export interface Question {
	/** How far the feed was read; undefined: not yet. */
	readonly askedAt: number | undefined;
	/** Wall clock, milliseconds. */
	readonly atMs: number;
}

/**
 * Where nodes find keys' and tenants' records that others had from the hub. It only ever saves questions to the hub: a reader
 * counts a record only where it holds all that the reader itself has heard. Hashes of keys, never keys.
 */
export interface RecordExchange {
	/** Never throws. undefined: ask the hub. */
	key(keyHash: string): Promise<SharedRecord<KeyRecord> | undefined>;
	tenant(tenantId: TenantId): Promise<SharedRecord<TenantRecord> | undefined>;
	/** Asked only while the hub is away: a list has no revision by which it could be held against another. Never throws. */
	collections?(tenantId: TenantId): Promise<SharedList | undefined>;
	/** The hub answered with this record. */
	shareKey(keyHash: string, record: KeyRecord, question: Question): void;
	shareTenant(record: TenantRecord, question: Question): void;
	/** What the feed told: what is older goes, and can't come back. */
	ended(change: HubChange): void;
	/** A write made here changed it. */
	keyWritten(keyHash: string, record: KeyRecord): void;
	tenantWritten(record: TenantRecord): void;
	/** It may have changed, and nobody knows how. */
	dropKey(keyHash: string): void;
	dropTenant(tenantId: TenantId): void;
	/** The hub went back to an older state and gives out revisions again: what was found or put in before counts no more. */
	hubWentBack(): void;
}
