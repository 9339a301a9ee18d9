import { afterAll, expect, test } from "bun:test";
import { NonceBoard } from "../../src/access/nonce-board.ts";
import { NonceStore } from "../../src/access/nonce-store.ts";
import { SignatureVerifier } from "../../src/access/signature-verifier.ts";
import type { ApiKeyId, NodeId, TenantId } from "../../src/base/ids.ts";
import { SimulatedNetwork } from "../cluster/accounts/simulated-network.ts";
import { SimulatedTime } from "../cluster/accounts/simulated-time.ts";
import { codeOf } from "../cluster/cluster-fixture.ts";
import { errorOf, keyRecord } from "./access-fixture.ts";
import { hmacKey, JournalFolder, signedMessage } from "./signing-fixture.ts";

const ACME = "acme" as TenantId;
const API_KEY = `hh_live_${"a".repeat(32)}`;
const folder = new JournalFolder();
afterAll(() => folder.clear());

function rig(nodeCount: number, nonceCountMax = 100) {
	const time = new SimulatedTime();
	const nodeIds = Array.from({ length: nodeCount }, (_, index) => `node_${index}` as NodeId);
	const network = new SimulatedNetwork(time, nodeIds);
	const boards = nodeIds.map((nodeId) => {
		const peer = network.peers.get(nodeId)!;
		const store = new NonceStore(folder.open(time), time.nowMs(), { nonceCountMax, noncesPerKeyMax: nonceCountMax });
		return new NonceBoard({ store, membership: peer, calls: peer, methods: peer, clock: time });
	});
	const claim = async (index: number, nonce: string): Promise<void> =>
		boards[index]!.claim(ACME, {
			apiKeyId: "key_0000000000000000" as ApiKeyId,
			nonce,
			validUntilMs: Math.ceil(time.nowMs() / 1000) * 1000 + 300_000,
		});
	return { time, network, nodeIds, boards, claim };
}

test("a nonce is taken once, whichever nodes are asked", async () => {
	const { time, boards, claim } = rig(5);
	for (const first of boards.keys()) {
		await time.until(claim(first, `nonce-${first}`));
		for (const again of boards.keys()) {
			expect(await time.until(codeOf(claim(again, `nonce-${first}`)))).toBe("AUTH_SIGNATURE_INVALID");
		}
	}
});

test("of two that come at once with the same nonce at most one is taken", async () => {
	const { time, claim } = rig(3);
	for (let round = 0; round < 10; round++) {
		const outcomes = await time.until(Promise.allSettled([0, 1, 2].map((index) => claim(index, `round-${round}`))));
		expect(outcomes.filter(({ status }) => status === "fulfilled").length).toBeLessThanOrEqual(1);
	}
});

test("a nonce stays taken when any one of those that remember it is gone, and when two are none is taken", async () => {
	for (const dead of [0, 1, 2]) {
		const { time, network, nodeIds, claim } = rig(3);
		await time.until(claim(0, "before"));
		await time.pass(100);
		network.kill(nodeIds[dead]!);
		const [one, other] = [0, 1, 2].filter((index) => index !== dead);
		expect(await time.until(codeOf(claim(one!, "before")))).toBe("AUTH_SIGNATURE_INVALID");
		await time.until(claim(other!, "after"));
		network.kill(nodeIds[other!]!);
		expect(await time.until(codeOf(claim(one!, "later")))).toBe("NO_QUORUM");
	}
});

test("a full store says so, unless most have room", async () => {
	const { time, claim } = rig(3, 2);
	await time.until(claim(0, "a"));
	await time.until(claim(1, "b"));
	await time.pass(100);
	expect(await time.until(codeOf(claim(2, "c")))).toBe("OVERLOADED");
	expect(await time.until(codeOf(claim(2, "a")))).toBe("AUTH_SIGNATURE_INVALID");
});

test("a change of members forgets no nonce: those who remembered it are asked as well, until it has expired", async () => {
	for (const nodeCount of [2, 3, 6]) {
		const { time, network, nodeIds, claim } = rig(nodeCount);
		const [first] = nodeIds;
		await time.until(claim(0, "before"));
		await time.pass(100);
		// Of the nodes that remember, all but the first leave the ring, still alive.
		const states = new Map(nodeIds.map((nodeId) => [nodeId, nodeId === first ? "active" : "removed"] as const));
		network.change(states);
		for (const peer of network.peers.values()) peer.learn();
		for (const index of nodeIds.keys()) {
			expect(await time.until(codeOf(claim(index, "before")))).toBe("AUTH_SIGNATURE_INVALID");
		}
		await time.until(claim(0, "after"));
		expect(await time.until(codeOf(claim(nodeCount - 1, "after")))).toBe("AUTH_SIGNATURE_INVALID");
		for (const nodeId of nodeIds.slice(1)) network.kill(nodeId);
		await time.pass(360_001);
		await time.until(Promise.resolve(claim(0, "much later")));
	}
});

test("a node alone answers at once", async () => {
	const { boards } = rig(1);
	const use = { apiKeyId: "key_0000000000000000" as ApiKeyId, nonce: "n", validUntilMs: Number.MAX_SAFE_INTEGER };
	expect(boards[0]!.claim(ACME, use)).toBeUndefined();
	expect((await errorOf(() => boards[0]!.claim(ACME, use))).code).toBe("AUTH_SIGNATURE_INVALID");
});

test("a captured signed request does not pass at a sibling", async () => {
	const { time, boards } = rig(3);
	const key = keyRecord("acme", { signing_required: true });
	const verifiers = boards.map((board) => new SignatureVerifier(time, board));
	await time.pass(1_000);
	const message = await signedMessage(hmacKey(API_KEY), Math.floor(time.nowMs() / 1000));
	const check = await time.until(Promise.resolve(verifiers[0]!.verify(message, key, API_KEY)));
	expect(check).toBeFunction();
	for (const verifier of verifiers) {
		const replayed = Promise.resolve(verifier.verify(message, key, API_KEY));
		expect(await time.until(codeOf(replayed))).toBe("AUTH_SIGNATURE_INVALID");
	}
});
