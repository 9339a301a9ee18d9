import { LocalNode } from "../local-node.ts";
import { bodyText, comparable, LeakDetector, renamed, wholeText } from "./answer-view.ts";
import { ApiDocument } from "./api-operations.ts";
import { type Attack, pickOperation, planAttack } from "./attack-plan.ts";
import {
	ATTACKED_NODE_ENV,
	type AttackWorld,
	buildWorld,
	type Inhabitant,
	SCRATCH,
	SCRATCH_IDS,
} from "./attack-world.ts";
import { Dice } from "./dice.ts";
import { asBytes, encodeRequest, type RawAnswer, RawClient, type RawRequest } from "./raw-http.ts";
import { countedRequests, readBack } from "./read-back.ts";

export interface AttackOptions {
	/** Generated calls; each is made twice, once naming what is another's and once what nobody's is. */
	readonly callCount: number;
	readonly seed: number;
	/** At least 3: some to attack each other and one that keeps still. */
	readonly tenantCount: number;
	readonly onProgress?: (callCount: number) => void;
}

export interface Violation {
	readonly rule: "leak" | "difference" | "server error" | "no answer" | "changed" | "undo";
	readonly operation: string;
	/** Of the call: with the run's seed and tenants it is made again. */
	readonly seed: number;
	readonly text: string;
}

export interface AttackReport {
	readonly callCount: number;
	/** Twins and undoing included. */
	readonly requestCount: number;
	readonly violationCount: number;
	/** The first of them. */
	readonly violations: readonly Violation[];
	/** Answers by operation: status and code, and how often. */
	readonly answers: ReadonlyMap<string, ReadonlyMap<string, number>>;
	/** Milliseconds of calls that plainly named what is another's, and of their twins, by operation. */
	readonly timings: ReadonlyMap<string, { readonly foreign: number[]; readonly unused: number[] }>;
}

const VIOLATIONS_KEPT_MAX = 40;
const SHOWN_LENGTH_MAX = 3_000;

/** Lets tenants attack each other on a node of their own, and tells what came of it. */
export async function runAttack(options: AttackOptions): Promise<AttackReport> {
	const node = await LocalNode.start({ env: ATTACKED_NODE_ENV });
	try {
		const world = await buildWorld(node, options.seed, options.tenantCount);
		const document = await ApiDocument.fetch(node.url);
		return await new AttackRun(world, document, options).run();
	} finally {
		await node.stop();
		node.removeData();
	}
}

class AttackRun {
	#callCount = 0;
	#requestCount = 0;
	#violationCount = 0;
	readonly #violations: Violation[] = [];
	readonly #answers = new Map<string, Map<string, number>>();
	readonly #timings = new Map<string, { foreign: number[]; unused: number[] }>();

	constructor(
		private readonly world: AttackWorld,
		private readonly document: ApiDocument,
		private readonly options: AttackOptions,
	) {}

	async run(): Promise<AttackReport> {
		const { world, options } = this;
		const still = world.inhabitants.at(-1)!;
		const attackers = world.inhabitants.slice(0, -1);
		const before = await readBack(world);
		const stillBefore = await countedRequests(world, still.owns.tenantId);
		const seeds = new Dice(options.seed);
		// One after the other within a tenant, so that each call and its twin find the same state.
		await Promise.all(
			attackers.map((attacker, lane) => {
				const share = Math.floor((options.callCount + attackers.length - 1 - lane) / attackers.length);
				return this.#attackAs(attacker, new Dice(seeds.seed()), share);
			}),
		);
		const stillAfter = await countedRequests(world, still.owns.tenantId);
		this.#requireSame(`what ${still.owns.tenantId} was counted for`, stillBefore, stillAfter);
		const after = await readBack(world).catch((error: Error) => error);
		for (const [tenantId, text] of before) {
			const now = after instanceof Error ? after.message : after.get(tenantId);
			this.#requireSame(`all of ${tenantId}`, text, now);
		}
		return {
			callCount: this.#callCount,
			requestCount: this.#requestCount,
			violationCount: this.#violationCount,
			violations: this.#violations,
			answers: this.#answers,
			timings: this.#timings,
		};
	}

	async #attackAs(attacker: Inhabitant, dice: Dice, callCount: number): Promise<void> {
		const { world, document } = this;
		const url = new URL(world.node.url);
		const client = new RawClient(url.hostname, Number(url.port));
		const detector = new LeakDetector(attacker, world.inhabitants);
		try {
			for (let call = 0; call < callCount; call++) {
				const operation = pickOperation(dice, document.operations);
				const attack = planAttack(world, document, attacker, operation, dice.seed());
				await this.#callTwice(client, detector, attacker, attack, dice.chance(0.5));
				this.#callCount++;
				this.options.onProgress?.(this.#callCount);
			}
		} finally {
			client.close();
		}
	}

