import { dlopen, ptr } from "bun:ffi";
import { closeSync, constants, openSync, readSync, writeSync } from "node:fs";
import { Dice } from "../attacks/dice.ts";

/**
 * A network of its own for the nodes under test: one TUN device a host, each in a network namespace, and this process as the wire
 * between them. It sees every IP packet and drops or delays it as the link from its sender to its receiver says, so that the nodes'
 * own TCP meets loss, delay and partitions in one direction or both.
 *
 * Run as a process: `packet-switch.ts <hosts> <seed>`. Host 0 is the namespace it is started in (10.77.0.100); host i is namespace
 * `hv<i>` (10.77.0.<i>). Prints `ready`, then takes one JSON `LinkOrder` a line.
 */
export interface LinkOrder {
	readonly from: number;
	readonly to: number;
	readonly isCut: boolean;
	/** 0..1 */
	readonly loss: number;
	readonly delayMs: number;
}

interface Link {
	isCut: boolean;
	loss: number;
	delayMs: number;
	/** On their way, oldest first. */
	readonly waiting: { readonly dueMs: number; readonly packet: Buffer }[];
}

const TUNSETIFF = 0x400454ca;
const IFF_TUN = 0x0001;
const IFF_NO_PI = 0x1000;
const POLLIN = 1;
/** The control pipe is looked at this often when no packet comes. */
const POLL_MS = 5;
const PACKET_BYTES_MAX = 65_536;
const PACKETS_PER_TURN = 64;
const WAITING_MAX = 20_000;

export const hostAddress = (host: number): string => `10.77.0.${host === 0 ? 100 : host}`;
export const hostNamespace = (host: number): string => `hv${host}`;

const libc = dlopen("libc.so.6", {
	ioctl: { args: ["i32", "u64", "ptr"], returns: "i32" },
	poll: { args: ["ptr", "u64", "i32"], returns: "i32" },
});

function run(...command: string[]): void {
	const done = Bun.spawnSync(command, { stdout: "ignore", stderr: "pipe" });
	if (done.exitCode !== 0) throw new Error(`${command.join(" ")}: ${done.stderr.toString().trim()}`);
}

function openTun(host: number): number {
	const fd = openSync("/dev/net/tun", constants.O_RDWR | constants.O_NONBLOCK);
	const request = Buffer.alloc(40);
	request.write(`hvt${host}`);
	request.writeUInt16LE(IFF_TUN | IFF_NO_PI, 16);
	if (libc.symbols.ioctl(fd, TUNSETIFF, ptr(request)) !== 0) throw new Error("no TUN device could be made");
	const device = `hvt${host}`;
	const inHost = host === 0 ? [] : ["ip", "netns", "exec", hostNamespace(host)];
	if (host !== 0) {
		run("ip", "netns", "add", hostNamespace(host));
		run("ip", "link", "set", device, "netns", hostNamespace(host));
	}
	run(...inHost, "ip", "addr", "add", `${hostAddress(host)}/24`, "dev", device);
	run(...inHost, "ip", "link", "set", device, "mtu", "9000", "up");
	run(...inHost, "ip", "link", "set", "lo", "up");
	return fd;
}

/** The host that an IPv4 packet goes to; undefined for anything else. */
function receiverOf(packet: Buffer, hostCount: number): number | undefined {
	if (packet.length < 20 || packet[0]! >> 4 !== 4) return undefined;
	if (packet[16] !== 10 || packet[17] !== 77 || packet[18] !== 0) return undefined;
	const last = packet[19]!;
	const host = last === 100 ? 0 : last;
	return host < hostCount ? host : undefined;
}

function serve(hostCount: number, seed: number): void {
	const random = new Dice(seed);
	const fds = Array.from({ length: hostCount }, (_, host) => openTun(host));
	const links = Array.from(
		{ length: hostCount * hostCount },
		(): Link => ({ isCut: false, loss: 0, delayMs: 0, waiting: [] }),
	);
	const control = 0;
	const polled = Buffer.alloc((hostCount + 1) * 8);
	for (const [index, fd] of [...fds, control].entries()) {
		polled.writeInt32LE(fd, index * 8);
		polled.writeInt16LE(POLLIN, index * 8 + 4);
	}
	const buffer = Buffer.alloc(PACKET_BYTES_MAX);
	let orders = "";
	console.log("ready");

	const send = (host: number, packet: Buffer): void => {
		try {
			writeSync(fds[host]!, packet);
		} catch {
			// A full queue loses packets, as any network does.
		}
	};
	const take = (host: number): void => {
		for (let count = 0; count < PACKETS_PER_TURN; count++) {
			let length: number;
			try {
				length = readSync(fds[host]!, buffer, 0, PACKET_BYTES_MAX, null);
			} catch {
				return;
			}
			const packet = buffer.subarray(0, length);
			const receiver = receiverOf(packet, hostCount);
			if (receiver === undefined) continue;
			const link = links[host * hostCount + receiver]!;
			if (link.isCut || (link.loss > 0 && random.next() < link.loss)) continue;
			if (link.delayMs === 0 && link.waiting.length === 0) send(receiver, packet);
			else if (link.waiting.length < WAITING_MAX) {
				link.waiting.push({ dueMs: performance.now() + link.delayMs, packet: Buffer.from(packet) });
			}
		}
	};
	for (;;) {
		let timeoutMs = POLL_MS;
		for (const { waiting } of links) {
			if (waiting.length > 0)
				timeoutMs = Math.min(timeoutMs, Math.max(0, Math.ceil(waiting[0]!.dueMs - performance.now())));
		}
		libc.symbols.poll(ptr(polled), hostCount + 1, timeoutMs);
		for (let host = 0; host < hostCount; host++) if ((polled.readInt16LE(host * 8 + 6) & POLLIN) !== 0) take(host);
		const now = performance.now();
		for (const [index, link] of links.entries()) {
			while (link.waiting.length > 0 && link.waiting[0]!.dueMs <= now) {
				send(index % hostCount, link.waiting.shift()!.packet);
			}
		}
		if (polled.readInt16LE(hostCount * 8 + 6) === 0) continue;
		let length = 0;
		try {
			length = readSync(control, buffer, 0, PACKET_BYTES_MAX, null);
		} catch {
			continue;
		}
		// Its owner is gone.
		if (length === 0) break;
		orders += buffer.toString("utf8", 0, length);
		const lines = orders.split("\n");
		orders = lines.pop()!;
		for (const line of lines) {
			const order = JSON.parse(line) as LinkOrder;
			const link = links[order.from * hostCount + order.to]!;
			link.isCut = order.isCut;
			link.loss = order.loss;
			link.delayMs = order.delayMs;
			if (order.isCut) link.waiting.length = 0;
		}
	}
	for (const fd of fds) closeSync(fd);
}

if (import.meta.main) serve(Number(process.argv[2]), Number(process.argv[3]));
