import type { Clock } from "../../base/clock.ts";
import type { TenantId } from "../../base/ids.ts";
import { recentMap } from "../../base/recent-map.ts";
import type { Timers } from "../../base/timers.ts";
import type { UsageChange } from "../usage-ledger.ts";
import { noHome } from "./home-calls.ts";

const TENANTS_MAX = 100_000;
/** How old what is told may be where the home answers. */
const AGE_MS_MAX = 1_000;
/** How long a request waits for news of a home that may not answer. */
const WAIT_MS_MAX = 250;

interface StoredAmount {
	readonly storageBytes: number;
	readonly vectorCount: number;
}

interface Known {
	amount: StoredAmount | undefined;
	/** When it was asked for last, whatever came of it. */
	askedAtMs: number;
	asking: Promise<void> | undefined;
	failure: unknown;
}

export interface RecentUsageParts {
	readonly clock: Clock;
	readonly timers: Timers;
	/** Asks the tenant's home. */
	readonly ask: (tenantId: TenantId) => Promise<StoredAmount>;
}

/** What homes told last of what tenants use, with what this node's own writes changed since. */
export class RecentUsage {
	readonly #parts: RecentUsageParts;
	readonly #known = recentMap<TenantId, Known>(TENANTS_MAX);

	constructor(parts: RecentUsageParts) {
		this.#parts = parts;
	}

	/**
	 * Of at most a second ago, if the home answers within a quarter of one; else as known last.
	 *
	 * @throws NO_QUORUM where nothing is known, or what the home threw
	 */
	async read(tenantId: TenantId): Promise<StoredAmount> {
		let known = this.#known.get(tenantId);
		if (known === undefined) {
			known = { amount: undefined, askedAtMs: Number.NEGATIVE_INFINITY, asking: undefined, failure: noHome() };
			this.#known.set(tenantId, known);
		}
		if (this.#parts.clock.monotonicMs() - known.askedAtMs > AGE_MS_MAX) {
			known.asking ??= this.#ask(tenantId, known);
			await this.#soon(known.asking);
		}
		if (known.amount === undefined) throw known.failure;
		return known.amount;
	}

	set(tenantId: TenantId, amount: StoredAmount): void {
		const known = this.#known.peek(tenantId);
		if (known === undefined) return;
		known.amount = amount;
		known.askedAtMs = this.#parts.clock.monotonicMs();
	}

	/** A write of this node changed that much: what it is told next has it in it. */
	add(tenantId: TenantId, changes: readonly UsageChange[]): void {
		const known = this.#known.peek(tenantId);
		if (known?.amount === undefined) return;
		let { storageBytes, vectorCount } = known.amount;
		for (const change of changes) {
			storageBytes += change.bytesDelta;
			vectorCount += change.vectorCountDelta;
		}
		known.amount = { storageBytes, vectorCount };
	}

	forget(tenantId: TenantId): void {
		this.#known.delete(tenantId);
	}

	/** Never rejects. */
	async #ask(tenantId: TenantId, known: Known): Promise<void> {
		try {
			known.amount = await this.#parts.ask(tenantId);
		} catch (error) {
			known.failure = error;
		} finally {
			known.asking = undefined;
			// Also after a failure: it is not tried with every request.
			known.askedAtMs = this.#parts.clock.monotonicMs();
		}
	}

	async #soon(asking: Promise<void>): Promise<void> {
		const { promise: late, resolve } = Promise.withResolvers<void>();
		const callOff = this.#parts.timers.after(WAIT_MS_MAX, resolve);
		await Promise.race([asking, late]);
		callOff();
	}
}
