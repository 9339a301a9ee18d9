import type { z } from "zod";
import type { Clock } from "../../base/clock.ts";
import { HiveError } from "../../base/errors.ts";
import type { NodeId, TenantId } from "../../base/ids.ts";
import { recentMap } from "../../base/recent-map.ts";
import type { Timers } from "../../base/timers.ts";
import type { CollectionRecord } from "../../hub/models.ts";
import type { Membership } from "../membership/membership-types.ts";
import type { PeerMethods } from "../peer/peer-types.ts";
import type { Reservation, TenantUsage, WriteDemand } from "../tenant-types.ts";
import type { UsageLedger } from "../usage-ledger.ts";
import {
	ACCOUNT_METHODS,
	type AccountNews,
	type HomeMark,
	handoverAnswerSchema,
	handoverQuestionSchema,
} from "./account-messages.ts";
import type { AccountGate } from "./account-types.ts";
import { type HomeCalls, noHome } from "./home-calls.ts";
import { OpenReservations } from "./open-reservations.ts";

type Collections = ReadonlyMap<string, CollectionRecord>;

/** Less than what whoever asks the home waits. */
const HANDOVER_TIMEOUT_MS = 500;
/** How often an account is taken over anew when members keep coming and going. */
const TAKEOVERS_MAX = 3;
/** The copies of a shard may differ a little from what was counted: how often they are asked again, while the tenant is used. */
const RECHECK_EVERY_MS = 600_000;
const TENANTS_MAX = 100_000;

/** What this node knows of an account that it keeps. */
interface KeptAccount {
	/** As of which change of members it was taken over. */
	readonly change: number;
	readonly taken: Promise<void>;
	checkedAtMs: number;
}

export interface AccountHomeParts {
	readonly homes: HomeCalls;
	readonly membership: Membership;
	readonly methods: PeerMethods;
	readonly ledger: UsageLedger;
	readonly gate: AccountGate;
	readonly clock: Clock;
	readonly timers: Timers;
	readonly log: (message: string, facts: Readonly<Record<string, unknown>>) => void;
}

/** A reservation with its name. */
export interface NamedReservation extends Reservation {
	readonly name: string;
}

/**
 * The accounts whose home this node is. Whenever members come or go it may have become the home of some, and others may have
 * written without telling it: each account is taken over anew on its next use, by asking the shards what they hold, and the
 * other nodes which reservations they granted that are still open; who is asked for these grants none any more.
 */
export class AccountHome {
	/** Of this process. */
	readonly incarnation: string;
	readonly #parts: AccountHomeParts;
	readonly #open: OpenReservations;
	readonly #kept = recentMap<TenantId, KeptAccount>(TENANTS_MAX);
	#change = 0;
	#grantCount = 0;

