import type { HubChange } from "../../hub/models.ts";
import type { HubRecordFact } from "./gossip-state.ts";

/** Changes of the hub's feed as facts, and back. */

type RecordChange = Exclude<HubChange, { readonly kind: "topology" }>;

export function factOf(change: RecordChange): HubRecordFact {
	const revision = change.record?.revision ?? change.cursor;
	if (change.kind === "key") {
		return { kind: "key", keyHash: change.key_hash, tenantId: change.tenant_id, revision, record: change.record };
	}
	if (change.kind === "tenant") return { kind: "tenant", tenantId: change.tenant_id, revision, record: change.record };
	const { tenant_id: tenantId, collection_id: collectionId, name, record } = change;
	return { kind: "collection", tenantId, collectionId, name, revision, record };
}

export function changeOf(fact: HubRecordFact): RecordChange {
	const { revision: cursor, tenantId: tenant_id } = fact;
	if (fact.kind === "key") return { kind: "key", cursor, key_hash: fact.keyHash, tenant_id, record: fact.record };
	if (fact.kind === "tenant") return { kind: "tenant", cursor, tenant_id, record: fact.record };
	return {
		kind: "collection",
		cursor,
		tenant_id,
		collection_id: fact.collectionId,
		name: fact.name,
		record: fact.record,
	};
}
