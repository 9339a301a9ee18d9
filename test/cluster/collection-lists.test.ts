import { expect, test } from "bun:test";
import type { NodeId, TenantId } from "../../src/base/ids.ts";
import { CollectionLists } from "../../src/cluster/collection-lists.ts";
import type { SharedList } from "../../src/hub/record-exchange.ts";
import { newCollection } from "./cluster-fixture.ts";
import { MemoryNodes, nodeIdOf, topologyOf } from "./repair/memory-nodes.ts";

const ACME = "acme" as TenantId;

function listOf(names: readonly string[], ageMs: number): SharedList {
	const records = names.map((name) => ({
		...newCollection(name),
		id: name.padEnd(20, "x"),
		tenant_id: ACME,
		created_at: "2030-01-01T00:00:00Z",
		revision: 1,
	}));
	return { records: records as unknown as SharedList["records"], ageMs };
}

test("a tenant's collections are those that a living member has had from the hub last", async () => {
	const world = new MemoryNodes(topologyOf(1, { a: "active", b: "active", c: "active" }));
	const known = new Map<NodeId, SharedList>([
		[nodeIdOf("b"), listOf(["docs"], 9_000)],
		[nodeIdOf("c"), listOf(["docs", "more"], 400)],
	]);
	const lists = ["a", "b", "c"].map(
		(name) =>
			new CollectionLists({
				membership: world.node(name),
				calls: world.peersOf(nodeIdOf(name)),
				methods: world.node(name),
				known: (tenantId) => (tenantId === ACME ? known.get(nodeIdOf(name)) : undefined),
			}),
	);
	const ask = async (tenantId: TenantId) => (await lists[0]!.ask(tenantId))?.records.map(({ name }) => String(name));
	expect(await ask(ACME)).toEqual(["docs", "more"]);
	expect(await ask("other" as TenantId)).toBeUndefined();
	world.setDown("c", true);
	expect(await ask(ACME)).toEqual(["docs"]);
	world.node("b").methods.set("hub.collections", async () => ({ records: "none" }));
	expect(await ask(ACME)).toBeUndefined();
	world.setDown("b", true);
	expect(await ask(ACME)).toBeUndefined();
});
