import { afterAll, expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { privateKeyToProtobuf } from "@libp2p/crypto/keys";
import type { NodeId } from "../../../src/base/ids.ts";
import type { KnownPeer } from "../../../src/cluster/membership/topology-keeper.ts";
import { admit, allConnected, failureOf, newIdentity, PeerRig, type RigNode, until } from "./peer-rig.ts";

const rig = new PeerRig();
const processes: Bun.Subprocess[] = [];
const sockets: Socket[] = [];

afterAll(async () => {
	for (const socket of sockets) socket.destroy();
	for (const process of processes) {
		process.kill("SIGCONT");
		process.kill("SIGKILL");
		await process.exited;
	}
	await rig.close();
});

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
	let text = "";
	for await (const chunk of stream) {
		text += new TextDecoder().decode(chunk);
		if (text.includes("\n")) break;
	}
	return text;
}

/** A member in a process of its own, which `one` knows. */
async function started(key: string, nodeId: NodeId, one: RigNode): Promise<Bun.Subprocess> {
	const script = join(import.meta.dir, "member-process.ts");
	const other = [one.identity.peerId, one.nodeId, one.network.addresses[0]!];
	const member = Bun.spawn([process.execPath, script, key, nodeId, ...other], { stdout: "pipe" });
	processes.push(member);
	const known = JSON.parse(await firstLine(member.stdout)) as KnownPeer;
	one.topology.members.set(known.peerId, known);
	one.network.peersChanged();
	return member;
}

test("a node that hangs costs callers their deadline and others nothing, and is found again when it goes on", async () => {
	const [one, other] = (await rig.cluster(2)) as [RigNode, RigNode];
	other.network.handle("echo", async (body) => body);
	const identity = await newIdentity();
	const nodeId = "node_hhhhhhhhhhhhhhhh" as NodeId;
	const key = Buffer.from(privateKeyToProtobuf(identity.privateKey)).toString("base64");
	const hung = await started(key, nodeId, one);
	await until(() => one.network.isConnected(nodeId));
	const ask = (timeoutMs: number) => one.network.call(nodeId, "echo", "there", { timeoutMs });
	expect(await ask(10_000)).toBe("there");

	hung.kill("SIGSTOP");
	const large = Array.from({ length: 4 }, () =>
		failureOf(one.network.call(nodeId, "echo", new Uint8Array(8 * 1024 * 1024), { timeoutMs: 60_000 })),
	);
	expect(await failureOf(ask(100))).toMatchObject({ kind: "timeout" });
	expect(await one.network.call(other.nodeId, "echo", "unharmed", { timeoutMs: 10_000 })).toBe("unharmed");
	// What was promised a minute fails when no stream can be opened, or when the connection is given up.
	for (const failure of await Promise.all(large)) expect(failure).toMatchObject({ kind: "unreachable" });
	await until(() => !one.network.isConnected(nodeId));
	expect(one.network.isConnected(other.nodeId)).toBe(true);
	expect(one.events).not.toContain(`disconnected ${other.nodeId}`);

	hung.kill("SIGCONT");
	await until(() => one.network.isConnected(nodeId));
	expect(await ask(10_000)).toBe("there");
}, 30_000);

test("a node that is back is talked to at once, even if the connection it had seems to be there", async () => {
	const [one, first] = (await rig.cluster(2)) as [RigNode, RigNode];
	const { identity, nodeId } = first;
	await first.network.stop();
	await until(() => !one.network.isConnected(nodeId));
	const key = Buffer.from(privateKeyToProtobuf(identity.privateKey)).toString("base64");
	const gone = await started(key, nodeId, one);
	await until(() => one.network.isConnected(nodeId));
	gone.kill("SIGSTOP");
	const pending = failureOf(one.network.call(nodeId, "echo", 1, { timeoutMs: 60_000 }));
	const back = await rig.node({ identity, nodeId });
	back.network.handle("echo", async () => "I am back");
	admit([one, back]);
	await until(() => back.network.isConnected(one.nodeId));
	expect(await one.network.call(nodeId, "echo", 1, { timeoutMs: 2_000 })).toBe("I am back");
	expect(await pending).toMatchObject({ kind: "unreachable" });
	expect(one.network.isConnected(nodeId)).toBe(true);
	let heardCount = 0;
	back.network.subscribe("topic", () => heardCount++);
	await until(() => {
		one.network.publish("topic", "and this too");
		return heardCount > 0;
	});
}, 30_000);

test("an address at which nobody ever answers is given up, and another one tried", async () => {
	const listener = `const server = require("node:net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 0 }, () => console.log(server.address().port));`;
	const deaf = Bun.spawn([process.execPath, "-e", listener], { stdout: "pipe" });
	processes.push(deaf);
	const port = Number(await firstLine(deaf.stdout));
	deaf.kill("SIGSTOP");
	// Its queue is full of these: the next connection does not even begin.
	for (let index = 0; index < 8; index++) sockets.push(connect(port, "127.0.0.1").on("error", () => undefined));
	const [one, other] = [await rig.node(), await rig.node()];
	other.topology.members.set(one.identity.peerId, { nodeId: one.nodeId, peerId: one.identity.peerId, addresses: [] });
	const addresses = [`/ip4/127.0.0.1/tcp/${port}`, ...other.network.addresses];
	one.topology.members.set(other.identity.peerId, { nodeId: other.nodeId, peerId: other.identity.peerId, addresses });
	one.network.peersChanged();
	await allConnected([one, other]);
	admit([one, other]);
}, 30_000);
