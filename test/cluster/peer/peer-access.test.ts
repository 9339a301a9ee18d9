import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { connect } from "node:net";
import { HiveError } from "../../../src/base/errors.ts";
import { JOIN_METHOD } from "../../../src/cluster/membership/join.ts";
import { encodeRequest } from "../../../src/cluster/peer/call-outcome.ts";
import { encodePart, FRAME_KINDS, FrameReader } from "../../../src/cluster/peer/frames.ts";
import { decodeBody } from "../../../src/cluster/peer/peer-codec.ts";
import { PEER_LIMITS } from "../../../src/cluster/peer/peer-limits.ts";
import { admit, allConnected, failureOf, knownAs, PeerRig, type RigNode, until } from "./peer-rig.ts";
import { closed, ended, RawPeer } from "./raw-peer.ts";

let rig: PeerRig;
const raw: RawPeer[] = [];
const rawPeer = async (...args: Parameters<typeof RawPeer.open>): Promise<RawPeer> => {
	const peer = await RawPeer.open(...args);
	raw.push(peer);
	return peer;
};
beforeEach(() => {
	rig = new PeerRig();
});
afterEach(async () => {
	await Promise.all(raw.splice(0).map((peer) => peer.close()));
	await rig.close();
});

const addressOf = ({ network }: RigNode): string => network.addresses[0]!;
const echo = (from: RigNode, to: RigNode, body: unknown) =>
	from.network.call(to.nodeId, "echo", body, { timeoutMs: 5_000 });

describe("a node without the secret", () => {
	test("gets no connection, neither asking nor asked", async () => {
		const member = await rig.node();
		const other = new TextEncoder().encode("the secret of another cluster");
		const outsider = await rawPeer(other);
		await failureOf(outsider.dial(addressOf(member)));
		const foreign = await rig.node({ secret: other });
		await failureOf(foreign.network.ask(addressOf(member), JOIN_METHOD, {}));
		await failureOf(member.network.ask(addressOf(foreign), JOIN_METHOD, {}));
		expect([...member.asked, ...foreign.asked]).toEqual([]);
	});

	test("is not let in for being a member once: both are needed", async () => {
		const [member, former] = [await rig.node(), await rig.node({ secret: new Uint8Array(32) })];
		admit([member, former]);
		await failureOf(former.network.ask(addressOf(member), JOIN_METHOD, {}));
		expect(member.events).toEqual([]);
		expect(member.network.isConnected(former.nodeId)).toBe(false);
	});

	test("harms nobody with whatever it sends", async () => {
		const nodes = await rig.cluster(2);
		const [, port] = /tcp\/(\d+)/.exec(addressOf(nodes[1]!))!;
		for (const bytes of [
			new Uint8Array(0),
			crypto.getRandomValues(new Uint8Array(5_000)),
			Buffer.from("GET / HTTP/1.1\r\n\r\n"),
		]) {
			const { promise, resolve } = Promise.withResolvers<void>();
			const socket = connect(Number(port), "127.0.0.1", () => socket.end(bytes));
			socket.on("error", () => undefined);
			socket.on("close", () => resolve());
			socket.resume();
			await promise;
		}
		nodes[1]!.network.handle("echo", async (body) => body);
		expect(await echo(nodes[0]!, nodes[1]!, 1)).toBe(1);
	});
});

