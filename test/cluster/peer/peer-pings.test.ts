import { beforeEach, describe, expect, test } from "bun:test";
import type { NodeId } from "../../../src/base/ids.ts";
import { PEER_LIMITS } from "../../../src/cluster/peer/peer-limits.ts";
import { PeerPings } from "../../../src/cluster/peer/peer-pings.ts";
import { PeerFailure } from "../../../src/cluster/peer/peer-types.ts";
import { SimulatedTime } from "../accounts/simulated-time.ts";

const NODE = "node_aaaaaaaaaaaaaaaa" as NodeId;

let time: SimulatedTime;
let answers: (nodeId: NodeId) => Promise<unknown>;
let pingCount: number;
let silent: NodeId[];
let foreign: NodeId[];
let pings: PeerPings;
/** Time in which this process did not run. */
let leapMs: number;

beforeEach(() => {
	time = new SimulatedTime();
	pingCount = 0;
	leapMs = 0;
	silent = [];
	foreign = [];
	answers = () => new Promise(() => undefined);
	pings = new PeerPings({
		protocol: "1.0",
		call: (nodeId) => {
			pingCount++;
			return answers(nodeId);
		},
		onSilent: (nodeId) => {
			silent.push(nodeId);
			pings.end(nodeId);
		},
		onForeign: (nodeId) => foreign.push(nodeId),
		onTick: () => undefined,
		clock: { nowMs: () => time.nowMs() + leapMs, monotonicMs: () => time.monotonicMs() + leapMs },
		timers: time,
	});
});

describe("a connected node", () => {
	test("that is silent for long is given up, not before", async () => {
		pings.begin(NODE);
		await time.pass(PEER_LIMITS.connectionSilenceMsMax);
		expect(silent).toEqual([]);
		await time.pass(2 * PEER_LIMITS.pingEveryMs);
		expect(silent).toEqual([NODE]);
	});

	test("is not silent when anything comes from it", async () => {
		pings.begin(NODE);
		for (let round = 0; round < 10; round++) {
			await time.pass(PEER_LIMITS.connectionSilenceMsMax - PEER_LIMITS.pingEveryMs);
			pings.heard(NODE);
		}
		expect(silent).toEqual([]);
	});

	test("is not blamed for time in which this process did not run", async () => {
		pings.begin(NODE);
		await time.pass(PEER_LIMITS.pingEveryMs);
		leapMs = 60_000;
		await time.pass(PEER_LIMITS.pingEveryMs);
		expect(silent).toEqual([]);
	});

	test("is asked once a second, and not again while it owes an answer", async () => {
		pings.begin(NODE);
		await time.pass(3 * PEER_LIMITS.pingEveryMs);
		expect(pingCount).toBe(1);
		answers = () => Promise.resolve({ nowMs: time.nowMs(), protocol: "1.0" });
		pings.end(NODE);
		pings.begin(NODE);
		pings.begin(NODE);
		await time.pass(3 * PEER_LIMITS.pingEveryMs);
		expect(pingCount).toBe(5);
	});

	test("tells its clock best by the answer that came quickest", async () => {
		const offsetMs = -90_000;
		let delayMs = 40;
		answers = async () => {
			await time.pause(delayMs);
			// The way back is the long one.
			const pong = { nowMs: time.nowMs() + offsetMs, protocol: "1.2" };
			await time.pause(delayMs * 9);
			return pong;
		};
		pings.begin(NODE);
		await time.pass(PEER_LIMITS.pingEveryMs - 1);
		expect(pings.clockOffsetMs(NODE)).toBe(offsetMs + delayMs * -9 + delayMs * 5);
		delayMs = 0;
		await time.pass(PEER_LIMITS.pingEveryMs);
		delayMs = 40;
		await time.pass(3 * PEER_LIMITS.pingEveryMs);
		expect(pings.clockOffsetMs(NODE)).toBe(offsetMs);
		expect(pings.protocolOf(NODE)).toBe("1.2");
	});

	test("whose answers make no sense tells nothing", async () => {
		for (const answer of [null, 5, {}, { nowMs: "now", protocol: "1.0" }]) {
			answers = () => Promise.resolve(answer);
			pings.begin(NODE);
			await time.pass(PEER_LIMITS.pingEveryMs);
			expect(pings.clockOffsetMs(NODE)).toBeUndefined();
			pings.end(NODE);
		}
	});

	test("that lacks the protocol is named, one that fails otherwise is left to its silence", async () => {
		answers = () => Promise.reject(new PeerFailure("timeout", NODE, "no answer"));
		pings.begin(NODE);
		await time.pass(10);
		expect(foreign).toEqual([]);
		answers = () => Promise.reject(new PeerFailure("unsupported", NODE, "another version"));
		await time.pass(PEER_LIMITS.pingEveryMs);
		expect(foreign).toEqual([NODE]);
		pings.stop();
		await time.pass(60_000);
		expect(silent).toEqual([]);
	});
});
