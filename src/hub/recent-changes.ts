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

/** Changes of the hub's feed after `from`, up to and with `to`: whoever knows them is missing none between. */
export interface KnownChanges {
	readonly from: number;
	readonly to: number;
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
	/** What was heard of before this process started, and is no more in words. */
	#heardBefore: number;
	#readTo: number | undefined;
	/** Each change after `from` and up to here was heard. */
	#heardTo: number | undefined;
	#from = Number.POSITIVE_INFINITY;
	/** Words up to here were forgotten. */
	#forgottenTo = 0;
	/** Other nodes know changes from here on, and no node is known that heard those before. */
	#gap: { readonly to: number; readonly sinceMs: number } | undefined;

	constructor(wordsMax: number = HUB_LIMITS.recentChangesMax, heardBefore = 0) {
		this.#wordsMax = wordsMax;
		this.#heardBefore = heardBefore;
	}

	/** Changes that were all heard, be it in the feed or from other nodes. undefined: none for sure. */
	get known(): KnownChanges | undefined {
		const from = this.#sharedFrom;
		return this.#heardTo === undefined || from > this.#heardTo ? undefined : { from, to: this.#heardTo };
	}

	/** Shared answers count from here on. */
	get #sharedFrom(): number {
		return Math.max(this.#from, this.#forgottenTo);
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
		if (hasGoneBack) this.forget();
		const isGap = page.reset || asked === undefined;
		if (this.#readTo === undefined) this.#from = Math.max(page.cursor, this.#heardBefore);
		else if (isGap) this.#from = Math.max(this.#from, page.cursor);
		this.#readTo = Math.max(this.#readTo ?? 0, page.cursor);
		// The page's changes are heard one after the other.
		this.#heardTo = Math.max(this.#heardTo ?? 0, isGap ? page.cursor : asked);
		return hasGoneBack;
	}

	/** Nothing heard so far counts: the hub went back to an older state. */
	forget(): void {
		this.#words.clear();
		this.#heardBefore = 0;
		this.#readTo = undefined;
		this.#heardTo = undefined;
		this.#from = Number.POSITIVE_INFINITY;
		this.#forgottenTo = 0;
		this.#gap = undefined;
	}

	/** A change of the feed: it settles what was unsure. */
	heard(change: HubChange): void {
		this.#hear(change, (name) => (this.#isUnsure(name) ? 0 : this.#askedFrom(name)));
		const hash = change.kind === "key" ? hashName(change.key_hash) : undefined;
		if (hash !== undefined && this.#words.get(hash)?.isEnded !== true) this.#words.delete(hash);
		this.#heardTo = Math.max(this.#heardTo ?? 0, change.cursor);
	}

	/** Another node tells of a change, in whatever order. What is unsure here may be younger, and stays so. */
	heardFromPeer(change: HubChange): void {
		this.#hear(change, (name) => this.#askedFrom(name));
	}

	/**
	 * Another node knows these changes, and told of every one of them.
	 *
	 * @param nowMs on a monotonic clock.
	 * @returns whether changes were missed for good that nobody told of: what is cached may be older than they are.
	 */
	peerKnows({ from, to }: KnownChanges, nowMs: number): boolean {
		const heardTo = this.#heardTo;
		if (heardTo === undefined) {
			// One that knows less than this node did before it was started again could bring back what was ended since.
			if (from > to || to < this.#heardBefore) return false;
			this.#goOn(to);
			this.#from = from;
			return true;
		}
		if (to <= heardTo) return false;
		if (from <= heardTo) {
			this.#goOn(to);
			return false;
		}
		if (this.#gap === undefined || this.#gap.to <= heardTo) this.#gap = { to: from, sinceMs: nowMs };
		if (nowMs - this.#gap.sinceMs < HUB_LIMITS.gapMsMax) return false;
		this.#goOn(to);
		this.#from = from;
		return true;
	}

	#goOn(to: number): void {
		this.#heardTo = to;
		this.#readTo = Math.max(this.#readTo ?? 0, to);
		this.#gap = undefined;
	}

	/** @param askedFromBefore where a reader must have been for what was heard of the name before */
	#hear(change: HubChange, askedFromBefore: (name: string) => number): void {
		const { cursor } = change;
		const note = (name: string, word: Pick<Word, "record" | "isEnded">): void =>
			this.#note(name, { ...word, askedFrom: Math.max(cursor, askedFromBefore(name)), cursor });
		if (change.kind === "key") {
			if (change.record === null) note(hashName(change.key_hash), { isEnded: true });
			else {
				const name = keyName(change.record.api_key_id);
				note(name, { record: this.#newer(name, change.record) });
			}
		} else if (change.kind === "tenant") {
			const name = tenantName(change.tenant_id);
			const known = this.#words.get(name)?.record;
			const isOfSuccessor = known !== undefined && known.revision > cursor;
			note(name, {
				record: change.record === null ? (isOfSuccessor ? known : undefined) : this.#newer(name, change.record),
			});
			const keys = keysName(change.tenant_id);
			if (change.record === null || this.#words.has(keys)) note(keys, {});
		}
	}

	#isUnsure(name: string): boolean {
		return this.#askedFrom(name) === Number.POSITIVE_INFINITY;
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
		const cursor = Math.max(word.cursor, this.#words.get(name)?.cursor ?? 0);
		this.#words.delete(name);
		this.#words.set(name, { ...word, cursor });
		if (this.#words.size <= this.#wordsMax) return;
		const [oldest] = this.#words;
		this.#words.delete(oldest![0]);
		this.#forgottenTo = Math.max(this.#forgottenTo, oldest![1].cursor);
	}
}

const keyName = (apiKeyId: string): string => `key:${apiKeyId}`;
const hashName = (keyHash: string): string => `hash:${keyHash}`;
const tenantName = (tenantId: string): string => `tenant:${tenantId}`;
const keysName = (tenantId: string): string => `keys of:${tenantId}`;
