import type { TenantId } from "../base/ids.ts";
import type { HubChange, KeyRecord, TenantRecord } from "./models.ts";
import type { Question, RecordExchange, SharedList, SharedRecord } from "./record-exchange.ts";

export interface RecordExchangesOptions {
	/** The nearest first. */
	readonly exchanges: readonly RecordExchange[];
	/** Seconds for which a record is fresh: one that is older is looked for further on. */
	readonly keySeconds: number;
	readonly tenantSeconds: number;
}

/** Several places where nodes find each other's records, asked in turn and told at once. */
export class RecordExchanges implements RecordExchange {
	readonly #options: RecordExchangesOptions;

	constructor(options: RecordExchangesOptions) {
		this.#options = options;
	}

	key(keyHash: string): Promise<SharedRecord<KeyRecord> | undefined> {
		return this.#ask((exchange) => exchange.key(keyHash), this.#options.keySeconds);
	}

	tenant(tenantId: TenantId): Promise<SharedRecord<TenantRecord> | undefined> {
		return this.#ask((exchange) => exchange.tenant(tenantId), this.#options.tenantSeconds);
	}

	async collections(tenantId: TenantId): Promise<SharedList | undefined> {
		for (const exchange of this.#options.exchanges) {
			const found = await exchange.collections?.(tenantId);
			if (found !== undefined) return found;
		}
		return undefined;
	}

	shareKey(keyHash: string, record: KeyRecord, question: Question): void {
		this.#each((exchange) => exchange.shareKey(keyHash, record, question));
	}

	shareTenant(record: TenantRecord, question: Question): void {
		this.#each((exchange) => exchange.shareTenant(record, question));
	}

	ended(change: HubChange): void {
		this.#each((exchange) => exchange.ended(change));
	}

	keyWritten(keyHash: string, record: KeyRecord): void {
		this.#each((exchange) => exchange.keyWritten(keyHash, record));
	}

	tenantWritten(record: TenantRecord): void {
		this.#each((exchange) => exchange.tenantWritten(record));
	}

	dropKey(keyHash: string): void {
		this.#each((exchange) => exchange.dropKey(keyHash));
	}

	dropTenant(tenantId: TenantId): void {
		this.#each((exchange) => exchange.dropTenant(tenantId));
	}

	hubWentBack(): void {
		this.#each((exchange) => exchange.hubWentBack());
	}

	/** @returns the first that is fresh; else the newest of all, the youngest of equals. */
	async #ask<Record extends KeyRecord | TenantRecord>(
		askOne: (exchange: RecordExchange) => Promise<SharedRecord<Record> | undefined>,
		freshSeconds: number,
	): Promise<SharedRecord<Record> | undefined> {
		let best: SharedRecord<Record> | undefined;
		for (const exchange of this.#options.exchanges) {
			const found = await askOne(exchange);
			if (found === undefined) continue;
			if (found.ageMs <= freshSeconds * 1_000) return found;
			const isBetter =
				best === undefined ||
				found.record.revision > best.record.revision ||
				(found.record.revision === best.record.revision && found.ageMs < best.ageMs);
			if (isBetter) best = found;
		}
		return best;
	}

	#each(tell: (exchange: RecordExchange) => void): void {
		for (const exchange of this.#options.exchanges) tell(exchange);
	}
}