	constructor(parts: AccountHomeParts) {
		this.#parts = parts;
		const { membership, clock, timers, ledger } = parts;
		this.incarnation = `${membership.self}@${clock.nowMs()}`;
		this.#open = new OpenReservations({
			self: membership.self,
			clock,
			timers,
			onExpired: ({ tenantId, holder }) => {
				ledger.doubtTenant(tenantId);
				parts.log("a node did not say what became of a write", { tenant_id: tenantId, node_id: holder });
			},
		});
		membership.onChange(() => {
			this.#change++;
		});
		parts.methods.handle(ACCOUNT_METHODS.handover, async (body, { from }) => {
			const { tenantId, topologyVersion } = handoverQuestionSchema.parse(body);
			return this.#handOver(tenantId, from, topologyVersion);
		});
	}

	get mark(): HomeMark {
		return { incarnation: this.incarnation, mark: this.#parts.ledger.mark };
	}

	/** @throws QUOTA_EXCEEDED, TENANT_NOT_FOUND, HUB_UNAVAILABLE, and what shards that had to be asked threw */
	async reserve(
		tenantId: TenantId,
		collections: Collections,
		demand: WriteDemand,
		holder: NodeId,
	): Promise<NamedReservation> {
		await this.#take(tenantId);
		const reservation = await this.#grant(tenantId, collections, demand);
		const name = `${this.incarnation}/${++this.#grantCount}`;
		this.#open.put({ name, tenantId, holder, demand }, reservation);
		return { name, release: () => this.#open.release(tenantId, name) };
	}

	/** @param isExact whether shards are asked again whose counts may be a little off */
	async usage(tenantId: TenantId, collections: Collections, isExact: boolean): Promise<TenantUsage> {
		await this.#take(tenantId);
		const { ledger } = this.#parts;
		return isExact ? ledger.exactUsage(tenantId, collections) : ledger.usage(tenantId, collections);
	}

	/** All of it in one tick: what was set aside and what was written are never counted both, nor neither. */
	apply(news: AccountNews): void {
		const { ledger } = this.#parts;
		const { tenantId, changes, doubts, forgotten, reservation } = news;
		const mark = news.incarnation === this.incarnation ? news.mark : -1;
		for (const { collectionId, shardIndex, ...change } of changes) {
			ledger.add(tenantId, collectionId, shardIndex, change, mark);
		}
		for (const { collectionId, shardIndex } of doubts) ledger.doubt(tenantId, collectionId, shardIndex);
		for (const collectionId of forgotten) ledger.forget(tenantId, collectionId);
		if (news.isLost) ledger.doubtTenant(tenantId);
		if (reservation !== undefined) this.#open.release(tenantId, reservation);
	}

	close(): void {
		this.#open.close();
	}

	async #grant(tenantId: TenantId, collections: Collections, demand: WriteDemand): Promise<Reservation> {
		const { ledger, gate, homes } = this.#parts;
		const used = await ledger.usage(tenantId, collections);
		try {
			return await gate.reserve(tenantId, used, demand, homes.share());
		} catch (error) {
			const isFull = error instanceof HiveError && error.code === "QUOTA_EXCEEDED";
			if (!isFull || !ledger.isUnsure(tenantId)) throw error;
		}
		// What may be counted twice refuses nobody.
		return gate.reserve(tenantId, await ledger.exactUsage(tenantId, collections), demand, homes.share());
	}

	/** Settles when what others know of the account is known here. @throws NO_QUORUM when another node is its home by then */
	async #take(tenantId: TenantId): Promise<void> {
		if (this.#change === 0 && this.#parts.homes.isAlone) return;
		const { clock, ledger, homes } = this.#parts;
		let kept = this.#kept.get(tenantId);
		for (let attempt = 0; kept?.change !== this.#change; attempt++) {
			if (attempt === TAKEOVERS_MAX) throw noHome();
			ledger.doubtTenant(tenantId);
			kept = { change: this.#change, taken: this.#askOthers(tenantId), checkedAtMs: clock.monotonicMs() };
			this.#kept.set(tenantId, kept);
			await kept.taken;
		}
		await kept.taken;
		if (!homes.isHome(tenantId)) throw noHome();
		if (clock.monotonicMs() - kept.checkedAtMs < RECHECK_EVERY_MS) return;
		kept.checkedAtMs = clock.monotonicMs();
		ledger.suspectTenant(tenantId);
	}

	/** A node that does not answer is thought dead soon, and what it granted is in what the shards tell. Never rejects. */
	async #askOthers(tenantId: TenantId): Promise<void> {
		await Promise.all(
			this.#parts.homes.others().map(async (nodeId) => {
				try {
					await this.#takeFrom(nodeId, tenantId);
				} catch (error) {
					this.#parts.log("a node did not tell what it had granted", {
						tenant_id: tenantId,
						node_id: nodeId,
						error: String(error),
					});
				}
			}),
		);
	}

	async #takeFrom(nodeId: NodeId, tenantId: TenantId): Promise<void> {
		const { membership, homes, gate } = this.#parts;
		const { version } = membership.view();
		const answer = await homes.call(
			nodeId,
			ACCOUNT_METHODS.handover,
			{ tenantId, topologyVersion: version },
			HANDOVER_TIMEOUT_MS,
		);
		const { topologyVersion, open } = handoverAnswerSchema.parse(answer);
		if (topologyVersion > version) await membership.refresh(topologyVersion);
		for (const { reservation: name, holder, vectorCount, bytes } of open) {
			const taken = { name, tenantId, holder, demand: { vectorCount, bytes } };
			if (!this.#open.has(taken)) this.#open.put(taken, gate.hold(tenantId, taken.demand));
		}
	}

	/** What was granted here and is open, for the node that keeps the account from now on. */
	#handOver(tenantId: TenantId, to: NodeId, topologyVersion: number): z.output<typeof handoverAnswerSchema> {
		const { membership, homes } = this.#parts;
		const { version } = membership.view();
		if (topologyVersion >= version) homes.yieldTo(to, tenantId);
		const open = this.#open.of(tenantId);
		return {
			topologyVersion: version,
			open: open.map(({ name, holder, demand }) => ({ reservation: name, holder, ...demand })),
		};
	}
}
