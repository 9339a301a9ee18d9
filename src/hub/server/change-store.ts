import type { Clock } from "../../base/clock.ts";
import { HUB_LIMITS } from "../hub-limits.ts";
import type { ChangePage, HubChange } from "../models.ts";
import type { ChangeBody, HubDatabase } from "./hub-database.ts";

/** Another process on the same database can't wake our readers, so they look for themselves this often. */
const SHARED_POLL_MS = 500;

/** The feed of changes: what an answer of `GET /changes` is made of. */
export class ChangeStore {
	readonly #database: HubDatabase;
	readonly #clock: Clock;
	readonly #waiting = new Set<() => void>();
	readonly #stopListening: () => void;
	#closed = false;

	constructor(database: HubDatabase, clock: Clock) {
		this.#database = database;
		this.#clock = clock;
		this.#stopListening = database.onChange(() => this.#wakeAll());
	}

	get waitingCount(): number {
		return this.#waiting.size;
	}

	/** Where the feed ends now: what a reader without a past starts from. */
	async head(): Promise<ChangePage> {
		const { revision } = await this.#state();
		return { changes: [], cursor: revision, reset: false };
	}

	/**
	 * Changes after `cursor` in their order, at most `changePageMax`. Waits for one up to `waitSeconds`, or until `signal` aborts
	 * or the hub closes; then the page is empty. `reset`: the feed doesn't reach back that far, or never reached that far
	 * (a database brought back from a backup); the page is empty and its cursor is where the feed ends now.
	 */
	async page(cursor: number, waitSeconds: number, signal: AbortSignal): Promise<ChangePage> {
		const endMs = this.#clock.monotonicMs() + waitSeconds * 1_000;
		while (true) {
			// A change between looking and waiting would be slept through, so the ear is out before the eyes look.
			const ear = this.#listen(signal);
			try {
				const page = await this.#read(cursor);
				const remainingMs = endMs - this.#clock.monotonicMs();
				if (page.reset || page.changes.length > 0 || remainingMs <= 0 || signal.aborted || this.#closed) return page;
				await ear.heard(this.#database.shared ? Math.min(remainingMs, SHARED_POLL_MS) : remainingMs);
			} finally {
				ear.end();
			}
		}
	}

	/** Ends every wait. */
	close(): void {
		this.#closed = true;
		this.#stopListening();
		this.#wakeAll();
	}

	async #read(cursor: number): Promise<ChangePage> {
		const rows = await this.#database.read(
			(sql) => sql<{ revision: number | string; body: string }[]>`
				SELECT revision, body FROM changes WHERE revision > ${cursor}
				ORDER BY revision LIMIT ${HUB_LIMITS.changePageMax}`,
		);
		// Asked after the rows were read: what was pruned in between is noticed.
		const { revision, prunedTo } = await this.#state();
		if (cursor < prunedTo || cursor > revision) return { changes: [], cursor: revision, reset: true };
		const changes = rows.map(
			(row) => ({ ...(JSON.parse(row.body) as ChangeBody), cursor: Number(row.revision) }) as HubChange,
		);
		return { changes, cursor: changes.at(-1)?.cursor ?? cursor, reset: false };
	}

	async #state(): Promise<{ revision: number; prunedTo: number }> {
		const rows = await this.#database.read(
			(sql) => sql<{ name: string; value: number | string }[]>`SELECT name, value FROM hub_state`,
		);
		const values = new Map(rows.map((row) => [row.name, Number(row.value)]));
		return { revision: values.get("revision") ?? 0, prunedTo: values.get("changes_pruned_to") ?? 0 };
	}

	#listen(signal: AbortSignal): { heard(timeoutMs: number): Promise<void>; end(): void } {
		const { promise, resolve } = Promise.withResolvers<void>();
		let timer: ReturnType<typeof setTimeout> | undefined;
		this.#waiting.add(resolve);
		const aborted = (): void => resolve();
		signal.addEventListener("abort", aborted);
		return {
			heard: (timeoutMs) => {
				timer = setTimeout(resolve, timeoutMs);
				return promise;
			},
			end: () => {
				clearTimeout(timer);
				this.#waiting.delete(resolve);
				signal.removeEventListener("abort", aborted);
			},
		};
	}

	#wakeAll(): void {
		for (const wake of this.#waiting) wake();
	}
}
