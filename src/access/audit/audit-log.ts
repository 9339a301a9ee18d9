import type { Clock } from "../../base/clock.ts";
import { HiveError } from "../../base/errors.ts";
import { AuditAppender, type TimedEvent } from "./audit-appender.ts";
import { type OpenAuditFile, openAuditFile } from "./audit-file.ts";
import { FLOOD_BOUNDS, type FloodBounds, FloodGate } from "./audit-flood.ts";
import { listAuditFolder } from "./audit-list.ts";
import type { AuditEvent, AuditPage, AuditQuery, AuditReader, AuditSink, AuditVerification } from "./audit-types.ts";
import { verifyAuditFolder } from "./audit-verifier.ts";

export interface AuditBounds extends FloodBounds {
	/** Events that wait to be written; past that they are counted, and `synced` ones refused past twice that. */
	readonly queueLength: number;
	/** How long a queued entry may be without a sync, and how soon a failed write is tried again. */
	readonly syncDelayMs: number;
	/** Read for one page of `list`: half a second's work. */
	readonly scanBytesMax: number;
}

const AUDIT_BOUNDS: AuditBounds = {
	...FLOOD_BOUNDS,
	queueLength: 4_096,
	syncDelayMs: 1_000,
	scanBytesMax: 64 * 1024 * 1024,
};

/** Lines that are made and written in one go: a millisecond's work between which requests are served. */
const SLICE_LENGTH = 128;

export interface AuditLogParts {
	/** Made when it isn't there. One process at a time writes in it. */
	readonly folder: string;
	readonly clock: Clock;
	readonly retentionDays: number;
	log(message: string, facts: Readonly<Record<string, unknown>>): void;
	readonly bounds?: Partial<AuditBounds>;
	readonly openFile?: OpenAuditFile;
}

interface Waiting extends TimedEvent {
	/** Whom to tell that the entry is on disk. */
	readonly settle?: { resolve(): void; reject(error: unknown): void };
}

const SETTLED = Promise.resolve();

/**
 * The node's audit log: hash-chained lines in daily files (docs/audit.md). One loop writes what has gathered, so that all who wait
 * for the disk at the same time share one sync. Events that strangers can cause pass a flood gate first.
 */
export class AuditLog implements AuditSink, AuditReader {
	readonly #parts: AuditLogParts;
	readonly #bounds: AuditBounds;
	readonly #appender: AuditAppender;
	readonly #gate: FloodGate;
	#queue: Waiting[] = [];
	/** Readers that wait until what is queued now is written. */
	#readers: (() => void)[] = [];
	#isWriting = false;
	#writing: Promise<void> = SETTLED;
	#mustSync = false;
	/** The disk refuses; only a timer, a reader or a `synced` event tries it again. */
	#isFailing = false;
	#syncTimer: Timer | undefined;
	#summaryTimer: Timer | undefined;
	#closing: Promise<void> | undefined;
	#verifying: Promise<AuditVerification> | undefined;

	private constructor(parts: AuditLogParts, bounds: AuditBounds, appender: AuditAppender) {
		this.#parts = parts;
		this.#bounds = bounds;
		this.#appender = appender;
		this.#gate = new FloodGate(bounds, parts.clock.monotonicMs());
	}

	/** Mends what a crash left and goes on with the chain. @throws what the file system says */
	static async open(parts: AuditLogParts): Promise<AuditLog> {
		const { folder, clock, retentionDays, log, openFile = openAuditFile } = parts;
		const appender = await AuditAppender.open({ folder, retentionDays, openFile, log, nowMs: clock.nowMs() });
		return new AuditLog(parts, { ...AUDIT_BOUNDS, ...parts.bounds }, appender);
	}

	/**
	 * Takes a few microseconds; the disk is somebody else's time. An event that the flood gate holds back is counted, whatever
	 * `until` says.
	 *
	 * @throws for `synced`: what the disk said; OVERLOADED while too many wait for it; NODE_DRAINING after `close`
	 */
	record(event: AuditEvent, until: "queued" | "synced"): Promise<void> {
		const { clock } = this.#parts;
		const isSynced = until === "synced";
		if (this.#closing !== undefined) {
			if (isSynced) return Promise.reject(new HiveError("NODE_DRAINING", "the audit log is closed"));
			this.#parts.log("an event came after the audit log was closed", { event: event.event });
			return SETTLED;
		}
		this.#takeSummaries();
		const monotonicMs = clock.monotonicMs();
		const isFull = this.#queue.length >= this.#bounds.queueLength * (isSynced ? 2 : 1);
		if (isFull && isSynced) {
			return Promise.reject(new HiveError("OVERLOADED", "too many entries wait for the audit log's disk"));
		}
		if (isFull) this.#gate.hold(event, monotonicMs);
		if (isFull || !this.#gate.admits(event, monotonicMs)) {
			this.#watchSummaries();
			return SETTLED;
		}
		const timed = { event, timeMs: clock.nowMs() };
		if (!isSynced) {
			this.#queue.push(timed);
			if (!this.#isFailing) void this.#wake();
			return SETTLED;
		}
		return new Promise((resolve, reject) => {
			this.#queue.push({ ...timed, settle: { resolve, reject } });
			void this.#wake();
		});
	}

