import type { NodeId } from "../../src/base/ids.ts";
import type { Consistency } from "../../src/base/schemas.ts";
import type { Membership, TopologyView } from "../../src/cluster/membership/membership-types.ts";
import type { HintStorage } from "../../src/cluster/repair/hint-storage.ts";
import type { ShardCatalog } from "../../src/cluster/repair/repair-types.ts";
import type { ShardFiller } from "../../src/cluster/repair/shard-filler.ts";
import type { SurplusCopies } from "../../src/cluster/repair/surplus-copies.ts";
import type { ReplicaService } from "../../src/cluster/replication/replica-service.ts";
import type { LocalCopies, ReplicaPort } from "../../src/cluster/replication/replica-types.ts";
import type { VersionClock } from "../../src/cluster/replication/version-clock.ts";
import type { ShardCalls } from "../../src/shards/pool-types.ts";
import type { UpdateResult, VersionedRows, WriteResult } from "../../src/storage/shard-types.ts";
import { packRows } from "../../src/storage/versioned-rows.ts";
import { unpackRows } from "../cluster/repair/memory-shard.ts";
import type { SimulatedHost } from "./simulated-host.ts";

type Settled = (nodeId: NodeId) => number | undefined;

/** What stands between a node's parts; as it is here, nothing is wrong. */
export class Fault {
	readonly writeConsistency: Consistency = "quorum";
	/** Lets go of word of deletions that is old enough, whoever has heard of them. */
	readonly forgetsDeletions: boolean = false;

	/** Shows only where vectors are updated in place. */
	readonly isOfPatches: boolean = false;

	hints(storage: HintStorage, _host: SimulatedHost): HintStorage {
		return storage;
	}
	service(service: ReplicaService, _membership: Membership): ReplicaService {
		return service;
	}
	repairPort(port: ReplicaPort): ReplicaPort {
		return port;
	}
	coordinatorPort(port: ReplicaPort): ReplicaPort {
		return port;
	}
	coordinatorView(membership: Membership): Membership {
		return membership;
	}
	versions(clock: VersionClock): VersionClock {
		return clock;
	}
	filler(filler: ShardFiller, _copies: LocalCopies): Pick<ShardFiller, "fill" | "mend"> {
		return filler;
	}
	surplus(
		surplus: SurplusCopies,
		_copies: LocalCopies,
		_membership: Membership,
		_catalog: ShardCatalog,
	): Pick<SurplusCopies, "settle"> {
		return surplus;
	}
	settledOf(settledOf: Settled): Settled {
		return settledOf;
	}
}

/** Coordinators see a new topology late, as those do whose messages are held up. No fault: it costs answers, and loses nothing. */
export class LateCoordinators extends Fault {
	override coordinatorView(membership: Membership): Membership {
		let view = membership.view();
		let askedCount = 0;
		const late = (): TopologyView => {
			if (++askedCount % 40 === 0) view = membership.view();
			return view;
		};
		return {
			self: membership.self,
			view: late,
			isLive: (nodeId) => membership.isLive(nodeId),
			hasMajority: () => membership.hasMajority(),
			onChange: (listener) => membership.onChange(listener),
			refresh: async (version) => {
				await membership.refresh(version);
				view = membership.view();
			},
		};
	}
}

/** The port with one method's answers changed. */
function answering(port: ReplicaPort, change: (method: string, answer: unknown) => unknown): ReplicaPort {
	return {
		call: async (nodeId, shard, method, args, options) =>
			change(method, await port.call(nodeId, shard, method, args, options)) as never,
		make: (...args) => port.make(...args),
		copyState: (...args) => port.copyState(...args),
	};
}

