import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { connect, createServer, type TLSSocket } from "node:tls";
import { parseArgs } from "node:util";
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from "@libp2p/crypto/keys";
import type { Stream } from "@libp2p/interface";
import { noise } from "@libp2p/noise";
import { asCrypto, defaultCrypto } from "@libp2p/noise/crypto";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { tcp } from "@libp2p/tcp";
import { yamux } from "@libp2p/yamux";
import { multiaddr } from "@multiformats/multiaddr";
import { createLibp2p } from "libp2p";
import { systemClock } from "../../src/base/clock.ts";
import { type NodeId, systemRandom } from "../../src/base/ids.ts";
import { systemTimers } from "../../src/base/timers.ts";
import type { KnownPeer } from "../../src/cluster/membership/topology-keeper.ts";
import { FrameStream } from "../../src/cluster/peer/frame-stream.ts";
import { FRAME_KINDS } from "../../src/cluster/peer/frames.ts";
import { openPeerNetwork } from "../../src/cluster/peer/open-peer-network.ts";
import type { PeerNetwork } from "../../src/cluster/peer/peer-network.ts";
import { type Timing, timeConcurrentCalls } from "./measure.ts";
import { ms, printTable, whole } from "./table.ts";

/**
 * What carries calls between nodes, in two processes over loopback: libp2p with the cipher it would take by itself, the network
 * of the cluster (AES-256-GCM), and, for comparison, a bare TLS socket of the runtime with the same framing and nothing else.
 */
const { values } = parseArgs({
	args: Bun.argv.slice(2),
	options: {
		seconds: { type: "string", default: "1" },
		mebibytes: { type: "string", default: "8" },
		json: { type: "string" },
		serve: { type: "string" },
		key: { type: "string" },
		peer: { type: "string" },
	},
});

const SECRET = createHash("sha256").update("a benchmark has no secrets").digest();
const CLIENT = "node_clientclientclie" as NodeId;
const SERVER = "node_serverserverserv" as NodeId;
const PROTOCOL = "/benchmark/1";
const TIMEOUT_MS = 60_000;
const TLS_CIPHER = "TLS_AES_256_GCM_SHA384";

type Transport = "chacha" | "cluster" | "tls";

/** Sends a body, gets an answer of a few bytes. */
type Call = (body: Uint8Array) => Promise<unknown>;

interface Caller {
	readonly call: Call;
	close(): Promise<void>;
}

async function measure(): Promise<void> {
	const chacha = await measured("chacha");
	const cluster = await measured("cluster");
	const tls = await measured("tls");
	const rows: readonly (readonly [name: string, result: Result])[] = [
		["libp2p, ChaCha20 (WASM)", chacha],
		["libp2p, AES-256-GCM", cluster],
		["TLS socket, bare", tls],
	];
	console.log(`\nBetween two processes on this machine: bodies of ${values.mebibytes} MiB, and calls of 100 bytes`);
	printTable(
		[
			"transport",
			"bulk MB/s",
			"of TLS",
			"of ChaCha20",
			"calls/s, 1",
			"p50 ms",
			"calls/s, 64",
			"p50 during bulk",
			"p99 during bulk",
		],
		rows.map(([name, { bulk, one, many, duringBulk }]) => [
			name,
			whole(bulk),
			`${(bulk / tls.bulk).toFixed(2)} x`,
			`${(bulk / chacha.bulk).toFixed(1)} x`,
			whole(one.perSecond),
			ms(one.p50Ms),
			whole(many.perSecond),
			ms(duringBulk.p50Ms),
			ms(duringBulk.p99Ms),
		]),
	);
	if (values.json !== undefined) {
		const machine = { cpu: cpus()[0]?.model, cores: cpus().length };
		writeFileSync(
			values.json,
			`${JSON.stringify({ machine, bun: Bun.version, chacha, cluster, tls }, undefined, "\t")}\n`,
		);
	}
}

interface Result {
	/** Megabytes a second. */
	readonly bulk: number;
	readonly one: Timing;
	readonly many: Timing;
	/** Small calls, one after another, while two bodies at a time are on their way. */
	readonly duringBulk: Timing;
}

