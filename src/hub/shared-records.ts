import type { z } from "zod";
import type { Clock } from "../base/clock.ts";
import { hashKey, type TenantId } from "../base/ids.ts";
import { HUB_LIMITS } from "./hub-limits.ts";
import type { HubChange, KeyRecord, TenantRecord } from "./models.ts";
import type { Question, RecordExchange, SharedRecord } from "./record-exchange.ts";
import type { RecordSeal } from "./record-seal.ts";
import type { RedisLink } from "./redis-link.ts";
import { keyAnswer, tenantAnswer } from "./response-schemas.ts";

export interface SharedRecordsOptions {
	readonly redis: RedisLink;
	readonly seal: RecordSeal;
	readonly clock: Clock;
	/** Seconds after which a record is as good as none, TTL and stale time together. */
	readonly keySeconds: number;
	readonly tenantSeconds: number;
}

interface Write {
	readonly name: string;
	readonly op: "put" | "end" | "drop";
	readonly revision: number;
	readonly cursor: number;
	/** 0: a tombstone. */
	readonly atMs: number;
	readonly ttlMs: number;
	readonly value: string;
}

const DROP = { op: "drop", revision: 0, cursor: 0, atMs: 0, ttlMs: 0, value: "" } as const;

/**
 * A value begins with `revision:cursor:atMs:`. A tombstone has atMs 0 and nothing behind it: `revision` is the least that may
 * follow, `cursor` how far one must have read the feed when one asked for what follows. So nothing goes back, whoever is late.
 */
const WRITE_SCRIPT = `
local function number(text) return tonumber(text) or 0 end
for i, name in ipairs(KEYS) do
	local op, revision, cursor, atMs, ttlMs, value = unpack(ARGV, i * 6 - 5, i * 6)
	revision, cursor, atMs = number(revision), number(cursor), number(atMs)
	local old = redis.pcall('GET', name)
	local oldRevision, oldCursor, oldAtMs
	if type(old) == 'string' then oldRevision, oldCursor, oldAtMs = string.match(old, '^(%d+):(%d+):(%d+):') end
	local known = oldRevision ~= nil
	oldRevision, oldCursor, oldAtMs = number(oldRevision), number(oldCursor), number(oldAtMs)
	local ended = known and oldAtMs == 0
	if op == 'put' then
		local older = known and (oldRevision > revision or (oldRevision == revision and oldAtMs > atMs))
		if not older and not (ended and oldCursor > cursor) then redis.call('SET', name, value, 'PX', ttlMs) end
	elseif op == 'drop' then
		if not ended then redis.call('DEL', name) end
	else
		local covered = known and not ended and ((cursor == 0 and oldRevision >= revision) or (cursor > 0 and oldCursor >= cursor))
		if not covered then
			if ended then revision, cursor = math.max(revision, oldRevision), math.max(cursor, oldCursor) end
			redis.call('SET', name, string.format('%.0f:%.0f:0:', revision, cursor), 'PX', ttlMs)
		end
	end
end
`;

/**
 * Keys' and tenants' records in a Redis or Valkey that several nodes share: hashes and records, never keys. It only ever saves
 * questions to the hub: what is slow, gone, garbled, not sealed by a node of the same hub or too old is absent, and a write that
 * fails is no loss, since every reader counts a record only where it holds all that the reader itself has heard.
 */
export class SharedRecords implements RecordExchange {
	readonly #options: SharedRecordsOptions;
	readonly #waiting: Write[] = [];
	#isWriting = false;
	/** Until then what lies there may be from before the hub went back. */
	#unsureUntilMs = Number.NEGATIVE_INFINITY;

	constructor(options: SharedRecordsOptions) {
		this.#options = options;
	}

	/** Never throws; answers within `sharedTimeoutMs`. undefined: ask the hub. */
	key(keyHash: string): Promise<SharedRecord<KeyRecord> | undefined> {
		return this.#read(this.#keyName(keyHash), keyAnswer);
	}

	async tenant(tenantId: TenantId): Promise<SharedRecord<TenantRecord> | undefined> {
		const found = await this.#read(this.#tenantName(tenantId), tenantAnswer);
		return found?.record.id === tenantId ? found : undefined;
	}

	/** The hub answered with this record. */
	shareKey(keyHash: string, record: KeyRecord, question: Question): void {
		this.#put(this.#keyName(keyHash), record, question, this.#options.keySeconds);
	}

	shareTenant(record: TenantRecord, question: Question): void {
		this.#put(this.#tenantName(record.id), record, question, this.#options.tenantSeconds);
	}