describe("a stranger with the secret", () => {
	test("can ask to join, and is answered", async () => {
		const member = await rig.node();
		const stranger = await rig.node();
		expect(await stranger.network.ask(addressOf(member), JOIN_METHOD, { node_id: "x" })).toEqual({ welcome: true });
		expect(member.asked).toEqual([{ body: { node_id: "x" }, peerId: stranger.identity.peerId }]);
		// Asked again over the same connection, or over a new one.
		expect(await stranger.network.ask(addressOf(member), JOIN_METHOD, {})).toEqual({ welcome: true });
		expect(stranger.traffic.get("outsiders sent")).toBeGreaterThan(0);
		expect(member.events).toEqual([]);
	});

	test("can ask whatever version it speaks, so that it can be told that it is the wrong one", async () => {
		const [member, stranger] = [await rig.node({ protocol: "1.0" }), await rig.node({ protocol: "2.0" })];
		expect(await stranger.network.ask(addressOf(member), JOIN_METHOD, {})).toEqual({ welcome: true });
	});

	test("hears why it is refused, and of a defect only that there was one", async () => {
		let failure: Error = new HiveError("CONFLICT", "this name is taken", { field: "node_id" });
		const member = await rig.node({ join: () => Promise.reject(failure) });
		const stranger = await rig.node();
		const asking = () => failureOf(stranger.network.ask(addressOf(member), JOIN_METHOD, {}));
		expect(await asking()).toMatchObject({ code: "CONFLICT", details: { field: "node_id" } });
		failure = new TypeError("with a secret in it");
		expect(await asking()).toMatchObject({ code: "INTERNAL", message: expect.not.stringContaining("secret") });
		expect(member.logged).toContain("a call of another node failed");
		expect(
			String(await failureOf(stranger.network.ask(addressOf(member), "other" as typeof JOIN_METHOD, {}))),
		).toContain("other");
	});

	test("can ask nothing else", async () => {
		const member = await rig.node();
		member.network.handle("echo", async (body) => body);
		const stranger = await rawPeer();
		const connection = await stranger.dial(addressOf(member));
		for (const protocol of ["/hive-vector/calls/1", "/hive-vector/bulk/1", "/meshsub/1.2.0"]) {
			const stream = await connection.newStream(protocol);
			await ended(stream);
		}
		const answers: Promise<unknown>[] = [];
		for (const method of ["echo", "cluster.ping"]) {
			const stream = await connection.newStream("/hive-vector/join");
			const reader = new FrameReader(1_000_000);
			const { promise, resolve } = Promise.withResolvers<unknown>();
			stream.addEventListener("message", ({ data }) => {
				for (const { body } of reader.push(data.subarray())) resolve(decodeBody(body));
			});
			stream.send(encodePart(FRAME_KINDS.request, 1, encodeRequest({ method, timeoutMs: 1_000, body: null }), true));
			answers.push(promise);
		}
		expect(await Promise.all(answers)).toEqual([{ unsupported: "echo" }, { unsupported: "cluster.ping" }]);
		for (const protocol of ["/ipfs/id/1.0.0", "/ipfs/ping/1.0.0"]) await failureOf(connection.newStream(protocol));
		expect(member.asked).toEqual([]);
	});

	test("has a bounded time, may send little, and ask once a stream", async () => {
		const member = await rig.node();
		const stranger = await rawPeer();
		const connection = await stranger.dial(addressOf(member));
		const request = encodePart(
			FRAME_KINDS.request,
			1,
			encodeRequest({ method: JOIN_METHOD, timeoutMs: 1, body: 1 }),
			true,
		);
		const twice = await connection.newStream("/hive-vector/join");
		twice.send(Buffer.concat([request, request]));
		await ended(twice);
		const large = await connection.newStream("/hive-vector/join");
		large.send(encodePart(FRAME_KINDS.request, 1, new Uint8Array(60_000), false));
		large.send(encodePart(FRAME_KINDS.request, 1, new Uint8Array(60_000), false));
		await ended(large);
		const garbage = await connection.newStream("/hive-vector/join");
		garbage.send(new Uint8Array([0xff, 0xff, 0xff, 0xff]));
		await ended(garbage);
		const noCall = await connection.newStream("/hive-vector/join");
		const answered = new Promise((resolve) => noCall.addEventListener("message", resolve));
		noCall.send(encodePart(FRAME_KINDS.request, 1, new Uint8Array([0xc0]), true));
		await answered;
		expect(connection.status).toBe("open");
	});

	test("is not let in beyond a number of strangers, while members are", async () => {
		const member = await rig.node();
		const strangers = await Promise.all(Array.from({ length: PEER_LIMITS.outsidersMax }, () => rawPeer()));
		for (const stranger of strangers) await stranger.dial(addressOf(member));
		const late = await rawPeer();
		const refused = await late.dial(addressOf(member)).then(closed, () => "refused");
		expect([undefined, "refused"]).toContain(refused as undefined);
		const friend = await rig.node();
		admit([member, friend]);
		await allConnected([member, friend]);
	});

	test("that is let in talks to the others without delay", async () => {
		const members = await rig.cluster(2);
		const joiner = await rig.node();
		await joiner.network.ask(addressOf(members[0]!), JOIN_METHOD, {});
		admit([...members, joiner]);
		await allConnected([...members, joiner]);
		joiner.network.handle("echo", async (body) => body);
		expect(await echo(members[0]!, joiner, "welcome")).toBe("welcome");
		// The one connection it had before is a member's now, whichever side heard first.
		await Bun.sleep(0);
		expect(members[0]!.network.isConnected(joiner.nodeId)).toBe(true);
	});
});

