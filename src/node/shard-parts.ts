import type { Clock } from "../base/clock.ts";
import type { RandomBytes, TenantId } from "../base/ids.ts";
import type { Consistency } from "../base/schemas.ts";
import { systemTimers } from "../base/timers.ts";
import type { AccountGate } from "../cluster/accounts/account-types.ts";
import { ClusterAccounts } from "../cluster/accounts/cluster-accounts.ts";
import { HomeCalls } from "../cluster/accounts/home-calls.ts";
import { OwnShares } from "../cluster/accounts/own-shares.ts";
import { CollectionFolders } from "../cluster/collection-folders.ts";
import { CollectionRemoval } from "../cluster/collection-removal.ts";
import { CollectionShards, collectionNotFound } from "../cluster/collection-shards.ts";
import { DeletedCollections } from "../cluster/deleted-collections.ts";
import type { Gossip } from "../cluster/gossip/gossip.ts";
import { HubNewsWire } from "../cluster/hub-news-wire.ts";
import { HubShardCatalog } from "../cluster/hub-shard-catalog.ts";
import type { Membership } from "../cluster/membership/membership-types.ts";
import type { PeerCalls, PeerMethods } from "../cluster/peer/peer-types.ts";
import { ByteThrottle } from "../cluster/repair/byte-throttle.ts";
import { DigestWatch } from "../cluster/repair/digest-watch.ts";
import { HintBook } from "../cluster/repair/hint-book.ts";
import { HintReplayer } from "../cluster/repair/hint-replayer.ts";
import type { HintStorage } from "../cluster/repair/hint-storage.ts";
import { MoveRunner } from "../cluster/repair/move-runner.ts";
import { PlacementWatch } from "../cluster/repair/placement-watch.ts";
import { handleRepairCalls, RepairCalls } from "../cluster/repair/repair-calls.ts";
import { RepairLoop } from "../cluster/repair/repair-loop.ts";
import type { RepairLog } from "../cluster/repair/repair-types.ts";
import { ShardFiller } from "../cluster/repair/shard-filler.ts";
import { ShardReconciler } from "../cluster/repair/shard-reconciler.ts";
import { SurplusCopies } from "../cluster/repair/surplus-copies.ts";
import { DiskCopies } from "../cluster/replication/disk-copies.ts";
import { PeerReplicaPort } from "../cluster/replication/peer-replica-port.ts";
import { handleReplicaCalls } from "../cluster/replication/replica-messages.ts";
import { ReplicaService } from "../cluster/replication/replica-service.ts";
import { Replication } from "../cluster/replication/replication.ts";
import { VersionClock } from "../cluster/replication/version-clock.ts";
import { WriteEpochs } from "../cluster/replication/write-epochs.ts";
import { shardRefsOf } from "../cluster/shard-refs.ts";
import { TenantDirectory } from "../cluster/tenant-directory.ts";
import { UsageLedger } from "../cluster/usage-ledger.ts";
import type { HubDirectory } from "../hub/hub-client-types.ts";
import type { CollectionRecord } from "../hub/models.ts";
import type { ShardName, ShardPool, ShardRef } from "../shards/pool-types.ts";
import { Trash } from "../shards/trash.ts";
import type { ShardStats } from "../storage/shard-types.ts";

const TENANTS_REMEMBERED_MAX = 100_000;

export interface ShardPartsOptions {
	readonly dataDir: string;
	readonly hintStorage: HintStorage;
	readonly directory: HubDirectory;
	readonly pool: ShardPool;
	readonly gate: AccountGate;
	readonly membership: Membership;
	readonly calls: PeerCalls;
	readonly methods: PeerMethods;
	readonly clock: Clock;
	/** That members agree on, more or less: stamps what is written to several copies. */
	readonly agreedClock: Clock;
	readonly random: RandomBytes;
	/** Whether other nodes may have copies, now or later. */
	readonly isClusterMode: boolean;
	readonly defaults: { readonly write: Consistency; readonly read: Consistency };
	readonly moveBytesPerSecond: number;
	readonly repairRoundMs: number;
	/** @see HubLink.confirm */
	readonly confirmHub: () => Promise<void>;
	/** @see LocalCollectionParts.changeReplicas */
	readonly changeReplicas: (record: CollectionRecord, replicas: number) => Promise<number | undefined>;
	/** Reads the hub's feed as it stands now. @see HubNewsWire */
	readonly catchUp: () => Promise<number | undefined>;
	readonly onMoved: (byteCount: number) => void;
	readonly log: RepairLog;
}

/** All that a node has to do with shards: its own copies, the way to others', and what keeps them equal and in place. */
export interface ShardParts {
	readonly tenants: TenantDirectory;
	readonly removal: CollectionRemoval;
	readonly accounts: ClusterAccounts;
	readonly homes: HomeCalls;
	readonly shares: OwnShares;
	readonly hints: HintBook;
	readonly port: PeerReplicaPort;
	readonly moves: MoveRunner;
	readonly placement: PlacementWatch;
	readonly repairCalls: RepairCalls;
	readonly shardRefs: (record: CollectionRecord) => readonly ShardRef[];
	/** Hints are worked off, copies compared, made and dropped from now on. To be called once this node is a member. */
	startRepair(gossip: Gossip): void;
	/** The topology has changed: each tenant's share of this node may have. */
	suspectShares(): Promise<void>;
	/** Ends what repair has under way. Idempotent. */
	stopRepair(): Promise<void>;
	/** Settles when nothing is under way any more. To be called when no request is left, and before the pool closes. */
	close(): Promise<void>;
}

