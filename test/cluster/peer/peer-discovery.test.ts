import { afterEach, expect, test } from "bun:test";
import { createSocket } from "node:dgram";
import { JOIN_METHOD } from "../../../src/cluster/membership/join.ts";
import { PeerRig, until } from "./peer-rig.ts";

const GROUP = "224.0.0.251";

/** Whether this machine hears itself: not every container does. */
async function hearsMulticast(): Promise<boolean> {
	const socket = createSocket({ type: "udp4", reuseAddr: true });
	const { promise, resolve } = Promise.withResolvers<boolean>();
	const timer = setTimeout(() => resolve(false), 1_000);
	socket.on("error", () => resolve(false));
	socket.on("message", () => resolve(true));
	socket.bind(0, () => {
		try {
			socket.addMembership(GROUP);
			socket.send("anybody?", socket.address().port, GROUP);
		} catch {
			resolve(false);
		}
	});
	const isHeard = await promise;
	clearTimeout(timer);
	socket.close();
	return isHeard;
}

const rig = new PeerRig();
afterEach(() => rig.close());

test.if(await hearsMulticast())(
	"nodes of one cluster find each other on the local network, those of another don't",
	async () => {
		const [one, other] = [await rig.node({ mdns: true }), await rig.node({ mdns: true })];
		const foreign = await rig.node({ mdns: true, secret: new TextEncoder().encode("another cluster's secret") });
		await until(() => one.network.discovered().length > 0 && other.network.discovered().length > 0);
		const [found] = one.network.discovered();
		expect(await one.network.ask(found!, JOIN_METHOD, {})).toEqual({ welcome: true });
		expect(foreign.network.discovered()).toEqual([]);
	},
);

test("a node that doesn't look finds nobody", async () => {
	expect((await rig.node()).network.discovered()).toEqual([]);
});

test("a node is found by name", async () => {
	const [one, other] = [await rig.node(), await rig.node()];
	const port = other.network.addresses[0]!.split("/").at(-1);
	expect(await one.network.ask(`/dns4/localhost/tcp/${port}`, JOIN_METHOD, {})).toEqual({ welcome: true });
});
