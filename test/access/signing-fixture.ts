import { createHash, createHmac, type KeyObject, sign as signBytes } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { httpbis, type SigningKey } from "http-message-signatures";
import type { RequestMessage } from "../../src/access/message-signature.ts";
import { NonceBoard } from "../../src/access/nonce-board.ts";
import { NonceJournal } from "../../src/access/nonce-journal.ts";
import { NonceStore } from "../../src/access/nonce-store.ts";
import { SignatureVerifier } from "../../src/access/signature-verifier.ts";
import type { Clock } from "../../src/base/clock.ts";
import type { NodeId } from "../../src/base/ids.ts";
import { SoloMembership } from "../../src/cluster/membership/solo-membership.ts";
import { NoPeers } from "../../src/cluster/peer/no-peers.ts";

/** Journals in a folder of its own. */
export class JournalFolder {
	readonly path = mkdtempSync(join(tmpdir(), "hive-nonces-"));
	readonly #open: NonceJournal[] = [];
	#count = 0;

	newPath(): string {
		return join(this.path, `nonces-${++this.#count}`);
	}

	open(clock: Clock, path = this.newPath()): NonceJournal {
		const journal = new NonceJournal(path, clock);
		this.#open.push(journal);
		return journal;
	}

	verifier(clock: Clock): SignatureVerifier {
		return new SignatureVerifier(clock, aloneWith(new NonceStore(this.open(clock), clock.nowMs()), clock));
	}

	async clear(): Promise<void> {
		for (const journal of this.#open) journal.close();
		await rm(this.path, { recursive: true, force: true });
	}
}

/** The nonces of a node without peers. */
export const aloneWith = (store: NonceStore, clock: Clock): NonceBoard =>
	new NonceBoard({
		store,
		clock,
		membership: new SoloMembership("node_a" as NodeId),
		calls: new NoPeers(),
		methods: new NoPeers(),
	});

export const hmacKey = (apiKey: string): SigningKey => ({
	alg: "hmac-sha256",
	sign: async (data) => createHmac("sha256", apiKey).update(data).digest(),
});

export const ed25519Key = (privateKey: KeyObject): SigningKey => ({
	alg: "ed25519",
	sign: async (data) => signBytes(null, data, privateKey),
});

export const digestOf = (body: string, algorithm: "sha-256" | "sha-512" = "sha-256"): string =>
	`${algorithm}=:${createHash(algorithm.replace("-", "")).update(body).digest("base64")}:`;

export interface SigningOptions {
	readonly method?: string;
	readonly url?: string;
	readonly body?: string;
	readonly headers?: Readonly<Record<string, string>>;
	readonly fields?: readonly string[];
	readonly label?: string;
	/** Of the signature; null leaves one out. Times in seconds. */
	readonly parameters?: Readonly<Record<string, string | number | null>>;
}

let nonceCount = 0;

/** A request as a client with the library would send it: everything covered that has to be, unless told otherwise. */
export async function signedMessage(
	key: SigningKey,
	createdSeconds: number,
	options: SigningOptions = {},
): Promise<RequestMessage> {
	const { method = "POST", url = "http://node.example/api/v1/collections?x=1", body = "", headers = {} } = options;
	const sent: Record<string, string> = {
		...(body === "" ? {} : { "content-length": String(Buffer.byteLength(body)), "content-digest": digestOf(body) }),
		...headers,
	};
	const fields = options.fields ?? ["@method", "@target-uri", ...(body === "" ? [] : ["content-digest"])];
	const values = { created: createdSeconds, nonce: `nonce-${++nonceCount}`, ...options.parameters };
	const { created, expires, ...texts } = Object.fromEntries(
		Object.entries(values).filter(([, value]) => value !== null),
	) as Record<string, string | number>;
	const signed = await httpbis.signMessage(
		{
			key,
			...(options.label !== undefined && { name: options.label }),
			fields: [...fields],
			params: Object.keys(values).filter((name) => values[name as keyof typeof values] !== null),
			paramValues: {
				created: created === undefined ? null : new Date(Number(created) * 1000),
				...(expires !== undefined && { expires: new Date(Number(expires) * 1000) }),
				...texts,
			},
		},
		{ method, url, headers: sent },
	);
	return { method, url, headers: new Headers(signed.headers as Record<string, string>) };
}
