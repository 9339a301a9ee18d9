import { describe, expect, test } from "bun:test";
import { HiveError } from "../../../src/base/errors.ts";
import { systemRandom } from "../../../src/base/ids.ts";
import { type JoinRequest, joinCluster, joinHandler } from "../../../src/cluster/membership/join.ts";
import { askTopologyOver, topologyHandler } from "../../../src/cluster/membership/topology-exchange.ts";
import { candidate, KeeperRig, refusalOf } from "./keeper-rig.ts";
import { node, textOf, topology } from "./topology-fixture.ts";

const request: JoinRequest = { node_id: node("b"), addresses: ["/dns/b/tcp/7802"], serves_hub: false, protocol: "1.0" };
const never = new AbortController().signal;

/** A joiner whose network is these functions, by address. */
function joiner(network: Readonly<Record<string, (request: JoinRequest) => Promise<unknown>>>) {
	const logged: string[] = [];
	const asked: string[] = [];
	return {
		logged,
		asked,
		addresses: async (): Promise<readonly string[]> => Object.keys(network),
		ask: async (address: string, body: JoinRequest) => {
			asked.push(address);
			return network[address]!(body);
		},
		random: systemRandom,
		log: (message: string, facts: Readonly<Record<string, unknown>>) =>
			logged.push(`${message} ${JSON.stringify(facts)}`),
	};
}

const down = async (): Promise<never> => {
	throw new Error("connection refused");
};

describe("the side that is asked", () => {
	test("lets a node in under the identity that its connection has proven, once", async () => {
		const rig = await KeeperRig.open();
		try {
			const keeper = await rig.cluster("a");
			const admitted: string[] = [];
			const handle = joinHandler(keeper, ({ node_id }, peerId) => admitted.push(`${node_id} ${peerId}`));
			const answer = await handle({ ...request, peer_id: "forged", something: "newer" }, "peer-b");
			expect(answer).toEqual({ outcome: "admitted", topology: keeper.topology });
			expect(await handle(request, "peer-b")).toEqual(answer);
			expect([textOf(keeper.topology), keeper.nodeIdOf("peer-b")]).toEqual(["a b:j", node("b")]);
			expect(admitted).toEqual([`${node("b")} peer-b`, `${node("b")} peer-b`]);
			expect(await handle(request, "peer-c")).toMatchObject({ outcome: "refused", field: "node_id" });
			await keeper.drain(node("b"));
			const refused = await handle(request, "peer-b");
			expect(refused).toMatchObject({ outcome: "refused", field: "data_dir" });
			expect(refused.outcome === "refused" && refused.reason).toContain("empty data folder");
			expect(admitted).toHaveLength(2);
		} finally {
			await rig.close();
		}
	});

	test("refuses what is no request, and who speaks another language", async () => {
		const handle = joinHandler({ admit: down }, () => {});
		for (const body of [null, {}, { ...request, node_id: "b" }, { ...request, addresses: Array(17).fill("x") }]) {
			expect(await refusalOf(handle(body, "peer-b"))).toBe("VALIDATION_FAILED");
		}
		expect(await handle({ ...request, protocol: "2.0" }, "peer-b")).toMatchObject({
			outcome: "refused",
			field: "protocol",
		});
	});

	test("a node of another minor version is let in", async () => {
		const handle = joinHandler({ admit: async () => topology("a b:j") }, () => {});
		expect(await handle({ ...request, protocol: "1.7" }, "peer-b")).toMatchObject({ outcome: "admitted" });
	});

	test("tells to ask again when the hub can't be reached, and hides nothing unexpected", async () => {
		const failing = (error: Error) =>
			joinHandler(
				{
					admit: async () => {
						throw error;
					},
				},
				() => {},
			);
		expect(await failing(new HiveError("HUB_UNAVAILABLE", "away"))(request, "p")).toEqual({
			outcome: "retry",
			reason: "away",
		});
		expect(await failing(new HiveError("OVERLOADED", "busy"))(request, "p")).toEqual({
			outcome: "retry",
			reason: "busy",
		});
		expect(await failing(new HiveError("CONFLICT", "no"))(request, "p")).toMatchObject({ field: "cluster.join" });
		expect(await refusalOf(failing(new HiveError("INTERNAL", "broken"))(request, "p"))).toBe("INTERNAL");
		expect(await failing(new Error("defect"))(request, "p").catch((error: Error) => error.message)).toBe("defect");
	});
});

describe("the side that asks", () => {
	test("goes round the addresses until a member lets it in", async () => {
		let roundCount = 0;
		const network = {
			"/dns/x/tcp/1": down,
			"/dns/y/tcp/1": async () => "nonsense",
			"/dns/z/tcp/1": async () => ({ outcome: "admitted", topology: topology("a") }),
			"/dns/a/tcp/1": async () =>
				++roundCount < 2
					? { outcome: "retry", reason: "the hub is away" }
					: { outcome: "admitted", topology: topology("a b:j") },
			"/dns/late/tcp/1": down,
		};
		const parts = joiner(network);
		expect(textOf(await joinCluster(parts, request, never))).toBe("a b:j");
		expect(parts.asked.join(" ")).toBe([...Object.keys(network), ...Object.keys(network).slice(0, 4)].join(" "));
		for (const why of ["connection refused", "makes no sense", "another node", "the hub is away"]) {
			expect(parts.logged.join("\n")).toContain(why);
		}
	});

	test("stops at a refusal, with its reason", async () => {
		const parts = joiner({
			"/dns/a/tcp/1": async () => ({ outcome: "refused", reason: "it has left", field: "data_dir" }),
			"/dns/b/tcp/1": down,
		});
		expect(await refusalOf(joinCluster(parts, request, never))).toBe("CONFLICT data_dir");
		expect(parts.asked).toEqual(["/dns/a/tcp/1"]);
	});

	test("addresses that can't be found now are looked for again, and each is asked once a round", async () => {
		const parts = joiner({ "/dns/a/tcp/1": async () => ({ outcome: "admitted", topology: topology("a b") }) });
		let round = 0;
		const addresses = async (): Promise<readonly string[]> => {
			round++;
			if (round === 1) throw new Error("no such name");
			return round === 2 ? [] : ["/dns/a/tcp/1", "/dns/a/tcp/1"];
		};
		await joinCluster({ ...parts, addresses }, request, never);
		expect(parts.asked).toEqual(["/dns/a/tcp/1"]);
		expect(parts.logged.join("\n")).toContain("no such name");
		expect(parts.logged.join("\n")).toContain("no address to ask");
	});

	test("ends when it is told to", async () => {
		const stop = new AbortController();
		const parts = joiner({
			"/dns/a/tcp/1": async () => {
				stop.abort();
				return Promise.reject("gone");
			},
			"/dns/b/tcp/1": down,
		});
		expect(await refusalOf(joinCluster(parts, request, stop.signal))).toBe("HUB_UNAVAILABLE cluster.join");
		expect(parts.asked).toEqual(["/dns/a/tcp/1"]);
	});
});

test("members tell each other the topology they know", async () => {
	const told = topology("a b:j c:x", 12);
	const ask = askTopologyOver({
		call: async (nodeId, method, body) => {
			expect([nodeId, method]).toEqual([node("a"), "cluster.topology"]);
			const context = { from: node("b"), signal: never };
			return JSON.parse(JSON.stringify(await topologyHandler({ topology: told })(body, context)));
		},
	});
	expect(await ask(node("a"))).toEqual(told);
	const nonsense = askTopologyOver({ call: async () => ({ members: [candidate("a")] }) });
	expect(await nonsense(node("a")).catch((error: Error) => error.name)).toBe("ZodError");
});