describe("one that left the cluster", () => {
	test("gets no connection, and can't even ask to join", async () => {
		const [member, retired] = [await rig.node(), await rig.node()];
		member.topology.retired.add(retired.identity.peerId);
		await failureOf(retired.network.ask(addressOf(member), JOIN_METHOD, {}));
		await failureOf(member.network.ask(addressOf(retired), JOIN_METHOD, {}));
		expect([...member.asked, ...retired.asked]).toEqual([]);
	});

	test("loses its connections when the topology says so, and calls of both sides fail", async () => {
		const [member, leaving] = (await rig.cluster(2)) as [RigNode, RigNode];
		leaving.network.handle("wait", () => new Promise(() => undefined));
		const pending = failureOf(member.network.call(leaving.nodeId, "wait", 1, { timeoutMs: 60_000 }));
		member.topology.members.delete(leaving.identity.peerId);
		member.topology.retired.add(leaving.identity.peerId);
		member.network.peersChanged();
		expect(await pending).toMatchObject({ kind: "unreachable" });
		await until(() => leaving.events.includes(`disconnected ${member.nodeId}`));
		expect(member.events.at(-1)).toBe(`disconnected ${leaving.nodeId}`);
		expect(await failureOf(echo(leaving, member, 1))).toMatchObject({ kind: "unreachable" });
	});
});

