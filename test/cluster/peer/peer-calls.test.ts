import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { HiveError } from "../../../src/base/errors.ts";
import type { NodeId } from "../../../src/base/ids.ts";
import { NoPeers } from "../../../src/cluster/peer/no-peers.ts";
import { PEER_LIMITS } from "../../../src/cluster/peer/peer-limits.ts";
import type { PeerCallContext } from "../../../src/cluster/peer/peer-types.ts";
import { admit, allConnected, failureOf, PeerRig, type RigNode, until } from "./peer-rig.ts";

const rig = new PeerRig();
let asking: RigNode;
let asked: RigNode;
/** Calls of `wait` under way at the asked node, and how to end them. */
const waiting = new Set<{ readonly context: PeerCallContext; readonly end: (result: unknown) => void }>();

beforeAll(async () => {
	[asking, asked] = (await rig.cluster(2)) as [RigNode, RigNode];
	asked.network.handle("echo", async (body, { from }) => ({ body, from }));
	asked.network.handle("size", async (body) => (body as Uint8Array).byteLength);
	asked.network.handle("large", async (body) => new Uint8Array(body as number));
	asked.network.handle("wait", (_body, context) => {
		const { promise, resolve } = Promise.withResolvers<unknown>();
		const call = { context, end: resolve };
		waiting.add(call);
		return promise.finally(() => waiting.delete(call));
	});
	asked.network.handle("refuse", async () => {
		throw new HiveError("NODE_DRAINING", "the node is being emptied", { seconds: 3 });
	});
	asked.network.handle("break", async () => {
		throw new TypeError("a defect with a secret in it");
	});
});
afterEach(() => {
	for (const { end } of waiting) end("over");
});
afterAll(() => rig.close());

const call = (
	method: string,
	body?: unknown,
	options: { timeoutMs?: number; isBulk?: boolean; signal?: AbortSignal } = {},
) => asking.network.call(asked.nodeId, method, body, { timeoutMs: 10_000, ...options });

describe("a call to a member", () => {
	test("arrives with who asked, and its answer comes back", async () => {
		const body = { text: "hello", vectors: new Float32Array([1.5, -2]), nothing: undefined };
		expect(await call("echo", body)).toEqual({ body, from: asking.nodeId });
	});

	test("that the other side refuses is refused here with the same code and details", async () => {
		expect(await failureOf(call("refuse"))).toMatchObject({ code: "NODE_DRAINING", details: { seconds: 3 } });
	});

	test("that hits a defect says so without its text, which the other node logs", async () => {
		const failure = await failureOf(call("break"));
		expect(failure).toMatchObject({ code: "INTERNAL" });
		expect(failure.message).not.toContain("secret");
		expect(asked.logged).toContain("a call of another node failed");
	});

	test("of a method the other side lacks is unsupported, and nothing else suffers", async () => {
		expect(await failureOf(call("newer.method"))).toMatchObject({ name: "PeerFailure", kind: "unsupported" });
		expect(await call("size", new Uint8Array(3))).toBe(3);
	});

	test("holds its deadline when no answer comes, and the other side is told to stop", async () => {
		expect(await failureOf(call("wait", null, { timeoutMs: 50 }))).toMatchObject({ kind: "timeout" });
		const [handled] = [...waiting];
		await until(() => handled?.context.signal.aborted === true);
	});

	test("that is given up by its caller ends at once, and the other side is told to stop", async () => {
		const controller = new AbortController();
		const pending = failureOf(call("wait", null, { signal: controller.signal }));
		await until(() => waiting.size === 1);
		const [handled] = [...waiting];
		controller.abort();
		expect(await pending).toMatchObject({ kind: "timeout" });
		await until(() => handled?.context.signal.aborted === true);
		expect(await failureOf(call("wait", null, { signal: AbortSignal.abort() }))).toMatchObject({ kind: "timeout" });
	});

	test("does not wait for others before it: answers come as they are ready", async () => {
		const slow = call("wait");
		await until(() => waiting.size === 1);
		expect(await call("size", new Uint8Array(1))).toBe(1);
		for (const { end } of waiting) end("slow");
		expect(await slow).toBe("slow");
	});

	test("with a body of 16 MiB arrives intact, and so does an answer of that size", async () => {
		const body = new Uint8Array(16 * 1024 * 1024);
		for (let index = 0; index < body.length; index += 4096) body[index] = index / 4096;
		const answer = (await call("echo", body, { isBulk: true })) as { body: Uint8Array };
		expect(Bun.hash(answer.body)).toBe(Bun.hash(body));
	});

	test("that is small is answered while large ones are on their way, there and back", async () => {
		const large = [1, 2, 3, 4].map(() => call("echo", new Uint8Array(16 * 1024 * 1024)));
		let largeDone = 0;
		for (const one of large) void one.then(() => largeDone++);
		let smallDone = 0;
		while (largeDone < large.length) {
			await call("size", new Uint8Array(10));
			smallDone++;
		}
		await Promise.all(large);
		expect(smallDone).toBeGreaterThan(large.length);
	});

	test("too large to be sent fails here and ends nothing", async () => {
		const failure = await failureOf(call("size", new Uint8Array(PEER_LIMITS.bodyBytesMax + 1)));
		expect(failure).toBeInstanceOf(RangeError);
		expect(await call("size", new Uint8Array(2))).toBe(2);
	});

	test("whose answer is too large is a defect of the other node, and ends nothing", async () => {
		const slow = call("wait");
		await until(() => waiting.size === 1);
		expect(await failureOf(call("large", PEER_LIMITS.bodyBytesMax + 1))).toMatchObject({ code: "INTERNAL" });
		for (const { end } of waiting) end("unharmed");
		expect(await slow).toBe("unharmed");
	});

	test("is refused as busy beyond a bound, and those before it are answered", async () => {
		const calls = Array.from({ length: PEER_LIMITS.callsInFlightMax }, () => call("wait", null, { timeoutMs: 30_000 }));
		expect(await failureOf(call("wait"))).toMatchObject({ kind: "busy" });
		// Only so many run at a time: the others start as those end.
		await until(() => waiting.size === PEER_LIMITS.handlersMax);
		const settled = Promise.all(calls);
		let isDone = false;
		void settled.then(() => {
			isDone = true;
		});
		while (!isDone) {
			expect(waiting.size).toBeLessThanOrEqual(PEER_LIMITS.handlersMax);
			for (const { end } of waiting) end("done");
			await Bun.sleep(1);
		}
		expect((await settled).every((result) => result === "done")).toBe(true);
	});

	test("that waits for its turn and is given up never starts", async () => {
		const running = Array.from({ length: PEER_LIMITS.handlersMax }, () => call("wait", null, { timeoutMs: 30_000 }));
		await until(() => waiting.size === PEER_LIMITS.handlersMax);
		const controller = new AbortController();
		const given = failureOf(call("wait", "given up", { signal: controller.signal }));
		await Bun.sleep(0);
		controller.abort();
		expect(await given).toMatchObject({ kind: "timeout" });
		const first = new Set(waiting);
		for (const { end } of waiting) end("done");
		await Promise.all(running);
		expect(await call("size", new Uint8Array(1))).toBe(1);
		expect([...waiting].filter((one) => !first.has(one) && !one.context.signal.aborted)).toEqual([]);
	});

	test("to a node there is no connection to fails at once", async () => {
		const nobody = "node_aaaaaaaaaaaaaaaa" as NodeId;
		const failure = await failureOf(asking.network.call(nobody, "echo", 1, { timeoutMs: 10_000 }));
		expect(failure).toMatchObject({ kind: "unreachable", nodeId: nobody });
		expect(asking.network.isConnected(nobody)).toBe(false);
	});

	test("can have one handler only", () => {
		expect(() => asked.network.handle("echo", async () => null)).toThrow();
	});

	test("and everything else that goes between nodes is counted", () => {
		expect(asking.traffic.get("bulk sent")).toBeGreaterThan(16 * 1024 * 1024);
		expect(asked.traffic.get("bulk received")).toBeGreaterThan(16 * 1024 * 1024);
		expect(asking.traffic.get("calls received")).toBeGreaterThan(0);
		expect(asking.traffic.get("gossip sent") ?? 0).toBeGreaterThanOrEqual(0);
	});
});

