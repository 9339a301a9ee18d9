import { describe, expect, test } from "bun:test";
import { movesLeft, type NodeAnswer, type NodesAnswer, nodeRow } from "../../commands/shared/cluster-view.ts";
import { type WatchParts, watchLeaving, watchRebalance } from "../../commands/shared/cluster-watch.ts";
import { CommandFailure } from "../../commands/shared/failure.ts";

const NODE: NodeAnswer = {
	node_id: "node_a",
	state: "active",
	addresses: [],
	url: "http://10.0.0.1:7801",
	version: "1.2.3",
	ring_share: 0.3333,
	self: true,
	last_heard_seconds: 0,
	hub: { serves: true, connected: true },
	shards_open: 1_200,
	stored_gb: 1.5,
	transfers: [],
	transfers_waiting: 0,
	hints_pending: 0,
	replication_lag_seconds: 0,
};

const moving = (waiting: number, rows_done = 0): NodeAnswer => ({
	...NODE,
	transfers: [{ rows_done, rows_total: 10 }],
	transfers_waiting: waiting,
});

const answer = (nodes: readonly NodeAnswer[], is_changing = false): NodesAnswer => ({
	topology_version: 7,
	is_changing,
	nodes,
});

/** Shows one answer after another, the last for ever, and writes down what the bar was told. */
function script(answers: readonly NodesAnswer[]): WatchParts & { readonly told: unknown[]; lookCount: number } {
	const told: unknown[] = [];
	const parts = {
		told,
		lookCount: 0,
		look: async () => answers[Math.min(parts.lookCount++, answers.length - 1)]!,
		pause: async () => {},
		startProgress: (total: number) => {
			told.push(["start", total]);
			return {
				update: (done: number, note: string) => void told.push([done, note]),
				stop: () => void told.push("stop"),
			};
		},
	};
	return parts;
}

describe("following moves", () => {
	test("a drain is over when the node is no member any more", async () => {
		const other = { ...NODE, node_id: "node_b" };
		const parts = script([
			answer([moving(1, 4), other], true),
			answer([moving(0, 9), other], true),
			answer([NODE, other], true),
			answer([NODE]),
		]);
		expect(await watchLeaving(parts, "node_b")).toEqual(answer([NODE]));
		expect(parts.told).toEqual([
			["start", 2],
			[0, "4 of 10 vectors of those under way"],
			[1, "9 of 10 vectors of those under way"],
			[2, ""],
			[2, ""],
			"stop",
		]);
	});

	test("a drain is over when the node that was asked says itself that it has left", async () => {
		const failing = (code: string): WatchParts => ({
			...script([]),
			look: async () => {
				throw new CommandFailure(code, 5, "this node has left its cluster: ask another one");
			},
		});
		expect(await watchLeaving(failing("NODE_DRAINING"), "node_a")).toEqual({});
		expect(await watchLeaving(failing("HUB_UNAVAILABLE"), "node_a").catch((error: CommandFailure) => error.code)).toBe(
			"HUB_UNAVAILABLE",
		);
	});

	test("a rebalance is over when nothing moves for a few looks, not before the nodes have begun", async () => {
		const quiet = answer([NODE]);
		const parts = script([quiet, answer([moving(0)]), answer([moving(2)]), quiet, quiet, quiet]);
		expect(await watchRebalance(parts)).toEqual(quiet);
		expect(parts.lookCount).toBe(6);
		expect(parts.told.filter((told) => Array.isArray(told) && told[0] === "start")).toEqual([
			["start", 1],
			["start", 3],
		]);
		expect(parts.told.filter((told) => told === "stop")).toHaveLength(2);
	});

	test("a change of members that is not over is waited for", async () => {
		const parts = script([answer([NODE], true), answer([NODE], true), answer([NODE])]);
		await watchRebalance(parts);
		expect(parts.lookCount).toBe(5);
	});

	test("the bar is taken off the screen when a look fails", async () => {
		const parts = script([answer([moving(1)])]);
		const failing = { ...parts, pause: () => Promise.reject(new Error("gone")) };
		const thrown = await watchRebalance(failing).catch((error: unknown) => error);
		expect(thrown).toBeInstanceOf(Error);
		expect(parts.told.at(-1)).toBe("stop");
	});
});

describe("a row of the members' table", () => {
	test("says what is known in the units of people", () => {
		expect(nodeRow(NODE)).toEqual([
			"node_a",
			"active (answers, hub)",
			"http://10.0.0.1:7801",
			"1.2.3",
			"33.3 %",
			"1.50 GB",
			"1,200",
			"",
			"0",
			"",
			"",
		]);
		const busy = {
			...moving(6),
			self: false,
			replication_lag_seconds: 4.25,
			last_heard_seconds: 0.4,
			hints_pending: 2,
		};
		expect(nodeRow(busy).slice(7)).toEqual(["1 of 7", "2", "4.3 s", "now"]);
		expect(movesLeft(answer([busy, NODE]))).toBe(7);
	});

	test("says that nothing is known of a node that was never heard of", () => {
		const unheard: NodeAnswer = {
			...NODE,
			state: "down",
			self: false,
			url: null,
			version: null,
			hub: { serves: false, connected: null },
			shards_open: null,
			stored_gb: null,
			last_heard_seconds: null,
			replication_lag_seconds: 7_200,
		};
		expect(nodeRow(unheard)).toEqual(["node_a", "down", "?", "?", "33.3 %", "?", "?", "", "0", "120 min", "never"]);
		expect(nodeRow({ ...unheard, last_heard_seconds: 12 }).at(-1)).toBe("12 s ago");
	});
});
