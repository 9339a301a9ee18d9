import { compareVersions } from "../../src/storage/hybrid-clock.ts";
import type { Version } from "../../src/storage/shard-types.ts";

export type OperationKind = "upsert" | "delete" | "patch";

/** One client's write of one vector. */
export interface Operation {
	/** Written into what it writes, 1 and up. */
	readonly number: number;
	readonly kind: OperationKind;
	/** `shard id`. */
	readonly subject: string;
	readonly startMs: number;
	/** undefined: nobody was told that it was done, which it may be, or become. */
	acknowledgedMs: number | undefined;
	/** Nothing was written, and its client knows. */
	wasRefused: boolean;
	/** Under which copies have it, as far as it was seen. */
	version: Version | undefined;
}

/** What a copy, or a read, says of a vector: numbers of the operations that wrote it and that patched it; undefined: it is not there. */
export type Observed = { readonly op: number; readonly patch?: number; readonly version?: Version } | undefined;

/** What clients did, and whether what is found fits it. */
export class History {
	readonly operations: Operation[] = [];
	readonly #bySubject = new Map<string, Operation[]>();

	begin(kind: OperationKind, subject: string, startMs: number): Operation {
		const number = this.operations.length + 1;
		const operation: Operation = {
			number,
			kind,
			subject,
			startMs,
			acknowledgedMs: undefined,
			wasRefused: false,
			version: undefined,
		};
		this.operations.push(operation);
		const known = this.#bySubject.get(subject);
		if (known === undefined) this.#bySubject.set(subject, [operation]);
		else known.push(operation);
		return operation;
	}

	get subjects(): Iterable<string> {
		return this.#bySubject.keys();
	}

	/**
	 * @param beforeMs of what was acknowledged by then something at least as new must be found
	 * @returns what is wrong; undefined: it may be so
	 */
	judge(subject: string, observed: Observed, beforeMs = Number.POSITIVE_INFINITY): string | undefined {
		const operations = this.#bySubject.get(subject) ?? [];
		const acknowledged = operations.filter(
			({ acknowledgedMs }) => acknowledgedMs !== undefined && acknowledgedMs < beforeMs,
		);
		if (observed === undefined) {
			const deletions = operations.filter(({ kind }) => kind === "delete");
			if (deletions.some((deletion) => !isOutdated(deletion, acknowledged))) return undefined;
			const lost = acknowledged.find(({ kind }) => kind !== "delete");
			return lost && `${subject} is not there, ${told(lost)} is lost`;
		}
		const whole = operations.find(({ number }) => number === observed.op);
		if (whole === undefined || whole.kind !== "upsert") return `${subject} has what nobody wrote: ${observed.op}`;
		const writes = acknowledged.filter(({ kind }) => kind !== "patch");
		const newer = writes.find((each) => isAfter(each, whole));
		if (newer !== undefined) return `${subject} is back to ${told(whole)}, ${told(newer)} is lost`;
		if (whole.wasRefused) return `${subject} has what was refused: ${told(whole)}`;
		const last = observed.patch === undefined ? whole : operations.find(({ number }) => number === observed.patch)!;
		const patches = acknowledged.filter(({ kind }) => kind === "patch");
		const newerPatch = patches.find((each) => isAfter(each, last) && isAfter(each, whole));
		if (newerPatch !== undefined) return `${subject} has the patch of ${told(last)}, ${told(newerPatch)} is lost`;
		return this.#judgeVersion(subject, observed.version, acknowledged);
	}

	/** Whether something was acknowledged that is newer. */
	hasNewer(subject: string, version: Version): boolean {
		const operations = this.#bySubject.get(subject) ?? [];
		return operations.some(
			(each) => each.acknowledgedMs !== undefined && each.version && compareVersions(each.version, version) > 0,
		);
	}

	/** Whatever wins is no older than what was acknowledged. */
	#judgeVersion(subject: string, version: Version | undefined, acknowledged: readonly Operation[]): string | undefined {
		if (version === undefined) return undefined;
		const newer = acknowledged.find((each) => each.version && compareVersions(each.version, version) > 0);
		return newer && `${subject} is of an older version than ${told(newer)}`;
	}
}

/** Whether something was acknowledged that began when this one was over: it may not be what is found. */
const isOutdated = (operation: Operation, acknowledged: readonly Operation[]): boolean =>
	acknowledged.some((each) => isAfter(each, operation));

/** Whether one began when the other was over. One that nobody acknowledged may still come. */
const isAfter = (later: Operation, earlier: Operation): boolean =>
	earlier.acknowledgedMs !== undefined && later.startMs > earlier.acknowledgedMs;

const told = ({ kind, number, startMs, acknowledgedMs }: Operation): string =>
	`${kind} ${number} (${Math.round(startMs)}..${acknowledgedMs === undefined ? "" : Math.round(acknowledgedMs)} ms)`;
