import type { CollectionId, NodeId, TenantId } from "../../base/ids.ts";
import { recentMap } from "../../base/recent-map.ts";
import type { CollectionRecord } from "../../hub/models.ts";
import type { ShardName } from "../../shards/pool-types.ts";
import type { WriteResult } from "../../storage/shard-types.ts";
import type { TenantUsage, WriteDemand } from "../tenant-types.ts";
import { AccountHome, type AccountHomeParts } from "./account-home.ts";
import {
	ACCOUNT_METHODS,
	type AccountNews,
	grantSchema,
	type HomeMark,
	newsBatchSchema,
	reserveQuestionSchema,
	type ShardChange,
	UNKNOWN_MARK,
	usageAnswerSchema,
	usageQuestionSchema,
} from "./account-messages.ts";
import type { AccountedWrite, TenantAccounts } from "./account-types.ts";
import { NewsCourier, noNews } from "./news-courier.ts";
import { RecentUsage } from "./recent-usage.ts";

type Collections = ReadonlyMap<string, CollectionRecord>;

export interface ClusterAccountsParts extends AccountHomeParts {
	/** The tenant's collections by name, as the hub has them. */
	readonly collections: (tenantId: TenantId) => Promise<Collections>;
}

/** Of homes: which marks they told last. */
const MARKS_MAX = 10_000;

/** Every tenant's account, kept by its home: this node or another. */
export class ClusterAccounts implements TenantAccounts {
	readonly #parts: ClusterAccountsParts;
	readonly #home: AccountHome;
	readonly #courier: NewsCourier;
	readonly #recent: RecentUsage;
	readonly #marks = recentMap<TenantId, HomeMark>(MARKS_MAX);
	/** The last batch of news that each node's process brought. */
	readonly #batches = new Map<NodeId, { readonly incarnation: string; readonly sequence: number }>();