	/** What the feed told: what is older goes, and can't come back. */
	ended(change: HubChange): void {
		const { cursor } = change;
		if (change.kind === "key") {
			this.#end(this.#keyName(change.key_hash), change.record, cursor, this.#options.keySeconds);
		} else if (change.kind === "tenant") {
			this.#end(this.#tenantName(change.tenant_id), change.record, cursor, this.#options.tenantSeconds);
		}
	}

	/** A write made here changed it. */
	keyWritten(keyHash: string, record: KeyRecord): void {
		this.#end(this.#keyName(keyHash), record, 0, this.#options.keySeconds);
	}

	tenantWritten(record: TenantRecord): void {
		this.#end(this.#tenantName(record.id), record, 0, this.#options.tenantSeconds);
	}

	/** It may have changed, and nobody knows how. */
	dropKey(keyHash: string): void {
		this.#write({ name: this.#keyName(keyHash), ...DROP });
	}

	dropTenant(tenantId: TenantId): void {
		this.#write({ name: this.#tenantName(tenantId), ...DROP });
	}

	hubWentBack(): void {
		const { clock, keySeconds, tenantSeconds } = this.#options;
		this.#unsureUntilMs = clock.monotonicMs() + Math.max(keySeconds, tenantSeconds) * 1_000;
	}

	get #isUnsure(): boolean {
		return this.#options.clock.monotonicMs() < this.#unsureUntilMs;
	}

	#keyName(keyHash: string): string {
		return `${this.#options.seal.prefix}:key:${keyHash}`;
	}

	#tenantName(tenantId: string): string {
		return `${this.#options.seal.prefix}:tenant:${hashKey(tenantId)}`;
	}

	async #read<Schema extends z.ZodType>(
		name: string,
		schema: Schema,
	): Promise<SharedRecord<z.output<Schema>> | undefined> {
		const { redis, seal, clock } = this.#options;
		if (this.#isUnsure) return undefined;
		try {
			// A part of it, for there may lie anything of any length.
			const sealed = await redis.send("GETRANGE", [name, "0", String(HUB_LIMITS.sharedEntryBytesMax)]);
			const facts = typeof sealed === "string" ? seal.open(name, sealed) : undefined;
			if (facts === undefined) return undefined;
			const ageMs = clock.nowMs() - facts.atMs;
			// From the future: its age can't be told, and it would last too long.
			if (ageMs < -HUB_LIMITS.sharedClockSkewMs) return undefined;
			const parsed = schema.safeParse(JSON.parse(facts.json));
			if (!parsed.success) return undefined;
			return { record: parsed.data, askedAt: facts.askedAt, ageMs: Math.max(0, ageMs) };
		} catch {
			// The link tells its owner that Redis is away; here it is a record that isn't there.
			return undefined;
		}
	}

	#put(name: string, record: KeyRecord | TenantRecord, { askedAt, atMs }: Question, seconds: number): void {
		const ttlMs = seconds * 1_000 - (this.#options.clock.nowMs() - atMs);
		if (this.#isUnsure || askedAt === undefined || record.revision < 0 || ttlMs < 1) return;
		const { revision } = record;
		const value = this.#options.seal.seal(name, { revision, askedAt, atMs, json: JSON.stringify(record) });
		if (Buffer.byteLength(value) > HUB_LIMITS.sharedEntryBytesMax) return;
		this.#write({ name, op: "put", revision, cursor: askedAt, atMs, ttlMs, value });
	}

	#end(name: string, record: KeyRecord | TenantRecord | null, cursor: number, seconds: number): void {
		const ttlMs = seconds * 1_000 + HUB_LIMITS.sharedTombstoneSpareMs;
		const least = record === null ? { revision: 0, cursor } : { revision: record.revision, cursor: 0 };
		this.#write({ name, op: "end", ...least, atMs: 0, ttlMs, value: "" });
	}

	#write(write: Write): void {
		if (this.#waiting.length >= HUB_LIMITS.sharedWritesWaitingMax) return;
		this.#waiting.push(write);
		if (this.#isWriting) return;
		this.#isWriting = true;
		// Together with what else comes of the same page or answer.
		queueMicrotask(() => void this.#writeWaiting());
	}

	/** In the order they came, a batch at a time, so that reads need not wait for all of them. */
	async #writeWaiting(): Promise<void> {
		while (this.#waiting.length > 0) {
			const batch = this.#waiting.splice(0, HUB_LIMITS.sharedWriteBatchMax);
			const names = batch.map((write) => write.name);
			const args = batch.flatMap(({ op, revision, cursor, atMs, ttlMs, value }) => [
				op,
				...[revision, cursor, atMs, ttlMs].map(String),
				value,
			]);
			try {
				await this.#options.redis.send("EVAL", [WRITE_SCRIPT, String(names.length), ...names, ...args]);
			} catch {
				// No loss (see above), and the link has told.
			}
		}
		this.#isWriting = false;
	}
}
