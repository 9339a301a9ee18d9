import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { LocalCluster } from "../../scripts/local-cluster.ts";
import type { LocalNode } from "../../scripts/local-node.ts";
import type { VectorId } from "../../src/base/ids.ts";
import { bm25Oracle, type Words } from "../storage/bm25-oracle.ts";
import { type Answer, call, newTenant } from "./client.ts";

setDefaultTimeout(120_000);

const textOf = (id: number, round = 0): string =>
	`every ${id % 3 === 0 ? "third" : "other"} w${id % 7} w${id % 11} ${"long ".repeat(id % 5)}round${round}`;
const wordsOf = (text: string): Words => text.split(" ").filter((word) => word !== "");

let cluster: LocalCluster;
let key: string;
const documents = new Map<VectorId, Words>();

beforeAll(async () => {
	cluster = await LocalCluster.start(3);
	key = await newTenant(cluster.node(0), "acme");
});
afterAll(() => cluster.close());

const ask = async (node: LocalNode, path: string, body: object): Promise<Answer["body"]> => {
	const answer = await call(node, key, "POST", path, body);
	expect(answer.status, JSON.stringify(answer.body)).toBeLessThan(300);
	return answer.body;
};

async function write(node: LocalNode, ids: readonly number[], round: number): Promise<void> {
	const vectors = ids.map((id) => ({ id, vector: [Math.sin(id), Math.cos(id)], payload: { text: textOf(id, round) } }));
	await ask(node, "/collections/docs/vectors", { vectors, consistency: "quorum" });
	for (const id of ids) documents.set(id, wordsOf(textOf(id, round)));
}

/** However it is asked, each node answers with what BM25 over all documents gives. */
async function expectAgreed(nodes: readonly LocalNode[], consistencies: readonly string[]): Promise<void> {
	for (const text of ["third w3 w10", "long every round1", "w5"]) {
		const expected = bm25Oracle(documents, text.split(" "));
		for (const node of nodes) {
			for (const consistency of consistencies) {
				const { results } = await ask(node, "/collections/docs/search", { text, limit: 200, consistency });
				expect(results.map(({ id }: { id: VectorId }) => id).sort()).toEqual(
					expected
						.slice(0, 200)
						.map(({ id }) => id)
						.sort(),
				);
				for (const [rank, { score }] of results.entries()) expect(score).toBeCloseTo(expected[rank]!.score, 9);
				const hybrid = { vector: [1, 0], hybrid: { text }, limit: 20, consistency };
				expect((await ask(node, "/collections/docs/search", hybrid)).results).toHaveLength(20);
			}
		}
	}
}

test("words are counted over all shards wherever their copies are, on every node and at every consistency", async () => {
	await ask(cluster.node(1), "/collections", {
		name: "docs",
		dimension: 2,
		shards: 4,
		replicas: 2,
		text: { language: "none" },
	});
	await write(
		cluster.node(0),
		Array.from({ length: 150 }, (_, id) => id),
		0,
	);
	await write(cluster.node(2), [3, 14, 15, 92, 65], 1);
	await expectAgreed(cluster.nodes, ["one", "quorum", "all"]);
});

test("a node that was killed knows the words of before, and learns those that it missed", async () => {
	await cluster.kill(2);
	for (const id of [7, 8, 9]) {
		// Copies on the killed node are missed by some of the shards: those that can be written are.
		const vectors = [{ id, vector: [1, id], payload: { text: textOf(id, 1) } }];
		const answer = await call(cluster.node(0), key, "POST", "/collections/docs/vectors", {
			vectors,
			consistency: "one",
		});
		expect(answer.status, JSON.stringify(answer.body)).toBe(200);
		documents.set(id, wordsOf(textOf(id, 1)));
	}
	await cluster.restart(2);
	await cluster.settled();
	await expectAgreed(cluster.nodes, ["all"]);
});
