/** What a document may be: `absent`, or the number of the write that made it with the number of the last patch on it. */
export type DocumentState = string;

export const ABSENT: DocumentState = "absent";
export const stateOf = (write: number, patch: number): DocumentState => `${write}:${patch}`;

/**
 * What is known of one document that a single client writes, one write after the other. A write that was acknowledged is what
 * the document is from then on; one whose outcome is unknown may take effect at any time, or never.
 */
export class DocumentHistory {
	#possible = new Set<DocumentState>([ABSENT]);
	/** Outcomes never learned: each may still come to pass. */
	readonly #unknown = new Set<DocumentState>();
	acknowledgedCount = 0;

	acknowledged(next: DocumentState): void {
		this.#possible = new Set([next]);
		this.acknowledgedCount++;
	}

	uncertain(next: DocumentState): void {
		this.#possible.add(next);
		this.#unknown.add(next);
	}

	/** The one state it must be in; undefined when there are several. */
	get certain(): DocumentState | undefined {
		return this.#possible.size === 1 && this.#unknown.size === 0 ? [...this.#possible][0] : undefined;
	}

	get current(): readonly DocumentState[] {
		return [...this.#possible];
	}

	/** Whether a read that began after the last write may have seen this. */
	allows(seen: DocumentState): boolean {
		return this.#possible.has(seen) || this.#unknown.has(seen);
	}

	describe(): string {
		const late = [...this.#unknown].filter((state) => !this.#possible.has(state));
		return `${[...this.#possible].join(" or ")}${late.length === 0 ? "" : ` (unknown outcomes: ${late.join(", ")})`}`;
	}
}
