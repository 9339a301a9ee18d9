import { createHash } from "node:crypto";
import { HiveError } from "../base/errors.ts";
import type { ApiKeyId } from "../base/ids.ts";
import { NONCE_DIGEST_BYTES, type NonceJournal } from "./nonce-journal.ts";

/** About 1,300 signed requests a second, when each may come for 300 seconds; some 60 MB. */
const NONCE_COUNT_MAX = 400_000;
/** Of one key: no key can fill the store for the others. */
const NONCES_PER_KEY_MAX = 100_000;
/** Whatever stands further ahead in the journal was written under a clock that was wrong, or is damage. */
const JOURNAL_AHEAD_MS_MAX = 86_400_000;

/** One use of a nonce. */
export interface NonceUse {
	readonly apiKeyId: ApiKeyId;
	readonly nonce: string;
	/** The last moment at which its signature could be taken, whole seconds. Wall clock, as `nowMs`. */
	readonly validUntilMs: number;
	readonly nowMs: number;
}

interface Remembered {
	readonly digest: string;
	/** undefined: written by an earlier process. */
	readonly apiKeyId: ApiKeyId | undefined;
	readonly slot: number;
}

/**
 * Remembers nonces for as long as their signatures could be taken, so that each is taken once: over restarts through the
 * journal, and over a wall clock that goes back, since nothing is taken that would end before what was forgotten last. When it
 * is full it refuses rather than forget.
 */
export class NonceStore {
	readonly #journal: NonceJournal;
	readonly #nonceCountMax: number;
	readonly #noncesPerKeyMax: number;
	readonly #seen = new Set<string>();
	readonly #countByKey = new Map<ApiKeyId, number>();
	/** By the second in which their time ends. */
	readonly #byLastSecond = new Map<number, Remembered[]>();
	#prunedAtSecond = Number.NEGATIVE_INFINITY;
	#forgottenUntilMs = Number.NEGATIVE_INFINITY;

	/** @param nowMs by the wall clock */
	constructor(
		journal: NonceJournal,
		nowMs: number,
		{ nonceCountMax = NONCE_COUNT_MAX, noncesPerKeyMax = NONCES_PER_KEY_MAX } = {},
	) {
		this.#journal = journal;
		this.#nonceCountMax = nonceCountMax;
		this.#noncesPerKeyMax = noncesPerKeyMax;
		journal.load(({ slot, digest, validUntilMs }) => {
			if (!(validUntilMs >= nowMs && validUntilMs <= nowMs + JOURNAL_AHEAD_MS_MAX)) return false;
			this.#add({ digest: digest.toString("latin1"), apiKeyId: undefined, slot }, validUntilMs);
			return true;
		});
	}

	get nonceCount(): number {
		return this.#seen.size;
	}

	/**
	 * On disk, as far as a crash of the process goes, when it returns.
	 *
	 * @throws AUTH_SIGNATURE_INVALID when the key used the nonce before; OVERLOADED when the store, or the key's share of it,
	 *         is full; INTERNAL when the journal can't be written
	 */
	remember({ apiKeyId, nonce, validUntilMs, nowMs }: NonceUse): void {
		this.#prune(nowMs);
		const digest = digestOf(apiKeyId, nonce);
		const key = digest.toString("latin1");
		if (this.#seen.has(key) || validUntilMs <= this.#forgottenUntilMs) {
			throw new HiveError("AUTH_SIGNATURE_INVALID", "the nonce was used before: sign each request anew", {
				field: "Signature-Input",
			});
		}
		if (this.#seen.size >= this.#nonceCountMax || (this.#countByKey.get(apiKeyId) ?? 0) >= this.#noncesPerKeyMax) {
			throw this.#full(nowMs);
		}
		let slot: number;
		try {
			slot = this.#journal.write(digest, validUntilMs);
		} catch (cause) {
			throw new HiveError("INTERNAL", "the nonce of a signature could not be recorded", undefined, { cause });
		}
		this.#add({ digest: key, apiKeyId, slot }, validUntilMs);
		this.#countByKey.set(apiKeyId, (this.#countByKey.get(apiKeyId) ?? 0) + 1);
	}

	#add(remembered: Remembered, validUntilMs: number): void {
		const lastSecond = Math.ceil(validUntilMs / 1000);
		const others = this.#byLastSecond.get(lastSecond);
		if (others === undefined) this.#byLastSecond.set(lastSecond, [remembered]);
		else others.push(remembered);
		this.#seen.add(remembered.digest);
	}

	/** Cost: once a second, the number of seconds in which something ends, a few hundred. */
	#prune(nowMs: number): void {
		const nowSecond = Math.floor(nowMs / 1000);
		if (nowSecond === this.#prunedAtSecond) return;
		this.#prunedAtSecond = nowSecond;
		for (const [lastSecond, ended] of this.#byLastSecond) {
			if (lastSecond * 1000 >= nowMs) continue;
			this.#byLastSecond.delete(lastSecond);
			this.#forgottenUntilMs = Math.max(this.#forgottenUntilMs, lastSecond * 1000);
			for (const { digest, apiKeyId, slot } of ended) {
				this.#seen.delete(digest);
				this.#journal.free(slot);
				if (apiKeyId !== undefined) this.#uncount(apiKeyId);
			}
		}
	}

	#uncount(apiKeyId: ApiKeyId): void {
		const count = this.#countByKey.get(apiKeyId)! - 1;
		if (count === 0) this.#countByKey.delete(apiKeyId);
		else this.#countByKey.set(apiKeyId, count);
	}

	#full(nowMs: number): HiveError {
		let firstEndMs = Number.POSITIVE_INFINITY;
		for (const lastSecond of this.#byLastSecond.keys()) firstEndMs = Math.min(firstEndMs, lastSecond * 1000);
		return new HiveError("OVERLOADED", "more signed requests than can be kept apart: sign with a shorter `expires`", {
			retry_after_seconds: Math.ceil((firstEndMs - nowMs) / 1000) + 1,
		});
	}
}

function digestOf(apiKeyId: ApiKeyId, nonce: string): Buffer {
	return createHash("sha256").update(`${apiKeyId}\n${nonce}`).digest().subarray(0, NONCE_DIGEST_BYTES);
}
