import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { NodeId } from "../../../src/base/ids.ts";
import { factOnWire, parseFact } from "../../../src/cluster/gossip/fact-schemas.ts";
import {
	FACT_KINDS,
	type FactKind,
	GossipState,
	type HubRecordFact,
	type KeptRecord,
	type KindedFact,
} from "../../../src/cluster/gossip/gossip-state.ts";
import {
	A,
	ACME,
	B,
	C,
	collectionRecord,
	digestOf,
	hashOf,
	heartbeatOf,
	keyRecord,
	NODES,
	tenantRecord,
	topology,
	usageOf,
} from "./gossip-rig.ts";

const LIMITS = { recordsMax: 60, usageMax: 60, digestsMax: 60 };
const RUNS = 60;

const small = fc.integer({ min: 0, max: 9 });
const node = fc.constantFrom(...NODES);

/** One history of the hub: what is at a revision is the same for all who tell of it. */
const keyFact = (index: number, revision: number): HubRecordFact => {
	// Each key is changed, then revoked, then gone with its tenant.
	const rotation_status = revision > 6 ? "revoked" : "active";
	const record = revision > 8 ? null : keyRecord(index, revision, { rotation_status });
	return { kind: "key", keyHash: hashOf(index), tenantId: ACME, revision, record };
};
const tenantFact = (index: number, revision: number): HubRecordFact => ({
	kind: "tenant",
	tenantId: `tenant-${index}`,
	revision,
	// Gone, and there again.
	record: revision % 4 === 3 ? null : tenantRecord(`tenant-${index}`, revision),
});
const collectionFact = (index: number, revision: number): HubRecordFact => {
	const record = revision > 7 ? null : collectionRecord(index, revision);
	return {
		kind: "collection",
		tenantId: ACME,
		collectionId: `collection-${index}`,
		name: `docs-${index}`,
		revision,
		record,
	};
};

const asked = (factOf: (index: number, revision: number) => HubRecordFact) =>
	fc
		.record({
			index: small,
			revision: small,
			later: small,
			vouchedAtMs: fc.integer({ min: 1, max: 5 }),
			by: node,
			isVouched: fc.boolean(),
		})
		.map(({ index, revision, later, vouchedAtMs, by, isVouched }): KindedFact => {
			const vouch = isVouched
				? { vouchedAtMs, by, vouchedMs: vouchedAtMs }
				: { vouchedAtMs: 0, by: "", vouchedMs: undefined };
			// What was asked for later than a change holds it: here the next change of a thing is ten revisions away.
			const at = revision * 10;
			const askedAt = isVouched ? at + later : at;
			const fact = factOf(index, revision);
			const record = fact.record === null ? null : { ...fact.record, revision: at };
			return { kind: "record", fact: { fact: { ...fact, revision: at, record } as HubRecordFact, askedAt, ...vouch } };
		});

const FACTS: Readonly<
	Record<"key" | "tenant" | "collection" | "topology" | "heartbeat" | "usage" | "digest", fc.Arbitrary<KindedFact>>
> = {
	key: asked(keyFact),
	tenant: asked(tenantFact),
	collection: asked(collectionFact),
	topology: small.map((version) => ({ kind: "topology", fact: topology(version) })),
	heartbeat: fc
		.record({ nodeId: node, incarnation: small, sequence: small })
		.map(({ nodeId, incarnation, sequence }) => ({
			kind: "heartbeat",
			fact: { heartbeat: heartbeatOf(nodeId, incarnation, sequence), heardAtMs: 0 },
		})),
	usage: fc
		.record({
			nodeId: node,
			tenant: small,
			createdAtMs: fc.integer({ min: 1, max: 2 }),
			requests: small,
			searches: small,
			vectorsWritten: small,
			lastRequestMs: small,
		})
		.map(({ nodeId, tenant, ...counts }) => ({
			kind: "usage",
			fact: usageOf(nodeId, { ...counts, tenantId: `tenant-${tenant}` }),
		})),
	digest: fc
		.record({ nodeId: node, shard: small, incarnation: small, sequence: small })
		.map(({ nodeId, shard, incarnation, sequence }) => ({
			kind: "digest",
			fact: digestOf(nodeId, `c/${shard}`, sequence, incarnation),
		})),
};

