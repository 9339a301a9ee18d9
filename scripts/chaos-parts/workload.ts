import type { Dice } from "../attacks/dice.ts";
import { ABSENT, DocumentHistory, type DocumentState, stateOf } from "./history.ts";
import type { TestCluster } from "./test-cluster.ts";

export const DIMENSION = 8;
const CALL_MS_MAX = 10_000;
/** Between two steps of a client. */
const PAUSE_MS = 15;

export interface Target {
	readonly tenant: string;
	readonly key: string;
	readonly collection: string;
}

export interface Answer {
	/** 0: none came. */
	readonly status: number;
	readonly body: Record<string, unknown>;
}

/** One client of one collection, the only one to write its ids: so what it reads can be held against what it wrote. */
export class Client {
	readonly #histories = new Map<string, DocumentHistory>();
	readonly violations: string[] = [];
	acknowledgedCount = 0;
	failedCount = 0;
	readCount = 0;
	/** Failed with the code given. */
	readonly failures = new Map<string, number>();
	#writes = 0;

	constructor(
		private readonly cluster: TestCluster,
		readonly target: Target,
		private readonly name: string,
		private readonly nodes: () => readonly number[],
		private readonly random: Dice,
		private readonly idCount: number,
	) {}

	async run(isOver: () => boolean): Promise<void> {
		while (!isOver()) {
			await this.#step();
			await Bun.sleep(PAUSE_MS);
		}
	}

	get histories(): ReadonlyMap<string, DocumentHistory> {
		return this.#histories;
	}

	/** What one node says of every id, against what must be. Consistency `one`: the node's own copy where it has one. */
	async verify(node: number, consistency: "one" | "quorum"): Promise<string[]> {
		const ids = [...this.#histories.keys()];
		const answer = await this.call(node, "POST", "/vectors/get", { ids, consistency });
		if (answer.status !== 200)
			return [`${this.name}: node ${node} answered ${answer.status} ${JSON.stringify(answer.body)}`];
		const seen = new Map((answer.body.vectors as StoredVector[]).map((vector) => [vector.id, vector]));
		const found: string[] = [];
		for (const id of ids) {
			const state = this.#stateOf(seen.get(id), found);
			const history = this.#histories.get(id)!;
			if (!history.allows(state))
				found.push(`${this.name}: ${id} on node ${node} is ${state}, must be ${history.describe()}`);
		}
		return found;
	}

	async call(node: number, method: string, path: string, body?: unknown): Promise<Answer> {
		try {
			const response = await fetch(`${this.cluster.url(node)}/api/v1/collections/${this.target.collection}${path}`, {
				method,
				headers: { authorization: `Bearer ${this.target.key}`, "content-type": "application/json" },
				signal: AbortSignal.timeout(CALL_MS_MAX),
				...(body === undefined ? {} : { body: JSON.stringify(body) }),
			});
			return { status: response.status, body: (await response.json()) as Record<string, unknown> };
		} catch {
			return { status: 0, body: {} };
		}
	}

	async #step(): Promise<void> {
		const nodes = this.nodes();
		if (nodes.length === 0) return;
		const node = this.random.pick(nodes);
		const id = `${this.name}-${this.random.below(this.idCount)}`;
		const dice = this.random.next();
		if (dice < 0.5) await this.#upsert(node, [id, `${this.name}-${this.random.below(this.idCount)}`]);
		else if (dice < 0.62) await this.#patch(node, id);
		else if (dice < 0.76) await this.#delete(node, id);
		else if (dice < 0.9) await this.#read(node, id);
		else await this.#search(node);
	}

