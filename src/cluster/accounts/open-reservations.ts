import type { Clock } from "../../base/clock.ts";
import type { NodeId, TenantId } from "../../base/ids.ts";
import type { Timers } from "../../base/timers.ts";
import type { Reservation, WriteDemand } from "../tenant-types.ts";

/** A write of another node of which nothing is heard for so long is over, one way or the other. */
const HELD_MS_MAX = 60_000;
const SWEEP_EVERY_MS = 5_000;

/** Room that was granted and not given back yet. */
export interface OpenReservation {
	readonly name: string;
	readonly tenantId: TenantId;
	/** The node that writes. */
	readonly holder: NodeId;
	readonly demand: WriteDemand;
}

interface Held extends OpenReservation {
	readonly reservation: Reservation;
	readonly untilMs: number;
}

export interface OpenReservationsParts {
	readonly self: NodeId;
	readonly clock: Clock;
	readonly timers: Timers;
	/** Its time is over, and what became of the write is not known. */
	readonly onExpired: (reservation: OpenReservation) => void;
}

/** The reservations a home has granted, or taken over. The quotas bound what they hold, and a minute how long. */
export class OpenReservations {
	readonly #parts: OpenReservationsParts;
	readonly #byTenant = new Map<TenantId, Map<string, Held>>();
	#stopSweeping: (() => void) | undefined;

	constructor(parts: OpenReservationsParts) {
		this.#parts = parts;
	}

	/** The room is given back when it is released, or when nothing was heard of it for too long. */
	put(open: OpenReservation, reservation: Reservation): void {
		const { self, clock, timers } = this.#parts;
		let held = this.#byTenant.get(open.tenantId);
		if (held === undefined) {
			held = new Map();
			this.#byTenant.set(open.tenantId, held);
		}
		// This node's own writes end before its eyes.
		const isOwn = open.holder === self;
		const untilMs = isOwn ? Number.POSITIVE_INFINITY : clock.monotonicMs() + HELD_MS_MAX;
		held.set(open.name, { ...open, reservation, untilMs });
		if (!isOwn) this.#stopSweeping ??= timers.after(SWEEP_EVERY_MS, () => this.#sweep());
	}

	has({ tenantId, name }: Pick<OpenReservation, "tenantId" | "name">): boolean {
		return this.#byTenant.get(tenantId)?.has(name) === true;
	}

	/** Idempotent. */
	release(tenantId: TenantId, name: string): void {
		const ofTenant = this.#byTenant.get(tenantId);
		const held = ofTenant?.get(name);
		if (ofTenant === undefined || held === undefined) return;
		ofTenant.delete(name);
		if (ofTenant.size === 0) this.#byTenant.delete(tenantId);
		held.reservation.release();
	}

	of(tenantId: TenantId): readonly OpenReservation[] {
		return [...(this.#byTenant.get(tenantId)?.values() ?? [])];
	}

	close(): void {
		this.#stopSweeping?.();
		this.#stopSweeping = undefined;
	}

	#sweep(): void {
		this.#stopSweeping = undefined;
		const { clock, timers, self, onExpired } = this.#parts;
		const nowMs = clock.monotonicMs();
		let isWaiting = false;
		for (const ofTenant of [...this.#byTenant.values()]) {
			for (const held of [...ofTenant.values()]) {
				if (held.untilMs <= nowMs) {
					onExpired(held);
					this.release(held.tenantId, held.name);
				} else if (held.holder !== self) isWaiting = true;
			}
		}
		if (isWaiting) this.#stopSweeping = timers.after(SWEEP_EVERY_MS, () => this.#sweep());
	}
}