	/** What was recorded before the call is part of the answer, unless the disk refuses it. @throws VALIDATION_FAILED for a time that is none */
	async list(query: AuditQuery): Promise<AuditPage> {
		await this.#written();
		return await listAuditFolder(this.#parts.folder, query, this.#bounds.scanBytesMax);
	}

	/** Reads every file; calls at the same time share one pass. */
	verify(): Promise<AuditVerification> {
		this.#verifying ??= this.#written()
			.then(() => verifyAuditFolder(this.#parts.folder))
			.finally(() => {
				this.#verifying = undefined;
			});
		return this.#verifying;
	}

	/** Writes and syncs what is queued, counts held back included. What the disk refuses is lost, and logged. */
	close(): Promise<void> {
		this.#closing ??= this.#shut();
		return this.#closing;
	}

	async #shut(): Promise<void> {
		this.#takeSummaries(true);
		await this.#writing;
		this.#mustSync = true;
		await this.#wake();
		clearTimeout(this.#syncTimer);
		clearTimeout(this.#summaryTimer);
		const lost = this.#queue.length;
		if (lost > 0) this.#parts.log("events did not get into the audit log", { count: lost });
		await this.#appender.close();
	}

	#takeSummaries(everything = false): void {
		const monotonicMs = this.#parts.clock.monotonicMs();
		const summaries = this.#gate.takeSummaries(monotonicMs, everything);
		if (summaries.length === 0) return;
		const timeMs = this.#parts.clock.nowMs();
		for (const event of summaries) this.#queue.push({ event, timeMs });
		if (!this.#isFailing) void this.#wake();
	}

	/** A flood may stop for good: its count is written all the same. */
	#watchSummaries(): void {
		if (this.#summaryTimer !== undefined) return;
		const dueInMs = this.#gate.dueInMs(this.#parts.clock.monotonicMs());
		if (dueInMs === undefined) return;
		this.#summaryTimer = setTimeout(() => {
			this.#summaryTimer = undefined;
			this.#takeSummaries();
			this.#watchSummaries();
		}, dueInMs);
		this.#summaryTimer.unref();
	}

	#written(): Promise<void> {
		if (this.#closing !== undefined) return this.#closing;
		if (this.#queue.length === 0 && !this.#isWriting) return SETTLED;
		return new Promise((resolve) => {
			this.#readers.push(resolve);
			void this.#wake();
		});
	}

	#wake(): Promise<void> {
		if (!this.#isWriting) {
			this.#isWriting = true;
			this.#writing = this.#writeAll();
		}
		return this.#writing;
	}

	/** Never rejects. */
	async #writeAll(): Promise<void> {
		// What else happens in this turn of the event loop goes along.
		await SETTLED;
		let isGoingOn = true;
		while (isGoingOn && (this.#queue.length > 0 || this.#readers.length > 0 || this.#mustSync)) {
			const batch = this.#queue;
			const readers = this.#readers;
			this.#queue = [];
			this.#readers = [];
			isGoingOn = await this.#write(batch);
			for (const resolve of readers) resolve();
			// Those who wait for the disk are told what it says to them, each once.
			isGoingOn ||= this.#readers.length > 0 || this.#queue.some(({ settle }) => settle !== undefined);
		}
		this.#isWriting = false;
	}

	/** @returns false when the disk refused; what nobody waits for is queued again then */
	async #write(batch: readonly Waiting[]): Promise<boolean> {
		if (batch.length === 0 && !this.#mustSync) return true;
		let written = 0;
		try {
			while (written < batch.length) {
				written += await this.#appender.append(batch.slice(written, written + SLICE_LENGTH));
			}
			const isAwaited = batch.some(({ settle }) => settle !== undefined);
			if (isAwaited || this.#mustSync) await this.#sync();
			else this.#syncSoon();
		} catch (error) {
			if (!this.#isFailing) this.#parts.log("writing the audit log failed", { err: error });
			this.#isFailing = true;
			// Lines that were written stay, synced or not: what they tell did happen.
			for (const { settle } of batch) settle?.reject(error);
			this.#putBack(batch.slice(written).filter(({ settle }) => settle === undefined));
			this.#syncSoon();
			return false;
		}
		if (this.#isFailing) this.#parts.log("the audit log is written again", {});
		this.#isFailing = false;
		for (const { settle } of batch) settle?.resolve();
		return true;
	}

	async #sync(): Promise<void> {
		this.#mustSync = true;
		await this.#appender.sync();
		this.#mustSync = false;
		clearTimeout(this.#syncTimer);
		this.#syncTimer = undefined;
	}

	#syncSoon(): void {
		if (this.#syncTimer !== undefined) return;
		this.#syncTimer = setTimeout(() => {
			this.#syncTimer = undefined;
			this.#mustSync = true;
			void this.#wake();
		}, this.#bounds.syncDelayMs);
		this.#syncTimer.unref();
	}

	/** In front of what came since, whose latest make room. */
	#putBack(unwritten: readonly Waiting[]): void {
		this.#queue = [...unwritten, ...this.#queue];
		const monotonicMs = this.#parts.clock.monotonicMs();
		while (this.#queue.length > this.#bounds.queueLength && this.#queue.at(-1)?.settle === undefined) {
			this.#gate.hold(this.#queue.pop()!.event, monotonicMs);
		}
		this.#watchSummaries();
	}
}
