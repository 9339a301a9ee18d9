import { HiveError } from "../../base/errors.ts";
import type { TenantId } from "../../base/ids.ts";

export interface CrowdBounds {
	readonly connectionCountMax: number;
	readonly connectionsPerTenantMax: number;
	/** Connections from one address that have not said yet who they are. */
	readonly strangersPerAddressMax: number;
}

const RETRY_AFTER_SECONDS = 5;
const overloaded = (message: string): HiveError =>
	new HiveError("OVERLOADED", message, { retry_after_seconds: RETRY_AFTER_SECONDS });

/** A connection's place among all. */
export interface Place {
	/** It is known now who they are. @throws OVERLOADED when the tenant has as many connections as it may */
	settle(tenantId: TenantId): void;
	/** Idempotent. */
	leave(): void;
}

/** Counts who is connected, so that nobody takes all the room. */
export class ConnectionCrowd {
	readonly #bounds: CrowdBounds;
	readonly #strangers = new Map<string, number>();
	readonly #ofTenant = new Map<TenantId, number>();
	#count = 0;

	constructor(bounds: CrowdBounds) {
		this.#bounds = bounds;
	}

	/** @throws OVERLOADED */
	enter(remoteAddress: string): Place {
		const { connectionCountMax, connectionsPerTenantMax, strangersPerAddressMax } = this.#bounds;
		if (this.#count >= connectionCountMax) throw overloaded("too many connections are open");
		if ((this.#strangers.get(remoteAddress) ?? 0) >= strangersPerAddressMax) {
			throw overloaded("too many connections of this address have not said who they are");
		}
		this.#count++;
		raise(this.#strangers, remoteAddress);
		let leave = (): void => lower(this.#strangers, remoteAddress);
		return {
			settle: (tenantId) => {
				if ((this.#ofTenant.get(tenantId) ?? 0) >= connectionsPerTenantMax) {
					throw overloaded(`a tenant has at most ${connectionsPerTenantMax} connections to a node`);
				}
				leave();
				raise(this.#ofTenant, tenantId);
				leave = () => lower(this.#ofTenant, tenantId);
			},
			leave: () => {
				if (leave === hasLeft) return;
				leave();
				leave = hasLeft;
				this.#count--;
			},
		};
	}
}

const hasLeft = (): void => {};

function raise<Key>(counts: Map<Key, number>, key: Key): void {
	counts.set(key, (counts.get(key) ?? 0) + 1);
}

function lower<Key>(counts: Map<Key, number>, key: Key): void {
	const count = (counts.get(key) ?? 0) - 1;
	if (count > 0) counts.set(key, count);
	else counts.delete(key);
}