/** To be called before the network starts. @throws what the hints' storage says */
export async function openShardParts(options: ShardPartsOptions): Promise<ShardParts> {
	const { directory, pool, membership, calls, methods, clock, random, isClusterMode } = options;
	const timers = systemTimers;
	const warn = (message: string, facts: Readonly<Record<string, unknown>>): void => options.log("warn", message, facts);

	const folders = new CollectionFolders(options.dataDir, new Trash(options.dataDir, random));
	const epochs = new WriteEpochs();
	const copies = new DiskCopies({ folders, pool, epochs });
	const deleted = new DeletedCollections();
	const hints = await HintBook.open({ storage: options.hintStorage, clock, log: warn });
	const shardRefs = (record: CollectionRecord): readonly ShardRef[] => shardRefsOf(record, isClusterMode);

	const service = new ReplicaService({
		membership,
		copies,
		epochs,
		pool,
		isDeleted: (collectionId) => deleted.has(collectionId),
		touched: (shard) => touched(shard),
		mended: (shard) => accounts.doubt(shard),
		made: (shard) => placement.made(shard),
	});
	const port = new PeerReplicaPort({ membership, calls, service });
	const throttle = new ByteThrottle({ bytesPerSecond: options.moveBytesPerSecond, clock, timers });
	const reconciler = new ShardReconciler({ self: membership.self, port, throttle });
	handleReplicaCalls(methods, { service, reconciler });
	handleRepairCalls(methods, { membership, copies, look: () => moves.kick() });
	const replication = new Replication({
		membership,
		port,
		reconciler,
		remote: port,
		versions: new VersionClock(options.agreedClock, membership.self),
		hints,
		clock,
		timers,
		defaults: options.defaults,
		log: warn,
	});

	const collections = (tenantId: TenantId) => tenants.collections(tenantId);
	const shardsOf = (record: CollectionRecord): CollectionShards =>
		new CollectionShards(record, {
			replication,
			deleted,
			isClusterMode,
			membership,
			doubt: (shard) => accounts.doubt(shard),
			confirm: async ({ tenant_id, id, name }) => {
				const named = await directory.hub.listCollections(tenant_id);
				if (!named.some((record) => record.id === id)) throw collectionNotFound(name);
			},
		});
	const homes = new HomeCalls({ membership, calls, methods, clock });
	const ledger = new UsageLedger({
		ask: async (record, shardIndex) => {
			// A collection that is not made yet is empty, and need not be made for the sake of being counted.
			if (homes.isAlone && (await copies.state(nameOf(record, shardIndex))) === "none") return NOTHING;
			return shardsOf(record).call(shardIndex, (shard) => shard.stats());
		},
		clock,
		tenantsMax: TENANTS_REMEMBERED_MAX,
		log: warn,
	});
	const accounts = new ClusterAccounts({
		membership,
		methods,
		homes,
		ledger,
		gate: options.gate,
		collections,
		clock,
		timers,
		log: warn,
	});
	const shares = new OwnShares({
		membership,
		collections,
		ask: async (record, shardIndex) => {
			if ((await copies.state(nameOf(record, shardIndex))) === "none") return NOTHING;
			return pool.call(shardRefs(record)[shardIndex]!, "stats");
		},
		whole: ledger,
		clock,
		tenantsMax: TENANTS_REMEMBERED_MAX,
		log: warn,
	});
	const removal = new CollectionRemoval({ deleted, copies, hints, accounts });
	const tenants: TenantDirectory = new TenantDirectory({
		directory,
		folders,
		removal,
		accounts,
		shardsOf,
		news: new HubNewsWire({
			membership,
			calls,
			methods,
			timers,
			isHubUp: () => directory.connected,
			catchUp: options.catchUp,
		}),
		confirmHub: options.confirmHub,
		changeReplicas: options.changeReplicas,
		log: warn,
	});

	const catalog = new HubShardCatalog({ directory, deleted, membership });
	const repairCalls = new RepairCalls(calls);
	const shared = { membership, port, copies, catalog, reconciler, calls: repairCalls, clock, timers, log: options.log };
	const moves: MoveRunner = new MoveRunner({
		...shared,
		filler: new ShardFiller(shared),
		surplus: new SurplusCopies(shared),
		hintCount: () => hints.count,
		onMoved: options.onMoved,
	});
	const replayer = new HintReplayer({ ...shared, book: hints });
	const repair = new RepairLoop({ ...shared, agreedClock: options.agreedClock, roundMs: options.repairRoundMs });
	const placement = new PlacementWatch({ ...shared, look: () => moves.kick() });
	let digests: DigestWatch | undefined;
	const touched = (shard: ShardName): void => {
		repair.touched(shard);
		shares.touched(shard);
		digests?.touched(shard);
	};

	return {
		tenants,
		removal,
		accounts,
		homes,
		shares,
		hints,
		port,
		moves,
		placement,
		repairCalls,
		shardRefs,
		startRepair(gossip) {
			const watch = new DigestWatch({ ...shared, gossip, onDifference: (shard) => repair.compareSoon(shard) });
			digests = watch;
			gossip.onDigest((digest) => watch.heard(digest));
			moves.start();
			replayer.start();
			repair.start();
		},
		async suspectShares() {
			for (const tenantId of await folders.tenants()) shares.suspect(tenantId);
		},
		async stopRepair() {
			digests?.stop();
			placement.stop();
			await Promise.all([moves.stop(), replayer.stop(), repair.stop()]);
		},
		async close() {
			await replication.close();
			accounts.close();
			await tenants.close();
			await hints.close();
		},
	};
}

const NOTHING: Pick<ShardStats, "vectorCount" | "bytes"> = { vectorCount: 0, bytes: 0 };

const nameOf = ({ tenant_id: tenantId, id: collectionId }: CollectionRecord, shardIndex: number): ShardName => ({
	tenantId,
	collectionId,
	shardIndex,
});