describe("a member", () => {
	test("that sends garbage loses the stream, and nobody else is harmed", async () => {
		const [member, friend] = (await rig.cluster(2)) as [RigNode, RigNode];
		member.network.handle("echo", async (body) => body);
		const broken = await rawPeer();
		await broken.host.libp2p.handle("/hive-vector/calls/1", () => undefined);
		member.topology.members.set(broken.identity.peerId, {
			...knownAs(friend),
			peerId: broken.identity.peerId,
			nodeId: "node_bbbbbbbbbbbbbbbb" as RigNode["nodeId"],
		});
		member.network.peersChanged();
		const connection = await broken.dial(addressOf(member));
		const lies = [
			new Uint8Array([1, 0, 0, 0]),
			new Uint8Array([0xff, 0xff, 0xff, 0x7f, 1, 2, 3, 4]),
			crypto.getRandomValues(new Uint8Array(100_000)).fill(0xff, 0, 4),
		];
		for (const bytes of lies) {
			const stream = await connection.newStream("/hive-vector/calls/1");
			stream.send(bytes);
			await ended(stream);
		}
		// Whole messages of no known kind, or that are no calls, are no reason to end anything.
		const stream = await connection.newStream("/hive-vector/calls/1");
		const answered = new Promise((resolve) => stream.addEventListener("message", resolve));
		stream.send(encodePart(99 as typeof FRAME_KINDS.request, 1, new Uint8Array(5), true));
		stream.send(encodePart(FRAME_KINDS.cancel, 77, new Uint8Array(0), true));
		stream.send(encodePart(FRAME_KINDS.request, 2, new Uint8Array([0xc1, 0xc1]), true));
		await answered;
		expect(stream.status).toBe("open");
		expect(await echo(friend, member, "unharmed")).toBe("unharmed");
	});

	test("is found at the address it told of, whatever the topology says", async () => {
		const [one, other] = [await rig.node(), await rig.node()];
		for (const [node, peer] of [
			[one, other],
			[other, one],
		] as const) {
			node.topology.members.set(peer.identity.peerId, {
				...knownAs(peer),
				addresses: ["/ip4/127.0.0.1/tcp/1", "no address"],
			});
			node.network.learnAddresses(peer.identity.peerId, peer.network.addresses);
			node.network.peersChanged();
		}
		await allConnected([one, other]);
	});

	test("that is found nowhere is looked for until it is there, at every address", async () => {
		const one = await rig.node();
		const other = await rig.node();
		const addresses = ["/ip4/127.0.0.1/tcp/1", "no address", addressOf(other)];
		one.topology.members.set(other.identity.peerId, { ...knownAs(other), addresses });
		other.topology.members.set(one.identity.peerId, { ...knownAs(one), addresses: [] });
		one.network.peersChanged();
		other.network.peersChanged();
		await allConnected([one, other]);
		expect(one.logged).toContain("a node could not be reached");
	});

	test("is not believed to be another for answering at its address", async () => {
		const [one, other, third] = [await rig.node(), await rig.node(), await rig.node()];
		one.topology.members.set(other.identity.peerId, { ...knownAs(other), addresses: third.network.addresses });
		one.network.peersChanged();
		await until(() => one.logged.length > 0);
		expect(one.network.isConnected(other.nodeId)).toBe(false);
	});

	test("of an older minor version is talked to, and its version known", async () => {
		const [newer, older] = [await rig.node({ protocol: "1.3" }), await rig.node({ protocol: "1.0" })];
		newer.network.handle("newer.method", async () => 1);
		older.network.handle("echo", async (body) => body);
		admit([newer, older]);
		await allConnected([newer, older]);
		expect(await echo(newer, older, 1)).toBe(1);
		expect(await failureOf(newer.network.call(older.nodeId, "newer.method", 1, { timeoutMs: 5_000 }))).toMatchObject({
			kind: "unsupported",
		});
		await until(
			() => newer.network.protocolOf(older.nodeId) === "1.0" && older.network.protocolOf(newer.nodeId) === "1.3",
		);
	});

	test("of another major version is refused, and both say why", async () => {
		const [one, other] = [await rig.node({ protocol: "1.0" }), await rig.node({ protocol: "2.0" })];
		admit([one, other]);
		const reason = "a node speaks another version of the protocol";
		await until(() => one.logged.includes(reason) || other.logged.includes(reason));
		expect([one.network.isConnected(other.nodeId), other.network.isConnected(one.nodeId)]).toEqual([false, false]);
		expect([...one.events, ...other.events]).toEqual([]);
	});

	test("tells the time by its clock", async () => {
		const offsetMs = 3_600_000;
		const ahead = { nowMs: () => Date.now() + offsetMs, monotonicMs: () => performance.now() };
		const [one, other] = [await rig.node(), await rig.node({ clock: ahead })];
		admit([one, other]);
		await allConnected([one, other]);
		await until(
			() =>
				one.network.clockOffsetMs(other.nodeId) !== undefined && other.network.clockOffsetMs(one.nodeId) !== undefined,
		);
		expect(Math.abs(one.network.clockOffsetMs(other.nodeId)! - offsetMs)).toBeLessThan(10_000);
		expect(Math.abs(other.network.clockOffsetMs(one.nodeId)! + offsetMs)).toBeLessThan(10_000);
		expect(one.network.clockOffsetMs(one.nodeId)).toBeUndefined();
		expect(one.network.protocolOf(one.nodeId)).toBeUndefined();
	});
});

describe("a node that starts", () => {
	test("where another one listens says that the address is in use", async () => {
		const first = await rig.node();
		const second = await rig.unstarted({ listen: first.network.addresses });
		expect(await failureOf(second.network.start())).toMatchObject({
			code: "CONFLICT",
			details: { field: "cluster.listen" },
		});
	});

	test("where it can't listen says so", async () => {
		const node = await rig.unstarted({ listen: ["/ip4/192.0.2.1/tcp/0"] });
		expect(await failureOf(node.network.start())).toMatchObject({ code: "VALIDATION_FAILED" });
	});

	test("tells of the addresses it was told to, or those at which others can reach it", async () => {
		const advertise = ["/dns4/node-1.example/tcp/7946"];
		expect((await rig.node({ advertise })).network.addresses).toEqual(advertise);
		expect((await rig.node()).network.addresses).toEqual([expect.stringMatching(/^\/ip4\/127\.0\.0\.1\/tcp\/\d+$/)]);
		const everywhere = (await rig.node({ listen: ["/ip4/0.0.0.0/tcp/0"] })).network.addresses;
		expect(everywhere.length).toBeGreaterThan(0);
		expect(everywhere.filter((address) => address.includes("0.0.0.0"))).toEqual([]);
		const loopback = everywhere.filter((address) => address.startsWith("/ip4/127."));
		expect(loopback.length === 0 || loopback.length === everywhere.length).toBe(true);
	});
});