/** All of it, in an order of its own; ages are not part of what is compared. */
const contentOf = (state: GossipState): string[] =>
	[...state.difference(new GossipState().summary())]
		.map(({ told }) => {
			if (told.kind === "record") return JSON.stringify({ ...told.fact, vouchedMs: null });
			if (told.kind === "heartbeat") return JSON.stringify(told.fact.heartbeat);
			return JSON.stringify(told.fact);
		})
		.sort();

const stateOf = (facts: readonly KindedFact[]): GossipState => {
	const state = new GossipState(LIMITS);
	for (const fact of facts) state.merge([fact]);
	return state;
};

/** One asks the other for what it lacks. */
const ask = (asker: GossipState, asked: GossipState): void => {
	const summary = asker.summary();
	asked.adoptFloors(summary);
	asker.merge([...asked.difference(summary)].map(({ told }) => told));
	asker.adoptFloors(asked.summary());
};

const exchangeAll = (states: readonly GossipState[]): void => {
	for (let round = 0; round < states.length; round++) {
		for (const one of states) for (const other of states) if (one !== other) ask(one, other);
	}
};

const isConverged = (states: readonly GossipState[]): boolean =>
	states.every((state) => Bun.deepEquals(state.summary(), states[0]!.summary()));

for (const [kind, fact] of Object.entries(FACTS)) {
	describe(`facts of kind ${kind}`, () => {
		const facts = fc.array(fact, { maxLength: 60 });

		test("merge to the same in whatever order and however often they come", () => {
			fc.assert(
				fc.property(
					facts.chain((told) =>
						fc.tuple(
							fc.constant(told),
							fc.shuffledSubarray([...told, ...told, ...told], { minLength: told.length * 3 }),
						),
					),
					([told, shuffled]) => {
						const state = stateOf(told);
						expect(contentOf(stateOf(shuffled))).toEqual(contentOf(state));
						expect(stateOf(shuffled).summary()).toEqual(state.summary());
						// Idempotent: nothing of it is news any more.
						expect(state.merge(told)).toEqual([]);
					},
				),
				{ numRuns: RUNS },
			);
		});

		test("reach every node in the end, whatever was lost and repeated on the way", () => {
			fc.assert(
				fc.property(
					facts.chain((told) =>
						fc.tuple(fc.constant(told), ...NODES.map(() => fc.shuffledSubarray([...told, ...told]))),
					),
					([told, ...heard]) => {
						// Each was told to somebody.
						const states = heard.map((subset, index) =>
							stateOf([...(subset as KindedFact[]), ...told.filter((_, at) => at % NODES.length === index)]),
						);
						exchangeAll(states);
						expect(isConverged(states)).toBe(true);
						for (const state of states) expect(contentOf(state)).toEqual(contentOf(stateOf(told)));
					},
				),
				{ numRuns: RUNS },
			);
		});

		test("converge also where there is no room for all of them", () => {
			fc.assert(
				fc.property(
					fc
						.array(fact, { minLength: 30, maxLength: 80 })
						.chain((told) => fc.tuple(...NODES.map(() => fc.shuffledSubarray(told)))),
					(heard) => {
						const states = heard.map((told) => {
							const state = new GossipState({ recordsMax: 10, usageMax: 10, digestsMax: 10 });
							for (const one of told as KindedFact[]) state.merge([one]);
							return state;
						});
						exchangeAll(states);
						exchangeAll(states);
						expect(isConverged(states)).toBe(true);
						for (const state of states)
							for (const each of FACT_KINDS) expect(state.count(each)).toBeLessThanOrEqual(10);
					},
				),
				{ numRuns: RUNS },
			);
		});

		test("survive the wire as they are", () => {
			fc.assert(
				fc.property(fact, (told) => {
					const onWire = JSON.parse(JSON.stringify(factOnWire(told, 100))) as { kind: string; fact: unknown };
					expect(parseFact(onWire.kind, onWire.fact, 100)).toEqual(told);
				}),
				{ numRuns: RUNS },
			);
		});
	});
}

