import { LocalNode } from "../local-node.ts";
import { comparable, LeakDetector, Renaming, wholeText } from "./answer-view.ts";
import { ApiDocument } from "./api-operations.ts";
import { type Attack, type AttackChoices, type AttackPlan, planAttack } from "./attack-plan.ts";
import { ATTACKED_NODE_ENV, buildWorld, type Inhabitant, SCRATCH, SCRATCH_IDS } from "./attack-world.ts";
import { type Belongings, DIMENSION } from "./belongings.ts";
import { Dice } from "./dice.ts";
import { EmbeddingStandIn } from "./embedding-stand-in.ts";
import { GraphqlSurface } from "./graphql-attack.ts";
import { asBytes, encodeRequest, type RawAnswer, RawClient, type RawRequest } from "./raw-http.ts";
import { converse, type RawDialogue } from "./raw-websocket.ts";
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
	/** What was attacked, by protocol. */
	readonly name: string;
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
	/** Answers by what was attacked, `rest collections.get` or `mcp search`: status and codes, and how often. */
	readonly answers: ReadonlyMap<string, ReadonlyMap<string, number>>;
	/** Milliseconds of calls that plainly named what is another's, and of their twins, by what was attacked. */
	readonly timings: ReadonlyMap<string, { readonly foreign: number[]; readonly unused: number[] }>;
}

const VIOLATIONS_KEPT_MAX = 40;
const SHOWN_LENGTH_MAX = 3_000;

/** Lets tenants attack each other on a node of their own, and tells what came of it. */
export async function runAttack(options: AttackOptions): Promise<AttackReport> {
	const embeddings = new EmbeddingStandIn(new Array<number>(DIMENSION).fill(0.5));
	const node = await LocalNode.start({ env: { ...ATTACKED_NODE_ENV, ...embeddings.env } });
	try {
		const world = await buildWorld(node, options.seed, options.tenantCount);
		const plan = {
			world,
			document: await ApiDocument.fetch(node.url),
			graphql: await GraphqlSurface.fetch(node.url, world.operatorKey),
		};
		return await new AttackRun(plan, options).run();
	} finally {
		await node.stop();
		node.removeData();
		await embeddings.stop();
	}
}

class AttackRun {
	#callCount = 0;
	#requestCount = 0;
	#violationCount = 0;
	readonly #violations: Violation[] = [];
	readonly #answers = new Map<string, Map<string, number>>();
	readonly #renamings = new Map<Belongings, Renaming>();
	readonly #timings = new Map<string, { foreign: number[]; unused: number[] }>();

	constructor(
		private readonly plan: AttackPlan,
		private readonly options: AttackOptions,
	) {}

	async run(): Promise<AttackReport> {
		const { plan, options } = this;
		const { world } = plan;
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
		const { world } = this.plan;
		const client = new AttackClient(world.node.url);
		const detector = new LeakDetector(attacker, world.inhabitants);
		try {
			for (let call = 0; call < callCount; call++) {
				const attack = planAttack(this.plan, attacker, dice.seed());
				await this.#callTwice(client, detector, attacker, attack, dice.chance(0.5));
				this.#callCount++;
				this.options.onProgress?.(this.#callCount);
			}
		} finally {
			client.close();
		}
	}

	async #callTwice(
		client: AttackClient,
		detector: LeakDetector,
		attacker: Inhabitant,
		attack: Attack,
		isForeignFirst: boolean,
	): Promise<void> {
		const { choices, victim } = attack;
		const { owns, shadow } = victim;
		const requests = { foreign: choices.requestFor(owns), unused: choices.requestFor(shadow) };
		const answers: Partial<Record<"foreign" | "unused", RawAnswer>> = {};
		const order = isForeignFirst ? (["foreign", "unused"] as const) : (["unused", "foreign"] as const);
		for (const kind of order) {
			const request = requests[kind];
			const startMs = performance.now();
			const answer = await this.#send(client, request, attack);
			if (answer === undefined) return;
			answers[kind] = answer;
			if (choices.isPlain) this.#timingsOf(nameOf(choices))[kind].push(performance.now() - startMs);
			for (const leak of detector.leaks(request, answer)) {
				this.#violate("leak", attack, `${leak} of another tenant in\n${shown(answer)}\nto\n${told(request)}`);
			}
			if (answer.status >= 500) this.#violate("server error", attack, `${shown(answer)}\nto\n${told(request)}`);
			if (answer.status < 300) await this.#undo(client, attacker, attack, request);
		}
		this.#compare(attack, requests.foreign, answers.foreign!, answers.unused!);
	}

