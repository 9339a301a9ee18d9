import { createHmac, hkdfSync, timingSafeEqual } from "node:crypto";

/** What is sealed with a record. */
export interface SealedFacts {
	readonly revision: number;
	/** How far whoever asked the hub had read its feed of changes. */
	readonly askedAt: number;
	/** Wall clock, milliseconds: when the hub was asked. */
	readonly atMs: number;
	/** JSON of the record. */
	readonly json: string;
}

const SALT = "hive-vector shared cache";
const SEALED_PATTERN = /^(\d{1,16}):(\d{1,16}):([1-9]\d{0,15}):([\w-]{43}):(.*)$/s;

/**
 * Seals records that are kept where others can write, with a key that only nodes with the hub's service key have. The seal holds
 * for one record under one name at one revision, asked for at one time.
 */
export class RecordSeal {
	/** Names of other hubs and other service keys begin otherwise. In braces, so that a cluster keeps them on one server. */
	readonly prefix: string;
	readonly #key: Buffer;

	/** @param hubUrl without a path or a slash at the end: nodes of one hub must write it the same. */
	constructor(serviceKey: string, hubUrl: string) {
		const derive = (purpose: string, byteCount: number): Buffer =>
			Buffer.from(hkdfSync("sha256", serviceKey, SALT, `${purpose} ${hubUrl}`, byteCount));
		this.prefix = `hive-vector:{${derive("names", 16).toString("hex")}}`;
		this.#key = derive("seal", 32);
	}

	/** `revision:askedAt:atMs:seal:json` */
	seal(name: string, facts: SealedFacts): string {
		const head = `${facts.revision}:${facts.askedAt}:${facts.atMs}`;
		return `${head}:${this.#mac(name, head, facts.json)}:${facts.json}`;
	}

	/** undefined: not sealed here, or not under this name. */
	open(name: string, sealed: string): SealedFacts | undefined {
		const [, revision, askedAt, atMs, mac, json] = SEALED_PATTERN.exec(sealed) ?? [];
		if (json === undefined) return undefined;
		const expected = this.#mac(name, `${revision}:${askedAt}:${atMs}`, json);
		if (!timingSafeEqual(Buffer.from(mac!), Buffer.from(expected))) return undefined;
		return { revision: Number(revision), askedAt: Number(askedAt), atMs: Number(atMs), json };
	}

	#mac(name: string, head: string, json: string): string {
		return createHmac("sha256", this.#key).update(`${name}\n${head}\n${json}`).digest("base64url");
	}
}
