import type { NodeId } from "../../base/ids.ts";
import type { CollectionRecord, KeyRecord, TenantRecord, Topology } from "../../hub/models.ts";

/** What a node says of itself, about once a second. A later one of the same node replaces it. */
export interface Heartbeat {
	readonly nodeId: NodeId;
	/** Of the process: its start, unix milliseconds, so that a restarted node is newer than itself. */
	readonly incarnation: number;
	/** Rises by one a heartbeat. */
	readonly sequence: number;
	/** Of its REST API, `http://10.0.0.1:7801`. */
	readonly url: string;
	/** Multiaddresses at which other nodes reach it. */
	readonly addresses: readonly string[];
	readonly version: string;
	/** Protocol it speaks, `major.minor`. */
	readonly protocol: string;
	readonly topologyVersion: number;
	/** The newest topology version of which it holds all it has to hold. */
	readonly settledVersion: number;
	readonly isStopping: boolean;
	readonly hasHub: boolean;
	/** Whether the hub answers it. */
	readonly isHubUp: boolean;
	readonly load: {
		readonly openShards: number;
		readonly queueDepth: number;
		readonly eventLoopLagSeconds: number;
		/** Quota-counted bytes of the shards whose home it is. */
		readonly storedBytes: number;
		readonly vectorCount: number;
	};
	readonly transfers: readonly TransferProgress[];
	readonly transfersWaiting: number;
	/** Pairs of shard and node that missed something. */
	readonly hintsPending: number;
}

/** A shard on its way to the node that tells of it. */
export interface TransferProgress {
	readonly tenantId: string;
	readonly collectionId: string;
	readonly shard: number;
	readonly from: NodeId;
	readonly rowsDone: number;
	readonly rowsTotal: number;
	readonly bytesDone: number;
}

/** Hub records, as a node had them from the hub. `revision` of a deletion is the feed's cursor. */
export type RecordFact =
	| {
			readonly kind: "key";
			readonly keyHash: string;
			readonly tenantId: string;
			readonly revision: number;
			readonly record: KeyRecord | null;
	  }
	| {
			readonly kind: "tenant";
			readonly tenantId: string;
			readonly revision: number;
			readonly record: TenantRecord | null;
	  }
	| {
			readonly kind: "collection";
			readonly tenantId: string;
			readonly collectionId: string;
			readonly name: string;
			readonly revision: number;
			readonly record: CollectionRecord | null;
	  }
	| { readonly kind: "topology"; readonly revision: number; readonly record: Topology };

/** What a record vouches for: every change of the hub's feed up to `askedAt` is in it. */
export interface Vouched<Fact> {
	readonly fact: Fact;
	readonly askedAt: number;
	/** Wall clock of the node that asked the hub, unix milliseconds; 0: nobody asked, the feed told of the change in passing. */
	readonly vouchedAtMs: number;
	/** The node that asked; empty when nobody did. With the two above it names one answer of the hub. */
	readonly by: string;
	/** Milliseconds since the hub vouched for it, when it was told; null: it has not. Not part of what is compared. */
	readonly ageMs: number | null;
}

/** What one tenant did on one node since the tenant was made: only ever grows. */
export interface UsageFact {
	readonly nodeId: NodeId;
	readonly tenantId: string;
	/** Of the tenant that was counted, unix milliseconds: a later one of its name begins anew. */
	readonly createdAtMs: number;
	readonly requests: number;
	readonly searches: number;
	readonly vectorsWritten: number;
	readonly lastRequestMs: number;
}

/** What one node's copy of a shard came to. */
export interface DigestFact {
	readonly nodeId: NodeId;
	readonly shard: string;
	readonly incarnation: number;
	readonly sequence: number;
	readonly root: string;
}
