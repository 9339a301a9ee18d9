import type { NodeId, TenantId } from "../../base/ids.ts";
import type { Topology } from "../../hub/models.ts";
import { type FactPlace, type FactRules, FactSet, type Rank } from "./fact-set.ts";
import { GOSSIP_LIMITS } from "./gossip-limits.ts";
import type { DigestFact, Heartbeat, RecordFact, UsageFact, Vouched } from "./gossip-types.ts";

/** Hub records that come one by one; a topology is a fact of its own kind. */
export type HubRecordFact = Exclude<RecordFact, { readonly kind: "topology" }>;

/** A hub record as it is kept: with the moment the hub vouched for it, on this node's monotonic clock, instead of an age. */
export interface KeptRecord extends Omit<Vouched<HubRecordFact>, "ageMs"> {
	/** undefined: nobody vouched, the feed told of it. */
	readonly vouchedMs: number | undefined;
}

export interface HeardHeartbeat {
	readonly heartbeat: Heartbeat;
	/** When it came, on this node's monotonic clock. */
	readonly heardAtMs: number;
}

/** The facts of each kind. */
export interface FactsByKind {
	readonly record: KeptRecord;
	readonly topology: Topology;
	readonly heartbeat: HeardHeartbeat;
	readonly usage: UsageFact;
	readonly digest: DigestFact;
}

export type FactKind = keyof FactsByKind;

/** In the order in which they are told: what keeps somebody out first. */
export const FACT_KINDS: readonly FactKind[] = ["record", "topology", "heartbeat", "usage", "digest"];

/** What a state holds, in little: two with the same summary hold the same. */
export interface StateSummary {
	/** See `GossipState.generation`. */
	readonly generation: number;
	readonly kinds: { readonly [Kind in FactKind]: { readonly floor: Rank; readonly sums: Uint32Array } };
}

export interface StatePlace extends FactPlace {
	readonly kind: FactKind;
}

export type KindedFact = { [Kind in FactKind]: { readonly kind: Kind; readonly fact: FactsByKind[Kind] } }[FactKind];

export type StateLimits = { readonly [Limit in "recordsMax" | "usageMax" | "digestsMax"]: number };

/**
 * What all nodes know together, as far as this one has heard. Facts of a key replace each other by rules that do not depend on the
 * order in which they come; nothing goes back. No clock and no network: it is given both.
 */
export class GossipState {
	readonly #sets: { readonly [Kind in FactKind]: FactSet<FactsByKind[Kind]> };
	/** Every node that ever counted, those included that have left. */
	readonly #usageNodes = new Set<NodeId>();
	#generation = 0;