	constructor(parts: ClusterAccountsParts) {
		this.#parts = parts;
		const { homes, clock, timers, log, methods } = parts;
		this.#home = new AccountHome(parts);
		this.#courier = new NewsCourier({
			homes,
			timers,
			incarnation: this.#home.incarnation,
			deliverHere: (news) => this.#home.apply(news),
			log,
		});
		this.#recent = new RecentUsage({ clock, timers, ask: (tenantId) => this.#askUsage(tenantId, false) });
		homes.serve(ACCOUNT_METHODS.reserve, reserveQuestionSchema, "home only", async (question, asker) => {
			const { tenantId, vectorCount, bytes } = question;
			const collections = await parts.collections(tenantId);
			const { name } = await this.#home.reserve(tenantId, collections, { vectorCount, bytes }, asker);
			return { reservation: name, ...this.#home.mark };
		});
		homes.serve(ACCOUNT_METHODS.usage, usageQuestionSchema, "home only", async ({ tenantId, isExact }) => {
			const { storageBytes, vectorCount } = await this.#home.usage(
				tenantId,
				await parts.collections(tenantId),
				isExact,
			);
			return { storageBytes, vectorCount, ...this.#home.mark };
		});
		methods.handle(ACCOUNT_METHODS.news, async (body, { from }) => this.#hear(body, from));
	}

	async usage(tenantId: TenantId, collections: Collections): Promise<TenantUsage> {
		const { homes } = this.#parts;
		if (homes.isHome(tenantId)) return this.#home.usage(tenantId, collections, true);
		await this.#courier.flush(homes.asked(tenantId));
		return { ...(await this.#askUsage(tenantId, true)), collectionCount: collections.size };
	}

	async recentUsage(tenantId: TenantId, collections: Collections): Promise<TenantUsage> {
		if (this.#parts.homes.isAlone) return this.#home.usage(tenantId, collections, false);
		return { ...(await this.#recent.read(tenantId)), collectionCount: collections.size };
	}

	async reserve(tenantId: TenantId, collections: Collections, demand: WriteDemand): Promise<AccountedWrite> {
		const { homes, gate, membership } = this.#parts;
		if (!(await gate.isLimited(tenantId))) return this.begin(tenantId);
		if (homes.isHome(tenantId)) {
			const { name } = await this.#home.reserve(tenantId, collections, demand, membership.self);
			return this.#write(tenantId, this.#home.mark, name);
		}
		const answer = grantSchema.parse(await homes.ask(ACCOUNT_METHODS.reserve, { tenantId, ...demand }));
		this.#marks.set(tenantId, answer);
		return this.#write(tenantId, answer, answer.reservation);
	}

	begin(tenantId: TenantId): AccountedWrite {
		const isHome = this.#parts.homes.isHome(tenantId);
		return this.#write(tenantId, isHome ? this.#home.mark : (this.#marks.get(tenantId) ?? UNKNOWN_MARK), undefined);
	}

	doubt({ tenantId, collectionId, shardIndex }: ShardName): void {
		this.#tell({ ...noNews(tenantId), doubts: [{ collectionId, shardIndex }] });
	}

	forget(tenantId: TenantId, collectionId: CollectionId): void {
		this.#tell({ ...noNews(tenantId), forgotten: [collectionId] });
	}

	/** Every node hears of it from the hub. */
	forgetTenant(tenantId: TenantId): void {
		this.#parts.ledger.forgetTenant(tenantId);
		this.#recent.forget(tenantId);
		this.#marks.delete(tenantId);
	}

	close(): void {
		this.#home.close();
	}

	#write(tenantId: TenantId, mark: HomeMark, reservation: string | undefined): AccountedWrite {
		const { homes, ledger } = this.#parts;
		// Alone, all answers come through this process, in order.
		const isAlone = homes.isAlone;
		const changes: ShardChange[] = [];
		let isReleased = false;
		return {
			stage: (record, shardIndex, result) => {
				const commit = isAlone ? ledger.stage(record, shardIndex, result) : undefined;
				return () => {
					commit?.();
					changes.push(changeOf(record.id, shardIndex, result));
				};
			},
			release: () => {
				if (isReleased) return;
				isReleased = true;
				const isCounted = isAlone && homes.isHome(tenantId);
				if (isCounted && reservation === undefined) return;
				this.#settle({
					...noNews(tenantId),
					incarnation: mark.incarnation,
					mark: mark.mark,
					changes: isCounted ? [] : changes,
					...(reservation !== undefined && { reservation }),
				});
			},
		};
	}

	/** What a write came to. Who granted its room and keeps the account no longer is to give it back all the same. */
	#settle(news: AccountNews): void {
		const { tenantId, changes, reservation } = news;
		const { homes } = this.#parts;
		if (changes.length > 0 || reservation !== undefined) this.#tell(news);
		if (!homes.isAlone) this.#recent.add(tenantId, changes);
		if (reservation === undefined) return;
		const granter = nodeOf(reservation);
		if (granter !== homes.homeOf(tenantId)) {
			this.#courier.sendTo(granter, { ...noNews(tenantId), reservation, isPassedOn: true });
		}
	}

	#tell(news: AccountNews): void {
		if (this.#parts.homes.isHome(news.tenantId)) this.#home.apply(news);
		else this.#courier.send(news);
	}

	/** Another node tells. What was for a home that is no longer here goes on to where it is. */
	#hear(body: unknown, from: NodeId): void {
		const { incarnation, sequence, news } = newsBatchSchema.parse(body);
		const last = this.#batches.get(from);
		if (last?.incarnation === incarnation && last.sequence >= sequence) return;
		this.#batches.set(from, { incarnation, sequence });
		for (const item of news) {
			this.#home.apply(item);
			if (item.isPassedOn || this.#parts.homes.isHome(item.tenantId)) continue;
			this.#courier.send({ ...item, isPassedOn: true });
		}
	}

	async #askUsage(
		tenantId: TenantId,
		isExact: boolean,
	): Promise<{ readonly storageBytes: number; readonly vectorCount: number }> {
		const answer = await this.#parts.homes.ask(ACCOUNT_METHODS.usage, { tenantId, isExact });
		const { storageBytes, vectorCount, incarnation, mark } = usageAnswerSchema.parse(answer);
		this.#marks.set(tenantId, { incarnation, mark });
		this.#recent.set(tenantId, { storageBytes, vectorCount });
		return { storageBytes, vectorCount };
	}
}

const changeOf = (collectionId: CollectionId, shardIndex: number, result: WriteResult): ShardChange => ({
	collectionId,
	shardIndex,
	vectorCountDelta: result.vectorCountDelta,
	bytesDelta: result.bytesDelta,
});

/** @see AccountHome.incarnation */
const nodeOf = (reservation: string): NodeId => reservation.slice(0, reservation.indexOf("@")) as NodeId;
