import { expect, test } from "bun:test";
import { Liveness } from "../../../src/cluster/membership/liveness.ts";
import { SimulatedTime } from "../accounts/simulated-time.ts";
import { node } from "./topology-fixture.ts";

const [B, C] = [node("b"), node("c")];

function rig() {
	const time = new SimulatedTime();
	// Like a process that is stopped, or gets no processor: timers come late.
	let stoppedMs = 0;
	const liveness = new Liveness({
		clock: { nowMs: () => time.nowMs(), monotonicMs: () => time.monotonicMs() + stoppedMs },
		timers: time,
	});
	let changeCount = 0;
	liveness.onChange(() => changeCount++);
	return {
		time,
		liveness,
		changes: () => changeCount,
		stopProcess: (ms: number) => {
			stoppedMs += ms;
		},
	};
}

test("a node lives from its first sign of life until it has been silent for three seconds", async () => {
	const { time, liveness, changes } = rig();
	expect([liveness.isLive(B), liveness.timeSinceHeard(B)]).toEqual([false, undefined]);
	liveness.heard(B);
	expect([liveness.isLive(B), liveness.isLive(C), changes()]).toEqual([true, false, 1]);
	await time.pass(2_900);
	liveness.heard(B);
	await time.pass(2_900);
	expect([liveness.isLive(B), liveness.timeSinceHeard(B)]).toEqual([true, 2_900]);
	await time.pass(600);
	expect([liveness.isLive(B), liveness.timeSinceHeard(B), changes()]).toEqual([false, 3_500, 2]);
	liveness.heard(B);
	expect([liveness.isLive(B), changes()]).toEqual([true, 3]);
});

test("behind a connection a node is given more time, but not for ever: it may hang", async () => {
	const { time, liveness } = rig();
	liveness.connected(B);
	await time.pass(5_500);
	expect(liveness.isLive(B)).toBe(true);
	await time.pass(1_000);
	expect(liveness.isLive(B)).toBe(false);
});

test("a connection that is lost and found again is a non-event", async () => {
	const { time, liveness, changes } = rig();
	liveness.connected(B);
	liveness.disconnected(B);
	await time.pass(2_000);
	liveness.connected(B);
	await time.pass(5_000);
	expect([liveness.isLive(B), changes()]).toEqual([true, 1]);
	liveness.disconnected(B);
	await time.pass(500);
	expect([liveness.isLive(B), changes()]).toEqual([false, 2]);
	liveness.disconnected(C);
	expect(liveness.isLive(C)).toBe(false);
});

test("a node that takes its leave is not waited for", () => {
	const { liveness, changes } = rig();
	liveness.connected(B);
	liveness.left(B);
	liveness.left(C);
	expect([liveness.isLive(B), changes()]).toEqual([false, 2]);
});

test("a process that was stopped itself does not think all others dead", async () => {
	const { time, liveness, stopProcess } = rig();
	liveness.heard(B);
	stopProcess(60_000);
	await time.pass(1_000);
	expect(liveness.isLive(B)).toBe(true);
	expect(liveness.timeSinceHeard(B)).toBe(61_000);
	await time.pass(2_500);
	expect(liveness.isLive(B)).toBe(false);
});

test("a node that has been dead for very long is forgotten", async () => {
	const { time, liveness, changes } = rig();
	liveness.heard(B);
	await time.pass(3_601_000);
	expect([liveness.timeSinceHeard(B), changes()]).toEqual([undefined, 2]);
	liveness.stop();
	liveness.heard(C);
	await time.pass(10_000);
	expect(liveness.isLive(C)).toBe(true);
});