async function measured(transport: Transport): Promise<Result> {
	const privateKey = await generateKeyPair("Ed25519");
	const serverKey = await generateKeyPair("Ed25519");
	const key = Buffer.from(privateKeyToProtobuf(serverKey)).toString("base64");
	const peer = peerIdFromPrivateKey(privateKey).toString();
	const server = Bun.spawn([process.execPath, import.meta.path, "--serve", transport, "--key", key, "--peer", peer], {
		stdout: "pipe",
		stderr: "inherit",
	});
	try {
		const address = await firstLine(server.stdout);
		const caller = await callers[transport](address, privateKey, peerIdFromPrivateKey(serverKey).toString());
		const small = new Uint8Array(100);
		const large = randomBytes(Number(values.mebibytes) * 2 ** 20);
		const endAt = (): (() => boolean) => {
			const endMs = performance.now() + 1000 * Number(values.seconds);
			return () => performance.now() > endMs;
		};
		const calls = (concurrency: number, isOver: () => boolean) =>
			timeConcurrentCalls(10_000_000, concurrency, async () => void (await caller.call(small)), isOver);
		const bodies = async (isOver: () => boolean): Promise<number> => {
			const startMs = performance.now();
			const timing = await timeConcurrentCalls(10_000_000, 2, async () => void (await caller.call(large)), isOver);
			return (timing.callCount * large.byteLength) / 1000 / (performance.now() - startMs);
		};
		await calls(8, endAt());
		await bodies(endAt());
		const bulk = await bodies(endAt());
		const [one, many] = [await calls(1, endAt()), await calls(64, endAt())];
		const isOver = endAt();
		const [duringBulk] = await Promise.all([calls(1, isOver), bodies(isOver)]);
		await caller.close();
		return { bulk, one, many, duringBulk };
	} finally {
		server.kill("SIGKILL");
		await server.exited;
	}
}

type PrivateKey = Awaited<ReturnType<typeof generateKeyPair>>;

const callers: Record<Transport, (address: string, key: PrivateKey, peerId: string) => Promise<Caller>> = {
	cluster: async (address, privateKey, peerId) => {
		const network = await clusterNetwork(privateKey, { nodeId: SERVER, peerId, addresses: [address] });
		while (!network.isConnected(SERVER)) await Bun.sleep(10);
		return {
			call: (body) => network.call(SERVER, "size", body, { timeoutMs: TIMEOUT_MS }),
			close: () => network.stop(),
		};
	},
	chacha: async (address, privateKey) => {
		const node = await chachaNode(privateKey, []);
		const connection = await node.dial(multiaddr(address));
		const lanes = [await connection.newStream(PROTOCOL), await connection.newStream(PROTOCOL)].map(framed);
		return { call: overLanes(lanes as [Lane, Lane]), close: async () => node.stop() };
	},
	tls: async (address) => {
		const lanes = [await tlsLane(address), await tlsLane(address)];
		return {
			call: overLanes(lanes as [Lane, Lane]),
			close: async () => {
				for (const lane of lanes) lane.close();
			},
		};
	},
};

async function serve(transport: Transport, key: string, peerId: string): Promise<void> {
	const privateKey = privateKeyFromProtobuf(Buffer.from(key, "base64"));
	if (transport === "cluster") {
		const network = await clusterNetwork(privateKey, { nodeId: CLIENT, peerId, addresses: [] });
		network.handle("size", async (body) => (body as Uint8Array).byteLength);
		console.log(network.addresses[0]);
	} else if (transport === "chacha") {
		const node = await chachaNode(privateKey, ["/ip4/127.0.0.1/tcp/0"]);
		await node.handle(PROTOCOL, (stream) => answering(stream));
		console.log(String(node.getMultiaddrs()[0]));
	} else {
		console.log(await serveTls());
	}
	setInterval(() => undefined, 60_000);
}

async function clusterNetwork(privateKey: PrivateKey, other: KnownPeer): Promise<PeerNetwork> {
	const network = await openPeerNetwork({
		identity: {
			privateKey: privateKey as Parameters<typeof peerIdFromPrivateKey>[0] & PrivateKey,
			peerId: peerIdFromPrivateKey(privateKey).toString(),
		},
		secret: SECRET,
		protocol: "1.0",
		listen: ["/ip4/127.0.0.1/tcp/0"],
		advertise: [],
		mdns: false,
		admission: {
			nodeIdOf: (peerId) => (peerId === other.peerId ? other.nodeId : undefined),
			isRetired: () => false,
			*peers() {
				yield other;
			},
		},
		join: () => Promise.reject(new Error("nobody joins a benchmark")),
		events: { connected: () => undefined, disconnected: () => undefined, heard: () => undefined },
		clock: systemClock,
		timers: systemTimers,
		random: systemRandom,
		log: () => undefined,
		onBytes: () => undefined,
	});
	await network.start();
	return network;
}

