import { HiveError } from "../../base/errors.ts";
import { LIMITS } from "../../base/limits.ts";
import type { CopyState } from "./replica-types.ts";

/** Which shards of one collection are on this node, as its register on disk tells. */
export class CopyRegister {
	readonly #states: ReadonlyMap<number, Exclude<CopyState, "none">>;

	private constructor(states: ReadonlyMap<number, Exclude<CopyState, "none">>) {
		this.#states = states;
	}

	static readonly empty = new CopyRegister(new Map());

	/**
	 * One line of JSON, `{"complete":[0,2],"incoming":[1]}`, with its xxHash64 beneath. An empty text is what versions before copies
	 * left: all shards of the collection are here.
	 *
	 * @throws HiveError INTERNAL when it is damaged: what it vouched for must not be taken for never made
	 */
	static parse(text: string): CopyRegister {
		const states = new Map<number, Exclude<CopyState, "none">>();
		if (text === "") {
			for (let shardIndex = 0; shardIndex < LIMITS.shardCountMax; shardIndex++) states.set(shardIndex, "complete");
			return new CopyRegister(states);
		}
		const [line = "", seal] = text.split("\n");
		if (sealOf(line) !== seal) throw new HiveError("INTERNAL", "a collection's register of its copies is damaged");
		const listed = JSON.parse(line) as { readonly complete: readonly number[]; readonly incoming: readonly number[] };
		for (const shardIndex of listed.complete) states.set(shardIndex, "complete");
		for (const shardIndex of listed.incoming) states.set(shardIndex, "incoming");
		return new CopyRegister(states);
	}

	get text(): string {
		const having = (wanted: CopyState): number[] =>
			[...this.#states].flatMap(([shardIndex, state]) => (state === wanted ? [shardIndex] : [])).sort((a, b) => a - b);
		const line = JSON.stringify({ complete: having("complete"), incoming: having("incoming") });
		return `${line}\n${sealOf(line)}\n`;
	}

	get isEmpty(): boolean {
		return this.#states.size === 0;
	}

	state(shardIndex: number): CopyState {
		return this.#states.get(shardIndex) ?? "none";
	}

	with(changes: ReadonlyMap<number, CopyState>): CopyRegister {
		const states = new Map(this.#states);
		for (const [shardIndex, state] of changes) {
			if (state === "none") states.delete(shardIndex);
			else states.set(shardIndex, state);
		}
		return new CopyRegister(states);
	}
}

const sealOf = (line: string): string => Bun.hash.xxHash64(line).toString(16);
