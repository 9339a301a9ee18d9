import { timingSafeEqual } from "node:crypto";

/** Who may read `/metrics` without an ADMIN key: everyone when it is public, else whoever brings the metrics token. */
export class MetricsDoor {
	readonly #isPublic: boolean;
	readonly #tokenDigest: Uint8Array | undefined;

	constructor(settings: { readonly public: boolean; readonly token?: string | undefined }) {
		this.#isPublic = settings.public;
		this.#tokenDigest = settings.token === undefined ? undefined : digestOf(settings.token);
	}

	/** @param authorization the header as it came: `Bearer <metrics.token>` opens. */
	admits(authorization: string | undefined): boolean {
		if (this.#isPublic) return true;
		const token = /^bearer +(.+)$/i.exec(authorization ?? "")?.[1];
		if (this.#tokenDigest === undefined || token === undefined) return false;
		// Digests are of equal length, so the comparison's time tells nothing about the token.
		return timingSafeEqual(digestOf(token.trimEnd()), this.#tokenDigest);
	}
}

const digestOf = (text: string): Uint8Array => new Bun.CryptoHasher("sha256").update(text).digest();