const chachaNode = (privateKey: PrivateKey, listen: readonly string[]) =>
	createLibp2p({
		privateKey,
		addresses: { listen: [...listen] },
		transports: [tcp()],
		// The default picks a cipher of the runtime that this one lacks: the one in WASM is what works of libp2p's own.
		connectionEncrypters: [noise({ crypto: { ...defaultCrypto, ...asCrypto } })],
		streamMuxers: [yamux()],
		connectionMonitor: { enabled: false },
	});

interface Lane {
	readonly call: Call;
	close(): void;
}

/** As in the cluster: what is large takes a stream of its own. */
const overLanes =
	([calls, bulk]: readonly [Lane, Lane]): Call =>
	(body) =>
		(body.byteLength < 64 * 1024 ? calls : bulk).call(body);

function framed(stream: Stream): Lane {
	const pending = new Map<number, (answer: Uint8Array) => void>();
	const frames = new FrameStream({
		stream,
		bodyBytesMax: 2 ** 28,
		onFrame: ({ callId, body }) => pending.get(callId)?.(body),
		onEnd: () => undefined,
		onBytes: () => undefined,
	});
	return {
		call: pendingCalls(pending, (callId, body) => void frames.send(FRAME_KINDS.request, callId, body)),
		close: () => frames.abort(),
	};
}

function answering(stream: Stream): void {
	const frames: FrameStream = new FrameStream({
		stream,
		bodyBytesMax: 2 ** 28,
		onFrame: ({ callId }) => void frames.send(FRAME_KINDS.result, callId, new Uint8Array(8)),
		onEnd: () => undefined,
		onBytes: () => undefined,
	});
}

function pendingCalls(
	pending: Map<number, (answer: Uint8Array) => void>,
	send: (callId: number, body: Uint8Array) => void,
): Call {
	let lastCallId = 0;
	return async (body) => {
		const callId = ++lastCallId;
		const { promise, resolve } = Promise.withResolvers<Uint8Array>();
		pending.set(callId, resolve);
		send(callId, body);
		await promise;
		pending.delete(callId);
	};
}

/** A TLS socket as far as a stream of libp2p is needed here. */
function tlsStream(socket: TLSSocket): Stream {
	const events = new EventTarget();
	const stream = Object.assign(events, {
		status: "open",
		writableNeedsDrain: false,
		send: (bytes: Uint8Array): boolean => {
			stream.writableNeedsDrain = !socket.write(bytes);
			return !stream.writableNeedsDrain;
		},
		abort: () => socket.destroy(),
	});
	socket.setNoDelay(true);
	socket.on("data", (chunk: Buffer) => events.dispatchEvent(Object.assign(new Event("message"), { data: chunk })));
	socket.on("drain", () => {
		stream.writableNeedsDrain = false;
		events.dispatchEvent(new Event("drain"));
	});
	socket.on("close", () => events.dispatchEvent(new Event("close")));
	socket.on("error", () => undefined);
	return stream as unknown as Stream;
}

async function serveTls(): Promise<string> {
	const folder = mkdtempSync(join(tmpdir(), "peer-transport-"));
	const [keyPath, certPath] = [join(folder, "key.pem"), join(folder, "cert.pem")];
	const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];
	const made = Bun.spawnSync([
		"openssl",
		"req",
		"-x509",
		...curve,
		"-nodes",
		"-days",
		"1",
		"-subj",
		"/CN=localhost",
		"-keyout",
		keyPath,
		"-out",
		certPath,
	]);
	if (made.exitCode !== 0) throw new Error(`openssl failed: ${made.stderr.toString()}`);
	const [key, cert] = [readFileSync(keyPath), readFileSync(certPath)];
	rmSync(folder, { recursive: true });
	const server = createServer({ key, cert, ciphers: TLS_CIPHER }, (socket) => answering(tlsStream(socket)));
	server.listen(0, "127.0.0.1");
	await once(server, "listening");
	return String((server.address() as { readonly port: number }).port);
}

async function tlsLane(port: string): Promise<Lane> {
	const socket = connect({ port: Number(port), host: "127.0.0.1", rejectUnauthorized: false, ciphers: TLS_CIPHER });
	await once(socket, "secureConnect");
	return framed(tlsStream(socket));
}

async function firstLine(stream: ReadableStream<Uint8Array>): Promise<string> {
	let text = "";
	for await (const chunk of stream) {
		text += new TextDecoder().decode(chunk);
		if (text.includes("\n")) break;
	}
	return text.trim();
}

if (values.serve !== undefined) await serve(values.serve as Transport, values.key!, values.peer!);
else await measure();