	async #callTwice(
		client: RawClient,
		detector: LeakDetector,
		attacker: Inhabitant,
		attack: Attack,
		isForeignFirst: boolean,
	): Promise<void> {
		const { owns, shadow } = attack.victim;
		const requests = { foreign: attack.requestFor(owns), unused: attack.requestFor(shadow) };
		const answers: Partial<Record<"foreign" | "unused", RawAnswer>> = {};
		const order = isForeignFirst ? (["foreign", "unused"] as const) : (["unused", "foreign"] as const);
		for (const kind of order) {
			const request = requests[kind];
			const startMs = performance.now();
			const answer = await this.#send(client, request, attack);
			if (answer === undefined) return;
			answers[kind] = answer;
			if (attack.isPlain) this.#timingsOf(attack.operation.name)[kind].push(performance.now() - startMs);
			for (const leak of detector.leaks(request, answer)) {
				this.#violate("leak", attack, `${leak} of another tenant in\n${shown(answer)}\nto\n${told(request)}`);
			}
			if (answer.status >= 500) this.#violate("server error", attack, `${shown(answer)}\nto\n${told(request)}`);
			await this.#undo(client, attacker, attack, request, answer);
		}
		this.#compare(attack, requests.foreign, answers.foreign!, answers.unused!);
	}

	#compare(attack: Attack, request: RawRequest, foreign: RawAnswer, unused: RawAnswer): void {
		this.#count(attack.operation.name, foreign);
		// The limit of calls from one address has no eye for what they name.
		if (attack.operation.scope === "public" && (foreign.status === 429 || unused.status === 429)) return;
		const [seen, wanted] = [comparable(foreign), comparable(unused)];
		if (seen === wanted) return;
		const { owns, shadow } = attack.victim;
		if (renamed(seen, owns, shadow) === wanted) return;
		this.#violate(
			"difference",
			attack,
			`${told(request)}\nanswers\n${shown(foreign)}\nbut an unused name\n${shown(unused)}`,
		);
	}

	/** What an attacker wrote into its own tenant goes again, so that the twin finds what the call found. */
	async #undo(
		client: RawClient,
		attacker: Inhabitant,
		attack: Attack,
		request: RawRequest,
		answer: RawAnswer,
	): Promise<void> {
		const { name, method } = attack.operation;
		if (answer.status >= 300 || request.method !== method || method === "GET") return;
		if (name === "collections.create") {
			const made = (JSON.parse(bodyText(answer)) as { name: string }).name;
			await this.#undoBy(client, attacker, attack, "DELETE", `/collections/${encodeURIComponent(made)}`);
		} else if (name === "payload_indexes.create") {
			const { payload_indexes: indexes } = JSON.parse(bodyText(answer)) as { payload_indexes: object };
			for (const field of Object.keys(indexes)) {
				const path = `/collections/${SCRATCH}/payload-indexes/${encodeURIComponent(field)}`;
				await this.#undoBy(client, attacker, attack, "DELETE", path);
			}
		} else if (name === "vectors.upsert" || name === "vectors.import") {
			const filter = { must_not: [{ has_id: SCRATCH_IDS }] };
			await this.#undoBy(client, attacker, attack, "POST", `/collections/${SCRATCH}/vectors/delete`, { filter });
		}
	}

	async #undoBy(
		client: RawClient,
		attacker: Inhabitant,
		attack: Attack,
		method: string,
		path: string,
		body?: object,
	): Promise<void> {
		const answer = await this.#send(
			client,
			{
				method,
				target: asBytes(`/api/v1${path}`),
				headers: [["authorization", `Bearer ${attacker.keys.READ_WRITE}`]],
				...(body === undefined ? {} : { body: Buffer.from(JSON.stringify(body)) }),
			},
			attack,
		);
		if (answer !== undefined && answer.status !== 200) this.#violate("undo", attack, shown(answer));
	}

	async #send(client: RawClient, request: RawRequest, attack: Attack): Promise<RawAnswer | undefined> {
		this.#requestCount++;
		try {
			return await client.send(request);
		} catch (error) {
			this.#violate("no answer", attack, `${(error as Error).message} to\n${told(request)}`);
			return undefined;
		}
	}

	#requireSame(what: string, before: string, after: string | undefined): void {
		if (before === after) return;
		const now = (after ?? "").split("\n");
		const lines = before.split("\n");
		const at = lines.findIndex((line, index) => line !== now[index]);
		const text = `${what} is not what it was: line ${at}, ${lines[at]} is now ${now[at]}`;
		this.#keep({ rule: "changed", operation: "read back", seed: this.options.seed, text });
	}

	#violate(rule: Violation["rule"], attack: Attack, text: string): void {
		this.#keep({ rule, operation: attack.operation.name, seed: attack.seed, text });
	}

	#keep(violation: Violation): void {
		this.#violationCount++;
		if (this.#violations.length < VIOLATIONS_KEPT_MAX) this.#violations.push(violation);
	}

	#count(operation: string, answer: RawAnswer): void {
		const counts = this.#answers.get(operation) ?? new Map<string, number>();
		this.#answers.set(operation, counts);
		const code = /"code":"([A-Z_]+)"/.exec(wholeText(answer))?.[1];
		const outcome = code === undefined ? String(answer.status) : `${answer.status} ${code}`;
		counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
	}

	#timingsOf(operation: string): { foreign: number[]; unused: number[] } {
		const timings = this.#timings.get(operation) ?? { foreign: [], unused: [] };
		this.#timings.set(operation, timings);
		return timings;
	}
}

const shown = (answer: RawAnswer): string => wholeText(answer).slice(0, SHOWN_LENGTH_MAX);
const told = (request: RawRequest): string =>
	encodeRequest(request, "node")
		.toString("latin1")
		.replace(/hh_(live|test)_[A-Za-z0-9]+/g, "hh_$1_…")
		.slice(0, SHOWN_LENGTH_MAX);
