import { readFileSync } from "node:fs";
import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from "@libp2p/crypto/keys";
import type { PrivateKey } from "@libp2p/interface";
import { peerIdFromPrivateKey } from "@libp2p/peer-id";
import { HiveError } from "../../base/errors.ts";
import { writeFileDurably } from "../../storage/durable-file.ts";

/** What a node proves it is itself with: an Ed25519 key that stays with its data folder. */
export interface PeerIdentity {
	readonly privateKey: PrivateKey;
	/** As libp2p writes it, `12D3KooW…`. */
	readonly peerId: string;
}

/**
 * The identity in a file, made and written (mode 0600) when there is none.
 *
 * @throws VALIDATION_FAILED when the file holds something else: another identity would be another node
 */
export async function loadPeerIdentity(path: string): Promise<PeerIdentity> {
	let text: string | undefined;
	try {
		text = readFileSync(path, "utf8");
	} catch (cause) {
		if ((cause as NodeJS.ErrnoException).code !== "ENOENT") throw cause;
	}
	if (text === undefined) {
		const privateKey = await generateKeyPair("Ed25519");
		writeFileDurably(path, `${Buffer.from(privateKeyToProtobuf(privateKey)).toString("base64")}\n`);
		return identityOf(privateKey);
	}
	try {
		const privateKey = privateKeyFromProtobuf(Buffer.from(text.trim(), "base64"));
		if (privateKey.type !== "Ed25519") throw new Error(`a key of type ${privateKey.type}`);
		return identityOf(privateKey);
	} catch (cause) {
		throw new HiveError(
			"VALIDATION_FAILED",
			"node.key in the data folder is damaged: bring it back, or remove it together with node.id and the node's data",
			{ field: "data_dir" },
			{ cause },
		);
	}
}

const identityOf = (privateKey: PrivateKey): PeerIdentity => ({
	privateKey,
	peerId: peerIdFromPrivateKey(privateKey).toString(),
});