describe("nothing goes back", () => {
	const newest = (state: GossipState, index: number): KeptRecord | undefined => state.record("key", hashOf(index));
	const isDead = (kept: KeptRecord | undefined): boolean =>
		kept !== undefined &&
		(kept.fact.record === null || (kept.fact.kind === "key" && kept.fact.record.rotation_status === "revoked"));

	test("a key that is revoked or gone stays so, whatever is told afterwards, in whatever order", () => {
		fc.assert(
			fc.property(fc.array(FACTS.key, { maxLength: 60 }), (told) => {
				const state = new GossipState(LIMITS);
				const dead = new Set<number>();
				for (const fact of told) {
					state.merge([fact]);
					for (let index = 0; index < 10; index++) {
						const isDeadNow = isDead(newest(state, index));
						if (dead.has(index)) expect(isDeadNow).toBe(true);
						if (isDeadNow) dead.add(index);
					}
				}
			}),
			{ numRuns: RUNS },
		);
	});

	test("a revocation is the last word also against a record that claims a higher revision", () => {
		const revoked = {
			kind: "record" as const,
			fact: kept({ ...keyFact(1, 5), record: keyRecord(1, 5, { rotation_status: "revoked" }) } as HubRecordFact),
		};
		const later = { kind: "record" as const, fact: kept(keyFact(1, 6)) };
		for (const order of [
			[revoked, later],
			[later, revoked],
		])
			expect(isDead(newest(stateOf(order), 1))).toBe(true);
	});

	test("revisions, counters, incarnations and versions only rise", () => {
		fc.assert(
			fc.property(fc.array(fc.oneof(...Object.values(FACTS)), { maxLength: 100 }), (told) => {
				const state = new GossipState(LIMITS);
				let seen = new Map<string, readonly number[]>();
				for (const fact of told) {
					state.merge([fact]);
					const now = new Map([...state.difference(new GossipState().summary())].map(({ told: one }) => rising(one)));
					for (const [name, numbers] of seen) expect(compare(now.get(name)!, numbers)).toBeGreaterThanOrEqual(0);
					seen = now;
				}
			}),
			{ numRuns: 30 },
		);
	});

	test("a change in passing keeps what the hub vouched for before, which ages on", () => {
		const vouched = { ...kept(tenantFact(1, 4)), vouchedAtMs: 50, by: A, vouchedMs: 7 };
		const passing = kept(tenantFact(1, 6));
		for (const order of [
			[vouched, passing],
			[passing, vouched],
		]) {
			const state = stateOf(order.map((fact) => ({ kind: "record", fact })));
			expect(state.record("tenant", "tenant-1")).toEqual({ ...vouched, fact: passing.fact, askedAt: 6 });
		}
	});

	test("the same answer of the hub by two ways is as old as by the faster", () => {
		const slow = { ...kept(tenantFact(1, 4)), vouchedAtMs: 50, by: A, vouchedMs: 9 };
		// Less of its age was lost on the way.
		const fast = { ...slow, vouchedMs: 7 };
		for (const order of [
			[slow, fast],
			[fast, slow],
		]) {
			const state = stateOf(order.map((fact) => ({ kind: "record", fact })));
			expect(state.record("tenant", "tenant-1")?.vouchedMs).toBe(7);
		}
	});
});