	async #upsert(node: number, ids: readonly string[]): Promise<void> {
		const write = ++this.#writes;
		const distinct = [...new Set(ids)];
		const vectors = distinct.map((id) => ({
			id,
			vector: this.#vector(),
			payload: { tenant: this.target.tenant, write, patch: 0 },
		}));
		const answer = await this.call(node, "POST", "/vectors", { vectors });
		for (const id of distinct) this.#settle(id, stateOf(write, 0), answer);
	}

	async #patch(node: number, id: string): Promise<void> {
		const history = this.#history(id);
		const patch = ++this.#writes;
		const before = history.certain;
		const answer = await this.call(node, "PATCH", `/vectors/${id}`, { payload: { patch } });
		if (answer.status === 404) {
			this.#count(answer);
			if (!history.allows(ABSENT))
				this.#violated(`${id} is said not to exist by node ${node}, must be ${history.describe()}`);
			return;
		}
		const patched = (state: DocumentState): DocumentState => stateOf(Number(state.split(":")[0]), patch);
		if (answer.status === 200) {
			this.#count(answer);
			if (before === ABSENT) this.#violated(`${id} was patched by node ${node}, but does not exist`);
			else if (before !== undefined) history.acknowledged(patched(before));
			else for (const state of history.current) if (state !== ABSENT) history.uncertain(patched(state));
			return;
		}
		this.#count(answer);
		for (const state of history.current) if (state !== ABSENT) history.uncertain(patched(state));
	}

	async #delete(node: number, id: string): Promise<void> {
		this.#settle(id, ABSENT, await this.call(node, "POST", "/vectors/delete", { ids: [id] }));
	}

	/** A read from a majority that begins after a write was acknowledged must show it. */
	async #read(node: number, id: string): Promise<void> {
		const history = this.#history(id);
		const answer = await this.call(node, "POST", "/vectors/get", { ids: [id], consistency: "quorum" });
		this.#count(answer);
		if (answer.status !== 200) return;
		this.readCount++;
		const state = this.#stateOf((answer.body.vectors as StoredVector[])[0], this.violations);
		if (!history.allows(state))
			this.#violated(`${id} read from node ${node} is ${state}, must be ${history.describe()}`);
	}

	async #search(node: number): Promise<void> {
		const answer = await this.call(node, "POST", "/search", { vector: this.#vector(), limit: 20 });
		this.#count(answer);
		if (answer.status !== 200) return;
		this.readCount++;
		for (const hit of answer.body.results as StoredVector[]) this.#stateOf(hit, this.violations);
	}

	#settle(id: string, next: DocumentState, answer: Answer): void {
		this.#count(answer);
		const history = this.#history(id);
		if (answer.status >= 200 && answer.status < 300) history.acknowledged(next);
		else if (answer.status === 0 || answer.status >= 500) history.uncertain(next);
		else this.#violated(`a write of ${id} was refused: ${answer.status} ${JSON.stringify(answer.body)}`);
	}

	#stateOf(vector: StoredVector | undefined, violations: string[]): DocumentState {
		if (vector === undefined || vector === null) return ABSENT;
		const { tenant, write, patch } = vector.payload;
		if (tenant !== this.target.tenant) violations.push(`${this.name}: saw a vector of tenant ${tenant}`);
		return stateOf(write, patch);
	}

	#count(answer: Answer): void {
		if (answer.status >= 200 && answer.status < 300) this.acknowledgedCount++;
		else {
			this.failedCount++;
			const name = answer.status === 0 ? "no answer" : `${answer.status} ${String(answer.body.code)}`;
			this.failures.set(name, (this.failures.get(name) ?? 0) + 1);
		}
	}

	#history(id: string): DocumentHistory {
		let history = this.#histories.get(id);
		if (history === undefined) {
			history = new DocumentHistory();
			this.#histories.set(id, history);
		}
		return history;
	}

	#vector(): number[] {
		return Array.from({ length: DIMENSION }, () => this.random.next() * 2 - 1);
	}

	#violated(what: string): void {
		this.violations.push(`${this.name}: ${what}`);
	}
}

interface StoredVector {
	readonly id: string;
	readonly payload: { readonly tenant: string; readonly write: number; readonly patch: number };
}
