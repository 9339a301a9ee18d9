import type { Clock } from "../../base/clock.ts";
import type { TenantId } from "../../base/ids.ts";
import type { KeyRecord, TenantRecord } from "../../hub/models.ts";
import type { Question, RecordExchange, SharedList, SharedRecord } from "../../hub/record-exchange.ts";
import type { CollectionLists } from "../collection-lists.ts";
import type { Gossip } from "./gossip.ts";
import type { KeptRecord } from "./gossip-state.ts";

type GossipOfRecords = Pick<Gossip, "record" | "share" | "hubWentBack">;

/**
 * Keys' and tenants' records that any node of the cluster had from the hub: what one has asked the others need not ask again. Until
 * there is gossip, which needs the hub to come to be, nobody has any.
 */
export class GossipedRecords implements RecordExchange {
	readonly #clock: Pick<Clock, "monotonicMs">;
	#gossip: GossipOfRecords | undefined;
	#lists: Pick<CollectionLists, "ask"> | undefined;

	constructor(clock: Pick<Clock, "monotonicMs">) {
		this.#clock = clock;
	}

	/** To be called once. */
	attach(gossip: GossipOfRecords, lists?: Pick<CollectionLists, "ask">): void {
		this.#gossip = gossip;
		this.#lists = lists;
	}

	async key(keyHash: string): Promise<SharedRecord<KeyRecord> | undefined> {
		const kept = this.#gossip?.record("key", keyHash);
		const record = kept?.fact.kind === "key" ? kept.fact.record : null;
		if (kept === undefined || record === null) return undefined;
		// A revocation is the last word on a key: it needs nobody who vouches that none came after it.
		const ageMs = record.rotation_status === "revoked" ? 0 : this.#ageMs(kept);
		return ageMs === undefined ? undefined : { record, askedAt: kept.askedAt, ageMs };
	}

	async tenant(tenantId: TenantId): Promise<SharedRecord<TenantRecord> | undefined> {
		const kept = this.#gossip?.record("tenant", tenantId);
		const record = kept?.fact.kind === "tenant" ? kept.fact.record : null;
		const ageMs = kept && this.#ageMs(kept);
		if (kept === undefined || record === null || ageMs === undefined) return undefined;
		return { record, askedAt: kept.askedAt, ageMs };
	}

	/** Too large for gossip: asked of a member when they are needed. */
	async collections(tenantId: TenantId): Promise<SharedList | undefined> {
		return await this.#lists?.ask(tenantId);
	}

	shareKey(keyHash: string, record: KeyRecord, question: Question): void {
		const { tenant_id: tenantId, revision } = record;
		this.#gossip?.share({ kind: "key", keyHash, tenantId, revision, record }, question);
	}

	shareTenant(record: TenantRecord, question: Question): void {
		this.#gossip?.share({ kind: "tenant", tenantId: record.id, revision: record.revision, record }, question);
	}

	hubWentBack(): void {
		this.#gossip?.hubWentBack();
	}

	// Changes reach the others through the directory's `onNews`; what is unsure here is for each node to find out.
	ended(): void {}
	keyWritten(): void {}
	tenantWritten(): void {}
	dropKey(): void {}
	dropTenant(): void {}

	/** undefined: nobody vouches for it. */
	#ageMs({ vouchedMs }: KeptRecord): number | undefined {
		return vouchedMs === undefined ? undefined : this.#clock.monotonicMs() - vouchedMs;
	}
}
