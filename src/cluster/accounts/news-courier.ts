import { HiveError } from "../../base/errors.ts";
import type { NodeId, TenantId } from "../../base/ids.ts";
import type { Timers } from "../../base/timers.ts";
import { ACCOUNT_METHODS, type AccountNews, UNKNOWN_MARK } from "./account-messages.ts";
import type { HomeCalls } from "./home-calls.ts";

const BATCH_MAX = 500;
/** Waiting for one node. Beyond, of a tenant only that something got lost is told. */
const WAITING_MAX = 10_000;
const LOST_TENANTS_MAX = 10_000;
const SEND_TIMEOUT_MS = 1_000;
const ATTEMPTS_MAX = 4;
const RETRY_FIRST_MS = 50;
/** Nodes to which news is sent, the first having failed, before it is given up. */
const TARGETS_MAX = 3;

interface Letter {
	readonly news: AccountNews;
	readonly targetCount: number;
}

interface Mailbag {
	readonly nodeId: NodeId;
	readonly waiting: Letter[];
	readonly lost: Set<TenantId>;
	sequence: number;
	isRunning: boolean;
	/** Of all that ever waited: how many came, and how many are done with. */
	acceptedCount: number;
	doneCount: number;
	waiters: { readonly doneCount: number; readonly resolve: () => void }[];
}

export interface NewsCourierParts {
	readonly homes: HomeCalls;
	readonly timers: Timers;
	/** Of this process. */
	readonly incarnation: string;
	/** What has come to be this node's own. */
	readonly deliverHere: (news: AccountNews) => void;
	readonly log: (message: string, facts: Readonly<Record<string, unknown>>) => void;
}

/**
 * Brings to other nodes what writes came to, in order, each once, many at a time; nobody waits for it. What can't be brought
 * to one node goes to whoever keeps the account then; in the end the account is doubted rather than wrong.
 */
export class NewsCourier {
	readonly #parts: NewsCourierParts;
	readonly #bags = new Map<NodeId, Mailbag>();

	constructor(parts: NewsCourierParts) {
		this.#parts = parts;
	}

	/** To the home of its tenant. */
	send(news: AccountNews): void {
		this.#post(this.#parts.homes.asked(news.tenantId), { news, targetCount: 1 });
	}

	sendTo(nodeId: NodeId, news: AccountNews): void {
		this.#post(nodeId, { news, targetCount: TARGETS_MAX });
	}

	/** Settles when what waits for the node has been brought to it, or given up. */
	async flush(nodeId: NodeId): Promise<void> {
		const bag = this.#bags.get(nodeId);
		if (bag === undefined || bag.doneCount === bag.acceptedCount) return;
		const { promise, resolve } = Promise.withResolvers<void>();
		bag.waiters.push({ doneCount: bag.acceptedCount, resolve });
		await promise;
	}

	#post(nodeId: NodeId, letter: Letter): void {
		if (nodeId === this.#parts.homes.self) {
			this.#parts.deliverHere(letter.news);
			return;
		}
		const bag = this.#bagFor(nodeId);
		if (bag.waiting.length >= WAITING_MAX) {
			this.#lose(bag, letter.news.tenantId);
			return;
		}
		bag.waiting.push(letter);
		bag.acceptedCount++;
		if (bag.isRunning) return;
		bag.isRunning = true;
		// What other writes come to in this very tick goes along.
		queueMicrotask(() => void this.#run(bag));
	}

	#bagFor(nodeId: NodeId): Mailbag {
		let bag = this.#bags.get(nodeId);
		if (bag === undefined) {
			bag = {
				nodeId,
				waiting: [],
				lost: new Set(),
				sequence: 0,
				isRunning: false,
				acceptedCount: 0,
				doneCount: 0,
				waiters: [],
			};
			this.#bags.set(nodeId, bag);
		}
		return bag;
	}

	#lose(bag: Mailbag, tenantId: TenantId): void {
		if (bag.lost.size < LOST_TENANTS_MAX) bag.lost.add(tenantId);
	}

	/** Never rejects. */
	async #run(bag: Mailbag): Promise<void> {
		while (bag.waiting.length > 0) {
			const letters = bag.waiting.splice(0, BATCH_MAX);
			bag.sequence++;
			const isBrought = await this.#bring(
				bag,
				letters.map(({ news }) => news),
			);
			if (!isBrought) for (const letter of letters) this.#redirect(letter);
			bag.doneCount += letters.length;
			bag.waiters = bag.waiters.filter(({ doneCount, resolve }) => {
				if (doneCount > bag.doneCount) return true;
				resolve();
				return false;
			});
			if (bag.waiting.length === 0) this.#tellLost(bag);
		}
		bag.isRunning = false;
	}

	/** @returns whether it arrived */
	async #bring(bag: Mailbag, news: readonly AccountNews[]): Promise<boolean> {
		const { homes, incarnation, timers, log } = this.#parts;
		const body = { incarnation, sequence: bag.sequence, news };
		for (let attempt = 1; ; attempt++) {
			try {
				await homes.call(bag.nodeId, ACCOUNT_METHODS.news, body, SEND_TIMEOUT_MS);
				return true;
			} catch (error) {
				if (attempt === ATTEMPTS_MAX || error instanceof HiveError) {
					log("a node could not be told what writes came to", { node_id: bag.nodeId, error: String(error) });
					return false;
				}
			}
			const { promise, resolve } = Promise.withResolvers<void>();
			timers.after(RETRY_FIRST_MS * 2 ** (attempt - 1), resolve);
			await promise;
		}
	}

	/** Whether the node that did not answer has counted it is not known; whoever keeps the account now has not. */
	#redirect({ news, targetCount }: Letter): void {
		if (targetCount >= TARGETS_MAX) return;
		const { homes } = this.#parts;
		this.#post(homes.asked(news.tenantId), {
			news: { ...news, ...UNKNOWN_MARK, isPassedOn: false, isLost: targetCount === TARGETS_MAX - 1 || news.isLost },
			targetCount: targetCount + 1,
		});
	}

	#tellLost(bag: Mailbag): void {
		for (const tenantId of bag.lost) {
			bag.lost.delete(tenantId);
			if (bag.waiting.length >= WAITING_MAX) return;
			this.#post(bag.nodeId, { news: lostNews(tenantId), targetCount: 1 });
		}
	}
}

/** Something of the tenant was not told: every shard is to be asked. */
const lostNews = (tenantId: TenantId): AccountNews => ({ ...noNews(tenantId), isLost: true });

export const noNews = (tenantId: TenantId): AccountNews => ({
	...UNKNOWN_MARK,
	tenantId,
	changes: [],
	doubts: [],
	forgotten: [],
	isLost: false,
	isPassedOn: false,
});