	constructor(limits: StateLimits = GOSSIP_LIMITS) {
		this.#sets = {
			record: new FactSet({ ...RECORD_RULES, countMax: limits.recordsMax }),
			topology: new FactSet({ ...TOPOLOGY_RULES, countMax: 1 }),
			heartbeat: new FactSet({ ...HEARTBEAT_RULES, countMax: GOSSIP_LIMITS.heartbeatsMax }),
			usage: new FactSet({ ...USAGE_RULES, countMax: limits.usageMax }),
			digest: new FactSet({ ...DIGEST_RULES, countMax: limits.digestsMax }),
		};
	}

	/**
	 * Counts how often the hub went back to an older state. Revisions from before are given out again then: records of an older
	 * generation are worth nothing, and those of a newer one end this.
	 */
	get generation(): number {
		return this.#generation;
	}

	/** @returns whether the generation is newer than the one known: all hub records were forgotten */
	enterGeneration(generation: number): boolean {
		if (generation <= this.#generation) return false;
		this.#generation = generation;
		this.#sets.record.reset();
		return true;
	}

	/** @param facts hub records among them are of this generation. @returns what was news, as it is known now */
	merge(facts: Iterable<KindedFact>): readonly KindedFact[] {
		const news: KindedFact[] = [];
		for (const told of facts) {
			const fact = (this.#sets[told.kind] as FactSet<unknown>).merge(told.fact);
			if (fact === undefined) continue;
			news.push({ kind: told.kind, fact } as KindedFact);
			if (told.kind === "usage") this.#usageNodes.add(told.fact.nodeId);
		}
		for (const kind of FACT_KINDS) this.#sets[kind].trim();
		return news;
	}

	record(kind: HubRecordFact["kind"], name: string): KeptRecord | undefined {
		return this.#sets.record.get(`${kind} ${name}`);
	}

	get topology(): Topology | undefined {
		return this.#sets.topology.get("");
	}

	heartbeat(nodeId: NodeId): HeardHeartbeat | undefined {
		return this.#sets.heartbeat.get(nodeId);
	}

	heartbeats(): Iterable<HeardHeartbeat> {
		return this.#sets.heartbeat.values();
	}

	/** One fact a node. */
	*usageOf(tenantId: TenantId): Generator<UsageFact> {
		for (const nodeId of this.#usageNodes) {
			const fact = this.#sets.usage.get(`${tenantId} ${nodeId}`);
			if (fact !== undefined) yield fact;
		}
	}

	digest(shard: string, nodeId: NodeId): DigestFact | undefined {
		return this.#sets.digest.get(`${shard} ${nodeId}`);
	}

	/** How far up hub records had to go for want of room: what was asked for up to here may be missing. */
	get recordFloor(): number {
		return this.#sets.record.floor[0];
	}

	count(kind: FactKind): number {
		return this.#sets[kind].count;
	}

	/** Forgets what nodes said of themselves that have left for good. */
	keepNodes(isMember: (nodeId: string) => boolean): void {
		this.#sets.heartbeat.deleteWhere(({ heartbeat }) => !isMember(heartbeat.nodeId));
		this.#sets.digest.deleteWhere(({ nodeId }) => !isMember(nodeId));
	}

	summary(): StateSummary {
		const of = (kind: FactKind) => ({ floor: this.#sets[kind].floor, sums: this.#sets[kind].sums });
		return {
			generation: this.#generation,
			kinds: {
				record: of("record"),
				topology: of("topology"),
				heartbeat: of("heartbeat"),
				usage: of("usage"),
				digest: of("digest"),
			},
		};
	}

	/** Takes over from another state's summary what it no longer keeps. Its generation must be known already. */
	adoptFloors({ generation, kinds }: Pick<StateSummary, "generation"> & FloorsByKind): void {
		for (const kind of FACT_KINDS) {
			if (kind === "record" && generation !== this.#generation) continue;
			this.#sets[kind].adoptFloor(kinds[kind].floor);
		}
	}

	/**
	 * What may be news to whoever has this summary: the facts that it lacks, and some that it has. Each comes with the place from
	 * which to go on after it.
	 */
	*difference(
		{ generation, kinds }: StateSummary,
		from: StatePlace = { kind: FACT_KINDS[0]!, bucket: 0, key: "" },
	): Generator<{ readonly told: KindedFact; readonly after: StatePlace }> {
		for (const kind of FACT_KINDS.slice(FACT_KINDS.indexOf(from.kind))) {
			const isOther = kind === "record" && generation !== this.#generation;
			// Of another generation: nothing it has counts here, or nothing here counts there.
			if (isOther && generation > this.#generation) continue;
			const sums = isOther ? NO_SUMS : kinds[kind].sums;
			const place = kind === from.kind ? from : { bucket: 0, key: "" };
			for (const { fact, after } of this.#sets[kind].difference(sums, place)) {
				yield { told: { kind, fact } as KindedFact, after: { kind, ...after } };
			}
		}
	}
}

export interface FloorsByKind {
	readonly kinds: { readonly [Kind in FactKind]: { readonly floor: Rank } };
}

const NO_SUMS = new Uint32Array(2 * GOSSIP_LIMITS.bucketCount);

type Rules<Kind extends FactKind> = Omit<FactRules<FactsByKind[Kind]>, "countMax">;

/** How far from being taken back, whatever revision it has. Ids of collections and hashes of keys are never used again; a tenant's id may be. */
function finality({ kind, record }: HubRecordFact): number {
	if (kind === "tenant") return 0;
	if (record === null) return 2;
	return kind === "key" && record.rotation_status === "revoked" ? 1 : 0;
}

function isNewer(told: HubRecordFact, known: HubRecordFact): boolean {
	if (finality(told) !== finality(known)) return finality(told) > finality(known);
	if (told.revision !== known.revision) return told.revision > known.revision;
	return told.record === null && known.record !== null;
}

type Vouch = Pick<KeptRecord, "vouchedAtMs" | "by" | "vouchedMs">;

/** The later answer of the hub; where two came in one millisecond the node decides. */
function laterVouch(told: Vouch, known: Vouch): Vouch {
	if (told.vouchedAtMs !== known.vouchedAtMs) return told.vouchedAtMs > known.vouchedAtMs ? told : known;
	if (told.by !== known.by) return told.by > known.by ? told : known;
	// The same answer by two ways: the one that took its time less hides its age.
	return (told.vouchedMs ?? 0) < (known.vouchedMs ?? 0) ? told : known;
}

const RECORD_RULES: Rules<"record"> = {
	keyOf: ({ fact }) => recordName(fact),
	versionOf: ({ fact, askedAt, vouchedAtMs, by }) =>
		`${fact.revision} ${finality(fact)} ${fact.record === null ? "end" : ""} ${askedAt} ${vouchedAtMs} ${by}`,
	// What was asked for last knows most: whatever is forgotten is older, and so is what it would have kept from coming back.
	worthOf: ({ askedAt, vouchedAtMs }) => [askedAt, vouchedAtMs],
	// A change in passing is newer than what the hub vouched for, and nobody vouched that it is the newest: it ages on.
	join(known, told) {
		const { fact } = isNewer(told.fact, known.fact) ? told : known;
		const { vouchedAtMs, by, vouchedMs } = laterVouch(told, known);
		const askedAt = Math.max(known.askedAt, told.askedAt);
		const isKnown =
			fact === known.fact &&
			askedAt === known.askedAt &&
			by === known.by &&
			vouchedAtMs === known.vouchedAtMs &&
			vouchedMs === known.vouchedMs;
		return isKnown ? known : { fact, askedAt, vouchedAtMs, by, vouchedMs };
	},
};

const TOPOLOGY_RULES: Rules<"topology"> = {
	keyOf: () => "",
	versionOf: ({ version }) => String(version),
	worthOf: ({ version }) => [version, 0],
	join: (known, told) => (told.version > known.version ? told : known),
};

const HEARTBEAT_RULES: Rules<"heartbeat"> = {
	keyOf: ({ heartbeat }) => heartbeat.nodeId,
	versionOf: ({ heartbeat }) => `${heartbeat.incarnation} ${heartbeat.sequence}`,
	worthOf: ({ heartbeat }) => [heartbeat.incarnation, heartbeat.sequence],
	join: (known, told) => (isLater(told.heartbeat, known.heartbeat) ? told : known),
};

const USAGE_RULES: Rules<"usage"> = {
	keyOf: ({ tenantId, nodeId }) => `${tenantId} ${nodeId}`,
	versionOf: ({ createdAtMs, requests, searches, vectorsWritten, lastRequestMs }) =>
		`${createdAtMs} ${requests} ${searches} ${vectorsWritten} ${lastRequestMs}`,
	worthOf: ({ lastRequestMs, createdAtMs }) => [lastRequestMs, createdAtMs],
	join(known, told) {
		if (told.createdAtMs < known.createdAtMs) return joinedUsage(told, known, known);
		return joinedUsage(known, told, known);
	},
};

/** @param later of the two; counts of one tenant are the greater of both, those of one that had its name before count no more */
function joinedUsage(earlier: UsageFact, later: UsageFact, known: UsageFact): UsageFact {
	const isSame = earlier.createdAtMs === later.createdAtMs;
	const greater = (counter: "requests" | "searches" | "vectorsWritten"): number =>
		isSame ? Math.max(earlier[counter], later[counter]) : later[counter];
	const joined: UsageFact = {
		...later,
		requests: greater("requests"),
		searches: greater("searches"),
		vectorsWritten: greater("vectorsWritten"),
		// By one node's clock: never less, so that what is worth keeping stays so.
		lastRequestMs: Math.max(earlier.lastRequestMs, later.lastRequestMs),
	};
	return USAGE_RULES.versionOf(joined) === USAGE_RULES.versionOf(known) ? known : joined;
}

const DIGEST_RULES: Rules<"digest"> = {
	keyOf: ({ shard, nodeId }) => `${shard} ${nodeId}`,
	versionOf: ({ incarnation, sequence }) => `${incarnation} ${sequence}`,
	// All nodes keep those of the same shards: half of a comparison is worth nothing.
	worthOf: ({ shard }) => [Bun.hash.xxHash32(shard), 0],
	join: (known, told) => (isLater(told, known) ? told : known),
};

interface Numbered {
	readonly incarnation: number;
	readonly sequence: number;
}

const isLater = (told: Numbered, known: Numbered): boolean =>
	told.incarnation > known.incarnation || (told.incarnation === known.incarnation && told.sequence > known.sequence);

/** Of what the record is about, among all records. */
export const recordName = (fact: HubRecordFact): string =>
	`${fact.kind} ${fact.kind === "key" ? fact.keyHash : fact.kind === "tenant" ? fact.tenantId : fact.collectionId}`;