describe("a state that is full", () => {
	const digests = (from: number, count: number, nodeId: NodeId = A): KindedFact[] =>
		Array.from({ length: count }, (_, index) => ({ kind: "digest", fact: digestOf(nodeId, `c/${from + index}`, 1) }));

	test("drops the lowest, and takes nothing any more that is as low", () => {
		const state = new GossipState({ ...LIMITS, digestsMax: 20 });
		state.merge(digests(0, 21));
		expect(state.count("digest")).toBe(18);
		const dropped = digests(0, 21).filter(
			({ fact }) => state.digest((fact as { shard: string }).shard, A) === undefined,
		);
		expect(state.merge(dropped)).toEqual([]);
		expect(state.count("digest")).toBe(18);
	});

	test("is not emptied by what another claims to have no room for", () => {
		const high = Number.MAX_SAFE_INTEGER;
		const kinds = Object.fromEntries(
			FACT_KINDS.map((kind) => [kind, { floor: [high, high, high] as const }]),
		) as Record<FactKind, { readonly floor: readonly [number, number, number] }>;
		for (const count of [5, 20]) {
			const state = new GossipState({ ...LIMITS, digestsMax: 20 });
			state.merge(digests(0, count));
			state.merge([{ kind: "record", fact: kept(keyFact(1, 1)) }]);
			state.adoptFloors({ generation: 0, kinds });
			expect([state.count("digest"), state.count("record"), state.recordFloor]).toEqual([count, 1, -1]);
		}
	});

	test("of another generation of the hub takes no floor for records, and tells all it has", () => {
		const state = stateOf([{ kind: "record", fact: kept(keyFact(1, 1)) }]);
		expect([state.enterGeneration(1), state.enterGeneration(1), state.count("record")]).toEqual([true, false, 0]);
		state.merge([{ kind: "record", fact: kept(keyFact(2, 1)) }]);
		const older = stateOf([{ kind: "record", fact: kept(keyFact(2, 1)) }]);
		state.adoptFloors(older.summary());
		expect([...state.difference(older.summary())].map(({ told }) => told.kind)).toEqual(["record"]);
		expect([...older.difference(state.summary())]).toEqual([]);
	});

	test("forgets of nodes that left how they were, not what they counted", () => {
		const state = stateOf([
			...[A, B].map(
				(nodeId): KindedFact => ({ kind: "heartbeat", fact: { heartbeat: heartbeatOf(nodeId, 1, 1), heardAtMs: 0 } }),
			),
			...digests(0, 2, A),
			...digests(0, 2, B),
			{ kind: "usage", fact: usageOf(B) },
		]);
		state.keepNodes((nodeId) => nodeId !== B);
		expect([...state.heartbeats()].map(({ heartbeat }) => heartbeat.nodeId)).toEqual([A]);
		expect([state.digest("c/0", A) !== undefined, state.digest("c/0", B)]).toEqual([true, undefined]);
		expect([...state.usageOf(ACME)]).toEqual([usageOf(B)]);
		expect(state.topology).toBeUndefined();
		expect(state.heartbeats).toBeDefined();
		expect([...state.usageOf("globex" as typeof ACME)].concat(usageOf(C))).toHaveLength(1);
	});
});

function kept(fact: HubRecordFact): KeptRecord {
	return { fact, askedAt: fact.revision, vouchedAtMs: 0, by: "", vouchedMs: undefined };
}

/** A fact's name, and the numbers of it that never fall, compared from left to right. */
function rising({ kind, fact }: KindedFact): [string, readonly number[]] {
	if (kind === "record") {
		const { kind: what, revision } = fact.fact;
		const name = what === "key" ? fact.fact.keyHash : what === "tenant" ? fact.fact.tenantId : fact.fact.collectionId;
		return [`${what} ${name}`, [revision]];
	}
	if (kind === "topology") return ["topology", [fact.version]];
	if (kind === "heartbeat")
		return [`heartbeat ${fact.heartbeat.nodeId}`, [fact.heartbeat.incarnation, fact.heartbeat.sequence]];
	if (kind === "digest") return [`digest ${fact.shard} ${fact.nodeId}`, [fact.incarnation, fact.sequence]];
	return [
		`usage ${fact.tenantId} ${fact.nodeId}`,
		[fact.createdAtMs, fact.requests + fact.searches + fact.vectorsWritten],
	];
}

const compare = (a: readonly number[], b: readonly number[]): number => {
	const at = a.findIndex((value, index) => value !== b[index]);
	return at < 0 ? 0 : a[at]! - b[at]!;
};
