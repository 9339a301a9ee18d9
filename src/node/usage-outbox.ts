import { z } from "zod";
import type { TenantTotals } from "../access/usage-meter.ts";
import type { TenantId } from "../base/ids.ts";
import type { UsageReport } from "../hub/models.ts";
import { readSealedLine, writeSealedLine } from "../storage/durable-file.ts";

/** A report on its way, and the totals that the hub will have been told once it arrived. */
export interface UsageBatch {
	readonly report: UsageReport;
	readonly totals: readonly TenantTotals[];
}

interface OutboxState {
	/** Of the last report. */
	readonly sequence: number;
	/** Unix milliseconds: the end of the last report's period. */
	readonly untilMs: number;
	readonly batch: UsageBatch | null;
}

const count = z.int().min(0);
const stateSchema = z.object({
	sequence: z.int().min(1),
	untilMs: z.int(),
	batch: z
		.object({
			report: z.custom<UsageReport>((value) => typeof value === "object" && value !== null),
			totals: z.array(
				z.object({
					tenantId: z.string().transform((text) => text as TenantId),
					createdAtMs: z.int(),
					requests: count,
					searches: count,
					vectorsWritten: count,
				}),
			),
		})
		.nullable(),
});

/** The one report that the hub has not acknowledged, in a file that is whole after any interruption. */
export class UsageOutbox {
	readonly #path: string;
	#state: OutboxState | undefined;

	/**
	 * @param onDamage told when what is there can't be read: a report may then be counted twice or not at all.
	 * @throws what the file system throws
	 */
	constructor(path: string, onDamage: () => void) {
		this.#path = path;
		const read = readSealedLine(path);
		if (read === undefined) return;
		const state = read === "damaged" ? undefined : parseState(read.line);
		if (state === undefined) onDamage();
		this.#state = state;
	}

	get batch(): UsageBatch | undefined {
		return this.#state?.batch ?? undefined;
	}

	/** Of the last report; undefined: there was none, or it was lost. */
	get sequence(): number | undefined {
		return this.#state?.sequence;
	}

	/** Unix milliseconds; undefined as `sequence`. */
	get untilMs(): number | undefined {
		return this.#state?.untilMs;
	}

	/** On disk when it returns. @throws what the file system throws, nothing having changed */
	put(batch: UsageBatch, untilMs: number): void {
		this.#write({ sequence: batch.report.sequence, untilMs, batch });
	}

	/** The batch has arrived. As `put`. */
	clear(): void {
		if (this.#state !== undefined) this.#write({ ...this.#state, batch: null });
	}

	#write(state: OutboxState): void {
		writeSealedLine(this.#path, JSON.stringify(state));
		this.#state = state;
	}
}

function parseState(line: string): OutboxState | undefined {
	try {
		return stateSchema.parse(JSON.parse(line));
	} catch {
		return undefined;
	}
}
