import type { TenantId } from "../../base/ids.ts";

/** How many things of one kind each tenant has under way, and no more than so many. */
export class TenantShares {
	readonly #counts = new Map<TenantId, number>();

	constructor(readonly perTenantMax: number) {}

	/** @returns gives them back, once; undefined: that would be too many. */
	take(tenantId: TenantId, count = 1): (() => void) | undefined {
		const held = this.#counts.get(tenantId) ?? 0;
		if (held + count > this.perTenantMax) return undefined;
		this.#counts.set(tenantId, held + count);
		let isTaken = true;
		return () => {
			if (!isTaken) return;
			isTaken = false;
			const left = (this.#counts.get(tenantId) ?? count) - count;
			if (left > 0) this.#counts.set(tenantId, left);
			else this.#counts.delete(tenantId);
		};
	}
}