describe("when a node is gone", () => {
	test("calls under way to it fail at once, and it is found again when it is back", async () => {
		const [one, other] = (await rig.cluster(2)) as [RigNode, RigNode];
		other.network.handle("wait", () => new Promise(() => undefined));
		const pending = [1, 2, 3].map(() => failureOf(one.network.call(other.nodeId, "wait", 1, { timeoutMs: 60_000 })));
		const bulk = failureOf(one.network.call(other.nodeId, "wait", 1, { timeoutMs: 60_000, isBulk: true }));
		// An answer to a later call says that the others have arrived.
		expect(await failureOf(one.network.call(other.nodeId, "none", 1, { timeoutMs: 10_000 }))).toMatchObject({
			kind: "unsupported",
		});
		const listen = other.network.addresses;
		await other.network.stop();
		for (const failure of await Promise.all([...pending, bulk])) expect(failure).toMatchObject({ kind: "unreachable" });
		await until(() => !one.network.isConnected(other.nodeId));
		expect(one.events.at(-1)).toBe(`disconnected ${other.nodeId}`);

		const again = await rig.node({ identity: other.identity, nodeId: other.nodeId, listen });
		again.network.handle("echo", async (body) => body);
		admit([one, again]);
		await allConnected([one, again]);
		expect(await one.network.call(again.nodeId, "echo", "back", { timeoutMs: 10_000 })).toBe("back");
	});

	test("calls of a node that stops fail at once, and stopping twice is one stop", async () => {
		const [one, other] = (await rig.cluster(2)) as [RigNode, RigNode];
		other.network.handle("wait", () => new Promise(() => undefined));
		const pending = failureOf(one.network.call(other.nodeId, "wait", 1, { timeoutMs: 60_000 }));
		await Promise.all([one.network.stop(), one.network.stop()]);
		expect(await pending).toMatchObject({ kind: "unreachable" });
		one.network.publish("topic", "nobody hears it");
		one.network.peersChanged();
		expect(one.network.isConnected(other.nodeId)).toBe(false);
	});
});

describe("a node alone", () => {
	test("has nobody to call", async () => {
		const alone = new NoPeers();
		alone.handle();
		alone.publish();
		alone.subscribe();
		expect(alone.isConnected()).toBe(false);
		expect(await failureOf(alone.call(asked.nodeId))).toMatchObject({ kind: "unreachable" });
	});
});
