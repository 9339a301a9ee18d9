import { HiveError } from "../../src/base/errors.ts";
import { type CollectionId, newCollectionId, systemRandom, type TenantId } from "../../src/base/ids.ts";
import type { HubClient, HubDirectory } from "../../src/hub/hub-client-types.ts";
import type { CollectionPatch, CollectionRecord, NewCollection, TenantRecord } from "../../src/hub/models.ts";

/** A hub in memory, as far as the cluster floor asks it; with the faults a test wants. */
export class MemoryHub {
	readonly tenants = new Map<string, Map<string, CollectionRecord>>();
	/** Called before each request; may throw. */
	before: (request: string) => void = () => {};
	/** The directory's cache as of some time ago, when set. */
	stale: ReadonlyMap<string, CollectionRecord> | undefined;
	listCount = 0;
	#revision = 0;

	readonly directory: HubDirectory;

	constructor() {
		const hub: Partial<HubClient> = {
			listTenants: async ({ limit, after }) => {
				this.before("listTenants");
				const ids = [...this.tenants.keys()].sort().filter((id) => after === undefined || id > after);
				const page = ids.slice(0, limit).map((id) => ({ id }) as TenantRecord);
				return { tenants: page, next: ids.length > limit ? page.at(-1)!.id : null };
			},
			getTenant: async (tenantId) => (this.tenants.has(tenantId) ? ({ id: tenantId } as TenantRecord) : undefined),
			listCollections: async (tenantId) => {
				this.before("listCollections");
				this.listCount++;
				return [...this.#of(tenantId).values()];
			},
			createCollection: async (tenantId, collection) => this.#create(tenantId, collection),
			updateCollection: async (tenantId, name, patch) => this.#update(tenantId, name, patch),
			deleteCollection: async (tenantId, name) => {
				this.before("deleteCollection");
				const collections = this.#of(tenantId);
				const record = collections.get(name);
				if (record === undefined) throw new HiveError("COLLECTION_NOT_FOUND", "the hub has no such collection");
				this.#put(
					tenantId,
					[...collections.values()].filter((other) => other !== record),
				);
				return record;
			},
		};
		this.directory = {
			hub: hub as HubClient,
			connected: true,
			lookupKey: async () => undefined,
			cachedKey: () => undefined,
			tenant: async () => undefined,
			collections: async (tenantId) => this.stale ?? this.#of(tenantId),
		};
	}

	addTenant(tenantId: string): void {
		this.tenants.set(tenantId, new Map());
	}

	/** Puts a record there without the node knowing. */
	record(tenantId: TenantId, collection: NewCollection, id?: CollectionId): CollectionRecord {
		const record: CollectionRecord = {
			...collection,
			id: id ?? newCollectionId(systemRandom),
			tenant_id: tenantId,
			created_at: new Date(0).toISOString(),
			revision: ++this.#revision,
		};
		this.#put(tenantId, [...this.#of(tenantId).values(), record]);
		return record;
	}

	#create(tenantId: TenantId, collection: NewCollection): CollectionRecord {
		this.before("createCollection");
		if (this.#of(tenantId).has(collection.name)) {
			throw new HiveError("COLLECTION_EXISTS", `collection ${collection.name} exists already`);
		}
		return this.record(tenantId, collection);
	}

	#update(tenantId: TenantId, name: string, patch: CollectionPatch): CollectionRecord {
		this.before("updateCollection");
		const collections = this.#of(tenantId);
		const record = collections.get(name)!;
		const changed: CollectionRecord = {
			...record,
			hnsw: { ...record.hnsw, ef_search: patch.ef_search ?? record.hnsw.ef_search },
			replicas: patch.replicas ?? record.replicas,
			payload_indexes: patch.payload_indexes ?? record.payload_indexes,
			revision: ++this.#revision,
		};
		this.#put(
			tenantId,
			[...collections.values()].map((other) => (other === record ? changed : other)),
		);
		return changed;
	}

	#of(tenantId: string): Map<string, CollectionRecord> {
		const collections = this.tenants.get(tenantId);
		if (collections === undefined) throw new HiveError("TENANT_NOT_FOUND", "no such tenant");
		return collections;
	}

	// A new map at each change, as the real cache does.
	#put(tenantId: string, records: readonly CollectionRecord[]): void {
		this.tenants.set(tenantId, new Map(records.map((record) => [record.name, record])));
	}
}
