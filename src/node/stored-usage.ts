import { readFile } from "node:fs/promises";
import type { TenantId } from "../base/ids.ts";
import type { KnownUsage } from "../cluster/usage-ledger.ts";
import { writeFileDurably } from "../storage/durable-file.ts";

/**
 * What every tenant of this node has stored: live where it is known, else as it was when last known. To ask a tenant that
 * nobody used since the start would open its shards, and there may be very many.
 */
export class StoredUsage {
	private readonly remembered = new Map<string, KnownUsage>();

	constructor(
		private readonly path: string,
		private readonly known: () => Iterable<KnownUsage>,
	) {}

	/** Reads what the last run knew. What can't be read is forgotten: it comes back as tenants are used. */
	async load(): Promise<void> {
		let rows: unknown;
		try {
			rows = JSON.parse(await readFile(this.path, "utf8"));
		} catch {
			return;
		}
		for (const row of Array.isArray(rows) ? rows : []) {
			if (!Array.isArray(row)) continue;
			const [tenantId, storageBytes, vectorCount] = row;
			if (typeof tenantId !== "string" || !isCount(storageBytes) || !isCount(vectorCount)) continue;
			this.remembered.set(tenantId, { tenantId: tenantId as TenantId, storageBytes, vectorCount });
		}
	}

	all(): Iterable<KnownUsage> {
		for (const usage of this.known()) this.remembered.set(usage.tenantId, usage);
		return this.remembered.values();
	}

	totalBytes(): number {
		let totalBytes = 0;
		for (const { storageBytes } of this.all()) totalBytes += storageBytes;
		return totalBytes;
	}

	totalVectors(): number {
		let totalVectors = 0;
		for (const { vectorCount } of this.all()) totalVectors += vectorCount;
		return totalVectors;
	}

	/** The tenant is gone. */
	forget(tenantId: TenantId): void {
		this.remembered.delete(tenantId);
	}

	/** For the next run. On disk when it returns. */
	save(): void {
		const rows = Array.from(this.all(), ({ tenantId, storageBytes, vectorCount }) => [
			tenantId,
			storageBytes,
			vectorCount,
		]);
		writeFileDurably(this.path, `${JSON.stringify(rows)}\n`);
	}
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
