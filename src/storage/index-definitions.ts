import type { Payload, PayloadIndexType } from "../base/schemas.ts";
import { postingKeys } from "./payload-index.ts";

export interface IndexDefinition {
	readonly type: PayloadIndexType;
	/** Every document's postings are there. Until then they are written and not used. */
	readonly isComplete: boolean;
}

/** The payload indexes that a shard keeps, as its database names them. */
export class IndexDefinitions {
	#definitions: ReadonlyMap<string, IndexDefinition>;

	constructor(definitions: Readonly<Record<string, IndexDefinition>>) {
		this.#definitions = new Map(Object.entries(definitions));
	}

	get isEmpty(): boolean {
		return this.#definitions.size === 0;
	}

	get(field: string): IndexDefinition | undefined {
		return this.#definitions.get(field);
	}

	/** What a filter may be planned with. */
	get complete(): Readonly<Record<string, PayloadIndexType>> {
		const complete = [...this.#definitions].filter(([, definition]) => definition.isComplete);
		return Object.fromEntries(complete.map(([field, { type }]) => [field, type]));
	}

	/** All of them but for one field, which is as given, or gone when undefined. */
	with(field: string, definition: IndexDefinition | undefined): Readonly<Record<string, IndexDefinition>> {
		const others = [...this.#definitions].filter(([name]) => name !== field);
		return Object.fromEntries(definition === undefined ? others : [...others, [field, definition]]);
	}

	replace(definitions: Readonly<Record<string, IndexDefinition>>): void {
		this.#definitions = new Map(Object.entries(definitions));
	}

	/** The postings of a document in all of its indexes. */
	postings(payload: Payload | undefined, slot: number): Uint8Array[] {
		if (payload === undefined) return [];
		return [...this.#definitions].flatMap(([field, { type }]) => postingKeys(field, type, payload, slot));
	}
}
