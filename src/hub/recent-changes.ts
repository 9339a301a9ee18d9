import type { ApiKeyId, TenantId } from "../base/ids.ts";
import { HUB_LIMITS } from "./hub-limits.ts";
import type { ChangePage, HubChange, KeyRecord, TenantRecord } from "./models.ts";

/** What was heard about one thing. */
interface Word {
	/** The newest that was heard of. */
	readonly record?: KeyRecord | TenantRecord | undefined;
	/** A key's end: its text is random, so none will ever have its hash again. */
	readonly isEnded?: true;
	/** Where a reader of the feed must have been when it asked the hub, for the answer to count; Infinity: until more is heard. */
	readonly askedFrom: number;
	/** How far the feed was read when this was heard. */
	readonly cursor: number;
}

/** What someone else had from the hub, and how far they had read the feed when they asked. */
export interface HeardElsewhere<Record> {
	readonly record: Record;
	readonly askedAt: number;
}

/**
 * What this process has heard of changes, whether it had the records cached or not. An answer that is older than what was
 * heard must not bring back what a change ended, be it from a hub that answers with an old state or from a cache that is shared
 * with other nodes. Bounded: whatever is forgotten makes all shared answers count for nothing that were asked for before it.
 */
export class RecentChanges {
	readonly #words = new Map<string, Word>();
	readonly #wordsMax: number;
	#readTo: number | undefined;
	/** Shared answers count from here on. */
	#sharedFrom = Number.POSITIVE_INFINITY;

	constructor(wordsMax: number = HUB_LIMITS.recentChangesMax) {
		this.#wordsMax = wordsMax;
	}

	/** How far the feed was read; undefined before it was. An answer asked for now holds every change up to it. */
	get readTo(): number | undefined {
		return this.#readTo;
	}

	/**
	 * A page of the feed came.
	 *
	 * @param asked the cursor it was asked with.
	 * @returns whether the feed ended before that: the hub went back to an older state, and nothing heard of it counts.
	 */
	pageRead(asked: number | undefined, page: ChangePage): boolean {
		const hasGoneBack = page.reset && asked !== undefined && page.cursor < asked;
		if (hasGoneBack) this.#words.clear();
		if (this.#readTo === undefined || hasGoneBack) this.#sharedFrom = page.cursor;
		else if (page.reset) this.#sharedFrom = Math.max(this.#sharedFrom, page.cursor);
		this.#readTo = hasGoneBack ? page.cursor : Math.max(this.#readTo ?? 0, page.cursor);
		return hasGoneBack;
	}

	/** A change of the feed: it settles what was unsure. */
	heard(change: HubChange): void {
		const { cursor } = change;
		if (change.kind === "key") {
			if (change.record === null) this.#note(hashName(change.key_hash), { isEnded: true, askedFrom: cursor, cursor });
			else {
				const name = keyName(change.record.api_key_id);
				this.#note(name, { record: this.#newer(name, change.record), askedFrom: cursor, cursor });
				const hash = hashName(change.key_hash);
				if (this.#words.get(hash)?.isEnded !== true) this.#words.delete(hash);
			}
		} else if (change.kind === "tenant") {
			const name = tenantName(change.tenant_id);
			const record = change.record === null ? undefined : this.#newer(name, change.record);
			this.#note(name, { record, askedFrom: cursor, cursor });
			const keys = keysName(change.tenant_id);
			if (change.record === null || this.#words.has(keys)) this.#note(keys, { askedFrom: cursor, cursor });
		}
	}

	/** The answer to a write made here; the feed will tell of it too. */
	keyWritten(record: KeyRecord): void {
		const name = keyName(record.api_key_id);
		this.#noteHere(name, { record: this.#newer(name, record), askedFrom: 0 });
	}

	tenantWritten(record: TenantRecord): void {
		const name = tenantName(record.id);
		this.#noteHere(name, { record: this.#newer(name, record), askedFrom: 0 });
	}

	keyUnsure(apiKeyId: ApiKeyId): void {
		const name = keyName(apiKeyId);
		this.#noteHere(name, { record: this.#words.get(name)?.record, askedFrom: Number.POSITIVE_INFINITY });
	}

	hashUnsure(keyHash: string): void {
		if (this.#words.get(hashName(keyHash))?.isEnded) return;
		this.#noteHere(hashName(keyHash), { askedFrom: Number.POSITIVE_INFINITY });
	}

	tenantUnsure(tenantId: TenantId): void {
		const name = tenantName(tenantId);
		this.#noteHere(name, { record: this.#words.get(name)?.record, askedFrom: Number.POSITIVE_INFINITY });
	}

	/** Deleted here, or said to be: neither it nor its keys are taken from others, who may not know yet. */
	tenantGone(tenantId: TenantId): void {
		this.#noteHere(tenantName(tenantId), { askedFrom: Number.POSITIVE_INFINITY });
		this.#noteHere(keysName(tenantId), { askedFrom: Number.POSITIVE_INFINITY });
	}

	/** @returns the newer of what the hub answered and what was heard; undefined for a key that is no more. */
	newestKey(keyHash: string, found: KeyRecord): KeyRecord | undefined {
		if (this.#words.get(hashName(keyHash))?.isEnded) return undefined;
		return this.#newer(keyName(found.api_key_id), found);
	}

	newestTenant(found: TenantRecord): TenantRecord {
		return this.#newer(tenantName(found.id), found);
	}

	/** Whether a key's record from a shared cache holds everything that was heard here. */
	countsKey(keyHash: string, { record, askedAt }: HeardElsewhere<KeyRecord>): boolean {
		const names = [hashName(keyHash), keyName(record.api_key_id), keysName(record.tenant_id)];
		return (
			askedAt >= this.#sharedFrom &&
			names.every((name) => askedAt >= this.#askedFrom(name)) &&
			this.newestKey(keyHash, record) === record
		);
	}

	countsTenant({ record, askedAt }: HeardElsewhere<TenantRecord>): boolean {
		return (
			askedAt >= this.#sharedFrom &&
			askedAt >= this.#askedFrom(tenantName(record.id)) &&
			this.newestTenant(record) === record
		);
	}

	#askedFrom(name: string): number {
		return this.#words.get(name)?.askedFrom ?? 0;
	}

	#newer<Record extends KeyRecord | TenantRecord>(name: string, record: Record): Record {
		const known = this.#words.get(name)?.record;
		return known !== undefined && known.revision > record.revision ? (known as Record) : record;
	}

	/** Here the change is known before the feed has told where it stands in it. */
	#noteHere(name: string, word: Omit<Word, "cursor">): void {
		// Past everything that was read: what is forgotten must not be told by somebody who had read no further.
		this.#note(name, { ...word, cursor: (this.#readTo ?? 0) + 1 });
	}

	#note(name: string, word: Word): void {
		this.#words.delete(name);
		this.#words.set(name, word);
		if (this.#words.size <= this.#wordsMax) return;
		const [oldest] = this.#words;
		this.#words.delete(oldest![0]);
		this.#sharedFrom = Math.max(this.#sharedFrom, oldest![1].cursor);
	}
}

const keyName = (apiKeyId: string): string => `key:${apiKeyId}`;
const hashName = (keyHash: string): string => `hash:${keyHash}`;
const tenantName = (tenantId: string): string => `tenant:${tenantId}`;
const keysName = (tenantId: string): string => `keys of:${tenantId}`;
