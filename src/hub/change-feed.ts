import type { RandomBytes } from "../base/ids.ts";
import { backoffMs, pause } from "./backoff.ts";
import type { HubClient } from "./hub-client-types.ts";
import { HUB_LIMITS } from "./hub-limits.ts";
import type { ChangePage, HubChange } from "./models.ts";

/** Where the feed's position outlives the process. */
export interface CursorStore {
	/** undefined: there is none yet. */
	load(): Promise<number | undefined>;
	/** On disk when it settles. */
	save(cursor: number): Promise<void>;
}

/**
 * Who acts on changes. Each change is given at least once, in order, one at a time; the feed's position is stored once all
 * subscribers are done with it. One that throws is given the same change again, later: calls must be idempotent.
 */
export interface ChangeSubscriber {
	onChange?(change: HubChange): Promise<void> | void;
	onCollectionDeleted?(tenantId: string, collectionId: string, name: string): Promise<void> | void;
	onTenantDeleted?(tenantId: string): Promise<void> | void;
	/** Changes may have been missed, deletions among them: compare what you hold with what the hub lists. */
	onGap?(): Promise<void> | void;
}

export interface ChangeFeedOptions {
	/** The directory's own, so that its health is noticed. */
	readonly hub: Pick<HubClient, "changes">;
	readonly directory: { apply(change: HubChange): void; clear(): void };
	readonly cursors: CursorStore;
	readonly subscribers: readonly ChangeSubscriber[];
	/** Seconds a poll may stay open, 0..60. */
	readonly waitSeconds: number;
	readonly random: RandomBytes;
	/** Told of each failed poll and of each subscriber or cursor store that failed; both are tried again. */
	readonly onFailure: (error: unknown, what: "poll" | "delivery") => void;
}

/** A hub that answers polls at once instead of waiting is asked no more often than this. */
const EMPTY_PAGE_PAUSE_MS = 100;

/**
 * Follows the hub's feed of changes. The directory learns of a change as soon as it arrives; subscribers, who may take their
 * time to delete files, get it from a queue, so that a revocation never waits for them.
 */
export class ChangeFeed {
	readonly #options: ChangeFeedOptions;
	readonly #stopping = new AbortController();
	/** Someone knows of news: the next question to the hub must not wait. */
	#isNudged = false;
	/** Those who wait until all is read that the hub has told by then. */
	#waiting: (() => void)[] = [];
	/** Ends the long poll under way, or the pause after a poll. */
	#interrupt: () => void = () => {};
	/** Read for the directory, not yet delivered. */
	#ahead: ChangePage[] = [];
	/** Pages were dropped from the queue: delivery reads them again from the hub, and nothing is queued until it has caught up. */
	#behind = false;
	#wakeDelivery: () => void = () => {};
	/** What the directory knows. */
	#readTo: number | undefined;
	/** What the subscribers know, and the cursor store. */
	#deliveredTo: number | undefined;
	#running: Promise<void> | undefined;

	constructor(options: ChangeFeedOptions) {
		this.#options = options;
	}

	/** Loads the position and follows in the background from there. @throws what the cursor store throws */
	async start(): Promise<void> {
		const cursor = await this.#options.cursors.load();
		this.#readTo = cursor;
		this.#deliveredTo = cursor;
		this.#running = Promise.all([this.#poll(), this.#deliver()]).then(() => undefined);
	}

	/**
	 * Asks the hub at once: ends the pause after polls that failed, and a poll that may be open on a connection nobody answers
	 * on. However often it is called, the question it leads to is let finish.
	 */
	nudge(): void {
		this.#isNudged = true;
		this.#interrupt();
	}

