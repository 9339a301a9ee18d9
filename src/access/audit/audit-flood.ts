import { clientNetwork } from "../../base/network.ts";
import type { AuditEvent, AuditEventName } from "./audit-types.ts";

const DAY_MS = 86_400_000;

export interface FloodBounds {
	/** Of one event, within one window. */
	readonly linesPerWindow: number;
	/** Of one event and one client network or tenant, within one window. */
	readonly linesPerSource: number;
	/** Of all events that a stranger or a tenant can cause at will, within a day. */
	readonly linesPerDay: number;
	readonly windowMs: number;
}

/** At 500 bytes a line: 25 MB a day, whoever attacks. */
export const FLOOD_BOUNDS: FloodBounds = {
	linesPerWindow: 600,
	linesPerSource: 60,
	linesPerDay: 50_000,
	windowMs: 60_000,
};

/** What operators and HiveHub do, and what the log says of itself: never held back. */
const TRUSTED: ReadonlySet<AuditEventName> = new Set([
	"admin.action",
	"tenant.impersonated",
	"hub.webhook",
	"audit.recovered",
]);

interface Window {
	readonly startMs: number;
	written: number;
	/** Lines held back, in all and by source. */
	held: number;
	readonly sources: Map<string, { written: number; held: number }>;
}

/**
 * Decides which events get a line of their own. Events that can be caused at will by whoever reaches the node are counted past
 * some number a minute, and the counts become one entry. A source is a client network for failed authentication, else a tenant.
 */
export class FloodGate {
	readonly #bounds: FloodBounds;
	readonly #windows = new Map<AuditEventName, Window>();
	#dayStartMs: number;
	#dayLines = 0;

	/** @param nowMs monotonic milliseconds, here as in all calls: a wall clock that jumps opens nothing */
	constructor(bounds: FloodBounds, nowMs: number) {
		this.#bounds = bounds;
		this.#dayStartMs = nowMs;
	}

	/** Windows that are over end with `takeSummaries`, which comes first. @returns false: the event is counted, for a summary */
	admits(event: AuditEvent, nowMs: number): boolean {
		if (TRUSTED.has(event.event)) return true;
		const { linesPerWindow, linesPerSource, linesPerDay } = this.#bounds;
		if (nowMs - this.#dayStartMs >= DAY_MS) {
			this.#dayStartMs = nowMs;
			this.#dayLines = 0;
		}
		const window = this.#windowOf(event.event, nowMs);
		const source = this.#sourceIn(window, event);
		const sourceLines = source?.written ?? linesPerSource;
		if (window.written >= linesPerWindow || sourceLines >= linesPerSource || this.#dayLines >= linesPerDay) {
			this.hold(event, nowMs);
			return false;
		}
		window.written++;
		this.#dayLines++;
		if (source !== undefined) source.written++;
		return true;
	}

	/** Counts an event that gets no line. */
	hold(event: AuditEvent, nowMs: number): void {
		const window = this.#windowOf(event.event, nowMs);
		window.held++;
		const source = this.#sourceIn(window, event);
		if (source !== undefined) source.held++;
	}

	/** Milliseconds until the first summary is due; undefined: nothing is held back. */
	dueInMs(nowMs: number): number | undefined {
		const held = [...this.#windows.values()].filter((window) => window.held > 0);
		if (held.length === 0) return undefined;
		return Math.max(0, Math.min(...held.map((window) => window.startMs)) + this.#bounds.windowMs - nowMs);
	}

	/** One event for each kind of which some were held back, once its window is over; with `everything` before that too. */
	takeSummaries(nowMs: number, everything = false): AuditEvent[] {
		const summaries: AuditEvent[] = [];
		for (const [name, window] of this.#windows) {
			if (!everything && nowMs - window.startMs < this.#bounds.windowMs) continue;
			this.#windows.delete(name);
			if (window.held > 0) summaries.push(summaryOf(name, window, nowMs));
		}
		return summaries;
	}

	#windowOf(name: AuditEventName, nowMs: number): Window {
		const known = this.#windows.get(name);
		if (known !== undefined) return known;
		const fresh = { startMs: nowMs, written: 0, held: 0, sources: new Map() };
		this.#windows.set(name, fresh);
		return fresh;
	}

	/** undefined for one source too many: its events are counted among all. */
	#sourceIn(window: Window, event: AuditEvent): { written: number; held: number } | undefined {
		const name = sourceOf(event);
		const known = window.sources.get(name);
		if (known !== undefined || window.sources.size >= this.#bounds.linesPerWindow) return known;
		const fresh = { written: 0, held: 0 };
		window.sources.set(name, fresh);
		return fresh;
	}
}

function sourceOf({ event, actor_tenant_id, tenant_id, remote_address = "unknown" }: AuditEvent): string {
	const tenantId = event.startsWith("auth.") ? undefined : (actor_tenant_id ?? tenant_id);
	return tenantId ?? clientNetwork(remote_address);
}

function summaryOf(event: AuditEventName, window: Window, nowMs: number): AuditEvent {
	const [loudest, counts] = [...window.sources].sort(([, a], [, b]) => b.held - a.held)[0] ?? [null, { held: 0 }];
	return {
		event: event === "auth.failed" ? "auth.failures_suppressed" : "audit.events_suppressed",
		outcome: "refused",
		details: {
			event,
			count: window.held,
			seconds: Math.ceil((nowMs - window.startMs) / 1000),
			loudest_source: loudest,
			loudest_count: counts.held,
		},
	};
}
