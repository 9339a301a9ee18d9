import { encode } from "@msgpack/msgpack";
import type { ApiDocument, ApiOperation } from "./api-operations.ts";
import { BODY_MAKERS } from "./attack-bodies.ts";
import { credentialsOf, foreignHeaders, type Headers } from "./attack-headers.ts";
import { type AttackChoices, REQUEST_ID } from "./attack-plan.ts";
import { type AttackWorld, type Inhabitant, SCRATCH } from "./attack-world.ts";
import type { Belongings } from "./belongings.ts";
import { Dice } from "./dice.ts";
import { pathSegment } from "./name-tricks.ts";
import { OperationInput } from "./operation-input.ts";
import type { RawRequest } from "./raw-http.ts";

/** Operations that an operator's key legitimately answers about other tenants. */
const OPERATOR_MAY = /^(?:tenants|keys|cluster|audit|metrics|health|hub)\.|^usage/;
/** Of the operators' own, those that name a thing of one tenant under another: the path's tenant is the attacker's. */
const CROSSED_BY_OPERATOR = new Set(["keys.revoke", "keys.rotate"]);

/** Those that work on the disk when they succeed are rarer, or the run would measure the disk. */
const WEIGHTS: Readonly<Record<string, number>> = { "collections.create": 0.7, "payload_indexes.create": 0.3 };
/** They name nobody's things, or are limited to a few a minute. */
const PUBLIC_WEIGHT = 0.3;

export function pickOperation(dice: Dice, operations: readonly ApiOperation[]): ApiOperation {
	for (;;) {
		const operation = dice.pick(operations);
		const usual = operation.scope === "public" ? PUBLIC_WEIGHT : 1;
		if (dice.chance(WEIGHTS[operation.name] ?? usual)) return operation;
	}
}

/** A call of an operation by its own address. */
export class RestAttack implements AttackChoices {
	readonly protocol = "rest";
	readonly name: string;
	readonly isOfPublic: boolean;
	readonly isPlain: boolean;
	readonly undoes: readonly string[];
	readonly #input: OperationInput;
	readonly #isOwnCollection: boolean;
	readonly #credentials: Headers;
	readonly #isByOperator: boolean;
	readonly #hasForeignHeader: boolean;
	readonly #seed: number;

	constructor(
		world: AttackWorld,
		document: ApiDocument,
		private readonly attacker: Inhabitant,
		dice: Dice,
	) {
		const operation = pickOperation(dice, document.operations);
		const { name, pathFields, bodyTypes, scope } = operation;
		this.name = name;
		this.isOfPublic = scope === "public";
		const isOperators = CROSSED_BY_OPERATOR.has(name);
		const mayBeOperator = isOperators || (scope === "tenant" && !OPERATOR_MAY.test(name));
		this.#isByOperator = mayBeOperator && dice.chance(isOperators ? 0.3 : 0.05);
		this.#credentials = credentialsOf(dice, attacker, this.#isByOperator ? world.operatorKey : undefined);
		const namesCollection = pathFields.some((field) => field.name === "collection");
		const hasInside = bodyTypes.length > 0 || pathFields.length > 1;
		const { isKnown } = new OperationInput(document, operation, false);
		this.#isOwnCollection = namesCollection && hasInside && isKnown && dice.chance(0.35);
		this.#input = new OperationInput(document, operation, this.#isOwnCollection);
		const namesForeign = pathFields.length > 0 && !this.#isOwnCollection;
		// What names nothing of the victim's elsewhere names its tenant in a header; so does what might write we know not what.
		const needsHeader = !namesForeign && (!hasInside || !isKnown);
		this.#hasForeignHeader = needsHeader || dice.chance(pathFields.length === 0 ? 0.5 : 0.2);
		this.isPlain = namesForeign && !this.#hasForeignHeader;
		this.undoes = this.#input.writesOwn ? [name] : [];
		this.#seed = dice.seed();
	}

	requestFor(target: Belongings): RawRequest {
		const dice = new Dice(this.#seed);
		const own = this.attacker.owns;
		const { operation } = this.#input;
		const path = operation.path.replace(/\{([a-z_]+)\}/g, (_, field: string) => this.#segment(dice, field, target));
		const query = this.#query(dice, target);
		const headers: Headers = [...this.#credentials, ["x-request-id", REQUEST_ID]];
		if (this.#hasForeignHeader) headers.push(...foreignHeaders(dice, target, own, this.#actsElsewhere()));
		for (const { name } of operation.headerFields) {
			if (name.toLowerCase() === "x-tenant-id" || dice.chance(0.5)) continue;
			headers.push([name, dice.pick([target.tenantId, ...target.keyIds, ...target.keyHashes])]);
		}
		const body = this.#body(dice, target, headers);
		// What the own collection loses can't be given back.
		const method =
			!this.#isOwnCollection && dice.chance(0.01)
				? dice.pick(["GET", "PUT", "DELETE", "POST", "PATCH"])
				: operation.method;
		return {
			method,
			target: `${path}${query === "" || path.includes("?") ? "" : `?${query}`}`,
			headers,
			...(body === undefined ? {} : { body }),
		};
	}

	#actsElsewhere(): number {
		const { scope, method, pathFields, name } = this.#input.operation;
		if (this.#isByOperator) return 0;
		if (scope !== "tenant") return 0.3;
		// What writes nobody knows what must be kept from writing it in the attacker's own tenant. What only operators may do nobody here can.
		return method !== "GET" && pathFields.length === 0 && BODY_MAKERS[name] === undefined ? 1 : 0.6;
	}

	#segment(dice: Dice, field: string, target: Belongings): string {
		const own = this.attacker.owns;
		if (field === "collection") {
			if (this.#isOwnCollection) return SCRATCH;
			return pathSegment(dice, dice.pick(target.collections), target, own.tenantId);
		}
		if (field === "tenant_id" && this.#isByOperator) return own.tenantId;
		return pathSegment(dice, this.#input.named(dice, field, target), target, own.tenantId);
	}

	#query(dice: Dice, target: Belongings): string {
		const pairs: string[] = [];
		for (const field of this.#input.operation.queryFields) {
			if (dice.chance(0.5)) {
				pairs.push(`${field.name}=${encodeURIComponent(this.#input.queried(dice, field, target))}`);
			}
		}
		if (dice.chance(0.05)) {
			const extra = dice.pick(["tenant_id", "tenant", "collection", "api_key", "x-tenant-id", "as", "owner", "cursor"]);
			pairs.push(`${extra}=${dice.pick([target.tenantId, target.collections[0]!, target.keyIds[0]!])}`);
		}
		return pairs.join("&");
	}

	#body(dice: Dice, target: Belongings, headers: Headers): Uint8Array | undefined {
		const { bodyTypes } = this.#input.operation;
		const [firstType] = bodyTypes;
		if (firstType === undefined) return undefined;
		const made = this.#input.body(dice, target);
		if (typeof made !== "object" || made === null) {
			headers.push(["content-type", firstType]);
			return Buffer.from(String(made));
		}
		const fields: Record<string, unknown> = { ...made };
		if (dice.chance(0.06)) {
			const extra = dice.pick(["tenant_id", "tenant", "collection", "full_name", "owner", "namespace", "__proto__"]);
			Object.defineProperty(fields, extra, { value: target.tenantId, enumerable: true });
		}
		if (dice.chance(0.1) && bodyTypes.includes("application/msgpack")) {
			headers.push(["content-type", "application/msgpack"]);
			return encode(fields);
		}
		headers.push(["content-type", "application/json"]);
		return Buffer.from(JSON.stringify(fields));
	}
}