	/**
	 * Settles when the directory knows what the hub knew at the time of the call; also when the hub does not answer, or the feed
	 * has stopped. Shared by all who ask meanwhile. Never throws.
	 *
	 * @returns the feed's position; undefined: it was never read
	 */
	async catchUp(): Promise<number | undefined> {
		if (this.#running === undefined || this.#stopping.signal.aborted) return this.#readTo;
		const { promise, resolve } = Promise.withResolvers<void>();
		this.#waiting.push(resolve);
		this.nudge();
		await promise;
		return this.#readTo;
	}

	/** Aborts the poll and waits for the subscriber at work. Idempotent. */
	async stop(): Promise<void> {
		this.#stopping.abort();
		this.#interrupt();
		this.#wakeDelivery();
		await this.#running;
		for (const settle of this.#waiting.splice(0)) settle();
	}

	async #poll(): Promise<void> {
		const stopped = this.#stopping.signal;
		let failureCount = 0;
		while (!stopped.aborted) {
			const interruption = new AbortController();
			this.#interrupt = () => interruption.abort();
			// Nothing but a stop cuts this one short: nudge upon nudge would else keep the feed from ever hearing an answer.
			const isShort = this.#isNudged;
			this.#isNudged = false;
			const waiting = isShort ? this.#waiting.splice(0) : [];
			try {
				const page = isShort
					? await this.#ask(this.#readTo, 0, stopped)
					: await this.#ask(this.#readTo, this.#options.waitSeconds, interruption.signal);
				failureCount = 0;
				this.#take(page);
				// A page is not all there is.
				if (page.changes.length > 0 && waiting.length > 0) {
					this.#waiting.push(...waiting.splice(0));
					this.#isNudged = true;
				}
				// Without this a hub that doesn't wait would be asked in a tight loop.
				if (page.changes.length === 0 && !page.reset && !isShort) {
					await pause(EMPTY_PAGE_PAUSE_MS, interruption.signal);
				}
			} catch (error) {
				if (stopped.aborted) return;
				if (interruption.signal.aborted && !isShort) continue;
				failureCount += 1;
				this.#options.onFailure(error, "poll");
				for (const settle of waiting.splice(0)) settle();
				await pause(backoffMs(failureCount, this.#options.random), interruption.signal);
			} finally {
				for (const settle of waiting) settle();
			}
		}
	}

	/** Without a cursor there is nothing to go on from, which is a gap like any other. */
	async #ask(cursor: number | undefined, waitSeconds: number, signal: AbortSignal): Promise<ChangePage> {
		const page = await this.#options.hub.changes(cursor, waitSeconds, signal);
		return cursor === undefined ? { ...page, reset: true } : page;
	}

	#take(page: ChangePage): void {
		const { directory } = this.#options;
		if (page.reset) directory.clear();
		for (const change of page.changes) directory.apply(change);
		const hasNews = page.reset || page.cursor !== this.#readTo;
		this.#readTo = page.cursor;
		if (!hasNews) return;
		if (page.reset) {
			// Whoever compares what it holds with the hub needs no older changes.
			this.#ahead = [page];
			this.#behind = false;
		} else if (!this.#behind) {
			this.#ahead.push(page);
			if (this.#ahead.length > HUB_LIMITS.feedPagesAheadMax) {
				this.#ahead = this.#ahead.slice(0, this.#ahead[0]!.reset ? 1 : 0);
				this.#behind = true;
			}
		}
		this.#wakeDelivery();
	}

	async #deliver(): Promise<void> {
		const { signal } = this.#stopping;
		let failureCount = 0;
		while (!signal.aborted) {
			const queued = this.#ahead[0];
			if (queued === undefined && !this.#behind) {
				await new Promise<void>((resolve) => {
					this.#wakeDelivery = resolve;
				});
				continue;
			}
			try {
				const page = queued ?? (await this.#ask(this.#deliveredTo, 0, signal));
				await this.#deliverPage(page);
				if (this.#ahead[0] === queued) this.#ahead.shift();
				// What the poll skipped while we were behind is delivered: from here the queue goes on.
				if (queued === undefined && page.cursor >= (this.#readTo ?? 0)) this.#behind = false;
				if (this.#behind && page.changes.length === 0) await pause(EMPTY_PAGE_PAUSE_MS, signal);
				failureCount = 0;
			} catch (error) {
				if (signal.aborted) return;
				failureCount += 1;
				this.#options.onFailure(error, "delivery");
				await pause(backoffMs(failureCount, this.#options.random), signal);
			}
		}
	}

	/** @throws the reason of `stop` in the middle of a page; what a subscriber or the cursor store throws. */
	async #deliverPage(page: ChangePage): Promise<void> {
		const { subscribers, cursors } = this.#options;
		if (page.reset) for (const subscriber of subscribers) await subscriber.onGap?.();
		for (const change of page.changes) {
			this.#stopping.signal.throwIfAborted();
			for (const subscriber of subscribers) await tell(subscriber, change);
		}
		if (page.cursor === this.#deliveredTo) return;
		await cursors.save(page.cursor);
		this.#deliveredTo = page.cursor;
	}
}

async function tell(subscriber: ChangeSubscriber, change: HubChange): Promise<void> {
	await subscriber.onChange?.(change);
	if (change.kind === "topology" || change.record !== null) return;
	if (change.kind === "collection") {
		await subscriber.onCollectionDeleted?.(change.tenant_id, change.collection_id, change.name);
	} else if (change.kind === "tenant") await subscriber.onTenantDeleted?.(change.tenant_id);
}
