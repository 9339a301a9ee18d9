import type { Identity } from "../access/authenticator.ts";
import type { TenantId } from "../base/ids.ts";
import type { Tenant, TenantSource } from "../cluster/tenant-types.ts";
import type { NodeServices } from "./node-services.ts";
import type { Caller, OperationContext } from "./operation.ts";
import type { Call } from "./pipeline-types.ts";

/** For whoever proved who they are. The tenant's handle is made when it is asked for. */
export class CallerContext implements OperationContext<NodeServices> {
	readonly caller: Caller;
	readonly #tenantId: TenantId;
	readonly #tenants: TenantSource;
	readonly #call: Pick<Call, "signal">;
	#tenant: Tenant | undefined;

	constructor(
		identity: Identity,
		readonly requestId: string,
		call: Pick<Call, "signal">,
		readonly services: NodeServices,
		tenants: TenantSource,
	) {
		this.caller = identity;
		this.#call = call;
		this.#tenantId = identity.tenant.id;
		this.#tenants = tenants;
	}

	/** Made when asked for: most operations never look. */
	get signal(): AbortSignal {
		return this.#call.signal;
	}

	get tenant(): Tenant {
		this.#tenant ??= this.#tenants.tenant(this.#tenantId);
		return this.#tenant;
	}
}

/** Where nobody had to say who they are, there is no tenant to work in. */
export class OpenContext implements OperationContext<NodeServices> {
	readonly #call: Pick<Call, "signal">;

	constructor(
		readonly requestId: string,
		call: Pick<Call, "signal">,
		readonly services: NodeServices,
	) {
		this.#call = call;
	}

	get signal(): AbortSignal {
		return this.#call.signal;
	}

	get tenant(): never {
		throw new Error("a public operation has no tenant");
	}

	get caller(): never {
		throw new Error("a public operation has no caller");
	}
}