	#compare(attack: Attack, request: RawRequest | RawDialogue, foreign: RawAnswer, unused: RawAnswer): void {
		this.#count(nameOf(attack.choices), foreign);
		// The limit of calls from one address has no eye for what they name.
		if (attack.choices.isOfPublic && (foreign.status === 429 || unused.status === 429)) return;
		const [seen, wanted] = [comparable(foreign), comparable(unused)];
		if (seen === wanted) return;
		const { owns, shadow } = attack.victim;
		const renaming = this.#renamings.get(owns) ?? new Renaming(owns, shadow);
		this.#renamings.set(owns, renaming);
		if (renaming.of(seen) === wanted) return;
		this.#violate(
			"difference",
			attack,
			`${told(request)}\nanswers\n${shown(foreign)}\nbut an unused name\n${shown(unused)}`,
		);
	}

	/** What an attacker wrote into its own tenant goes again, so that the twin finds what the call found. */
	async #undo(
		client: AttackClient,
		attacker: Inhabitant,
		attack: Attack,
		request: RawRequest | RawDialogue,
	): Promise<void> {
		const { undoes, protocol } = attack.choices;
		if (protocol === "rest" && request.method === "GET") return;
		const { node } = this.plan.world;
		const key = attacker.keys.READ_WRITE;
		const does = (operation: string): boolean => undoes.includes(operation);
		const inScratch = `/collections/${SCRATCH}`;
		if (does("collections.create")) {
			const { collections } = (await node.call(key, "GET", "/collections")) as { collections: { name: string }[] };
			const kept = new Set([...attacker.owns.collections, SCRATCH]);
			for (const { name } of collections.filter((each) => !kept.has(each.name))) {
				await this.#undoBy(client, attacker, attack, "DELETE", `/collections/${encodeURIComponent(name)}`);
			}
		}
		if (does("payload_indexes.create")) {
			const { payload_indexes: indexes } = (await node.call(key, "GET", inScratch)) as { payload_indexes: object };
			for (const field of Object.keys(indexes)) {
				const path = `${inScratch}/payload-indexes/${encodeURIComponent(field)}`;
				await this.#undoBy(client, attacker, attack, "DELETE", path);
			}
		}
		if (does("documents.insert")) {
			const { files } = (await node.call(key, "GET", `${inScratch}/documents`)) as { files: { path: string }[] };
			for (const { path } of files) {
				const named = `${inScratch}/documents?path=${encodeURIComponent(path)}`;
				await this.#undoBy(client, attacker, attack, "DELETE", named);
			}
		}
		if (does("vectors.upsert") || does("vectors.import")) {
			const filter = { must_not: [{ has_id: SCRATCH_IDS }] };
			await this.#undoBy(client, attacker, attack, "POST", `${inScratch}/vectors/delete`, { filter });
		}
	}

	async #undoBy(
		client: AttackClient,
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

	async #send(client: AttackClient, request: RawRequest | RawDialogue, attack: Attack): Promise<RawAnswer | undefined> {
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
		this.#keep({ rule: "changed", name: "read back", seed: this.options.seed, text });
	}

	#violate(rule: Violation["rule"], attack: Attack, text: string): void {
		this.#keep({ rule, name: nameOf(attack.choices), seed: attack.seed, text });
	}

	#keep(violation: Violation): void {
		this.#violationCount++;
		if (this.#violations.length < VIOLATIONS_KEPT_MAX) this.#violations.push(violation);
	}

	#count(name: string, answer: RawAnswer): void {
		const counts = this.#answers.get(name) ?? new Map<string, number>();
		this.#answers.set(name, counts);
		const codes = new Set([...wholeText(answer).matchAll(CODE)].map(([, code]) => code!));
		const outcome = [answer.status, ...codes].join(" ");
		counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
	}

	#timingsOf(name: string): { foreign: number[]; unused: number[] } {
		const timings = this.#timings.get(name) ?? { foreign: [], unused: [] };
		this.#timings.set(name, timings);
		return timings;
	}
}

/** HTTP over one kept connection, and a WebSocket connection for each dialogue. */
class AttackClient {
	readonly #host: string;
	readonly #port: number;
	readonly #http: RawClient;

	constructor(nodeUrl: string) {
		const { hostname, port } = new URL(nodeUrl);
		this.#host = hostname;
		this.#port = Number(port);
		this.#http = new RawClient(this.#host, this.#port);
	}

	/** @throws NoAnswer, Hang */
	async send(request: RawRequest | RawDialogue): Promise<RawAnswer> {
		return "frames" in request ? await converse(this.#host, this.#port, request) : await this.#http.send(request);
	}

	close(): void {
		this.#http.close();
	}
}

/** In a body of its own, or in JSON within a text of JSON. */
const CODE = /\\?"code\\?":\\?"?([A-Z_]+|-?\d+)/g;

const nameOf = ({ protocol, name }: Pick<AttackChoices, "protocol" | "name">): string => `${protocol} ${name}`;
const shown = (answer: RawAnswer): string => wholeText(answer).slice(0, SHOWN_LENGTH_MAX);
const told = (request: RawRequest | RawDialogue): string =>
	[
		encodeRequest(request, "node").toString("latin1"),
		...("frames" in request ? request.frames.map(({ text }) => text) : []),
	]
		.join("\n")
		.replace(/hh_(live|test)_[A-Za-z0-9]+/g, "hh_$1_…")
		.slice(0, SHOWN_LENGTH_MAX);