/** By what is done wrong. Each is to be found by the simulation. */
export const PLANTED_FAULTS: Readonly<Record<string, () => Fault>> = {
	"comparisons leave deletions out": () =>
		new (class extends Fault {
			override repairPort(port: ReplicaPort): ReplicaPort {
				return answering(port, (method, answer) => {
					if (method !== "rows") return answer;
					const rows = unpackRows(answer as VersionedRows, 1).filter(({ document }) => document !== undefined);
					return packRows(rows, 1);
				});
			}
		})(),

	"a write counts only the copies that shall be": () =>
		new (class extends Fault {
			override coordinatorView(membership: Membership): Membership {
				return viewing(membership, ({ next }) => ({ current: next, next, writers: next }));
			}
		})(),

	"a write counts only the copies that are": () =>
		new (class extends Fault {
			override coordinatorView(membership: Membership): Membership {
				return viewing(membership, ({ current }) => ({ current, next: current, writers: current }));
			}
		})(),

	"hints are acknowledged before they are on disk": () =>
		new (class extends Fault {
			override hints(storage: HintStorage): HintStorage {
				return {
					nodes: () => storage.nodes(),
					read: (nodeId) => storage.read(nodeId),
					append: async (nodeId, text) => void storage.append(nodeId, text).catch(() => undefined),
					replace: async (nodeId, text) => void storage.replace(nodeId, text).catch(() => undefined),
					remove: (nodeId) => storage.remove(nodeId),
					close: () => storage.close(),
				};
			}
		})(),

	"a copy is called complete before it is filled": () =>
		new (class extends Fault {
			override filler(_filler: ShardFiller, copies: LocalCopies): Pick<ShardFiller, "fill" | "mend"> {
				return {
					fill: async ({ shard }) => {
						await copies.make(shard, "complete");
						await copies.markComplete(shard);
						return true;
					},
					mend: async () => true,
				};
			}
		})(),

	"who is left of a shard's holders does not mend what the others took along": () =>
		new (class extends Fault {
			override filler(filler: ShardFiller): Pick<ShardFiller, "fill" | "mend"> {
				return { fill: (...args) => filler.fill(...args), mend: async () => true };
			}
		})(),

	"a coordinator does not go on from what stood in its way": () =>
		new (class extends Fault {
			override versions(clock: VersionClock): VersionClock {
				return { next: () => clock.next(), observe: () => {} } as unknown as VersionClock;
			}
		})(),

	"a write that lost counts as done": () =>
		new (class extends Fault {
			override coordinatorPort(port: ReplicaPort): ReplicaPort {
				return answering(port, (_method, answer) => {
					if (answer === undefined || (answer as WriteResult).supersededBy === undefined) return answer;
					const { supersededBy: _, ...rest } = answer as UpdateResult;
					return rest;
				});
			}
		})(),

	"an update reads before its version is claimed": () =>
		new (class extends Fault {
			override readonly isOfPatches = true;
			override coordinatorPort(port: ReplicaPort): ReplicaPort {
				return {
					call: (nodeId, shard, method, args, { client, ...options }) => {
						const { claim: _, ...unclaimed } = client ?? { topologyVersion: 0, replicas: 0 };
						return port.call(nodeId, shard, method, args, { ...options, ...(client && { client: unclaimed }) });
					},
					make: (...args) => port.make(...args),
					copyState: (...args) => port.copyState(...args),
				};
			}
		})(),

	"an update is as new as when it is done": () =>
		new (class extends Fault {
			override readonly isOfPatches = true;
			override coordinatorPort(port: ReplicaPort): ReplicaPort {
				return {
					call: async (nodeId, shard, method, args, options) => {
						if (method !== "update") return await port.call(nodeId, shard, method, args, options);
						const [request, allowance, stamp] = args as Parameters<ShardCalls["update"]>;
						if (stamp !== undefined) await port.call(nodeId, shard, "merge", [stamp.known], options);
						return (await port.call(nodeId, shard, "update", [request, allowance], options)) as never;
					},
					make: (...args) => port.make(...args),
					copyState: (...args) => port.copyState(...args),
				};
			}
		})(),

	"writes by an old topology are taken": () =>
		new (class extends LateCoordinators {
			override service(service: ReplicaService, membership: Membership): ReplicaService {
				return {
					call: (...[shard, method, args, caller]: Parameters<ReplicaService["call"]>) =>
						service.call(shard, method, args as Parameters<ShardCalls[typeof method]>, {
							...caller,
							topologyVersion: membership.view().version,
						}),
					make: (...args: Parameters<ReplicaService["make"]>) => service.make(...args),
					copyState: (...args: Parameters<ReplicaService["copyState"]>) => service.copyState(...args),
				} as unknown as ReplicaService;
			}
		})(),

	"half of the copies is a majority": () =>
		new (class extends Fault {
			override readonly writeConsistency = "one";
		})(),

	"a surplus copy goes without a last word": () =>
		new (class extends Fault {
			override surplus(
				_surplus: SurplusCopies,
				copies: LocalCopies,
				membership: Membership,
				catalog: ShardCatalog,
			): Pick<SurplusCopies, "settle"> {
				return {
					settle: async (name) => {
						const found = await catalog.find(name);
						if (found === undefined) return true;
						const { writers } = membership.view().placement(name.collectionId, name.shardIndex, found.replicas);
						if (!writers.includes(membership.self)) await copies.drop(name);
						return true;
					},
				};
			}
		})(),

	"a change of topology ends before everything is moved": () =>
		new (class extends Fault {
			override settledOf(): Settled {
				return () => Number.MAX_SAFE_INTEGER;
			}
		})(),

	"word of deletions goes when not all have heard of them": () =>
		new (class extends Fault {
			override readonly forgetsDeletions = true;
		})(),
};

function viewing(
	membership: Membership,
	change: (placement: ReturnType<TopologyView["placement"]>) => ReturnType<TopologyView["placement"]>,
): Membership {
	return {
		self: membership.self,
		view: () => {
			const view = membership.view();
			return {
				version: view.version,
				members: view.members,
				isChanging: view.isChanging,
				placement: (...args) => change(view.placement(...args)),
				replicaCount: (collectionId) => view.replicaCount(collectionId),
				homes: (subject) => view.homes(subject),
				ringShare: (nodeId) => view.ringShare(nodeId),
				member: (nodeId) => view.member(nodeId),
			};
		},
		isLive: (nodeId) => membership.isLive(nodeId),
		hasMajority: () => membership.hasMajority(),
		onChange: (listener) => membership.onChange(listener),
		refresh: (version) => membership.refresh(version),
	};
}
