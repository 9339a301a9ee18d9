import { encode } from "@msgpack/msgpack";
import fc from "fast-check";
import type { ApiDocument, ApiField, ApiOperation } from "./api-operations.ts";
import { anyId, BODY_MAKERS } from "./attack-bodies.ts";
import { type AttackWorld, type Inhabitant, SCRATCH } from "./attack-world.ts";
import type { Belongings } from "./belongings.ts";
import { Dice } from "./dice.ts";
import { pathSegment } from "./name-tricks.ts";
import { asBytes, type RawRequest } from "./raw-http.ts";
import { valuesOf } from "./schema-values.ts";

/** Sent with every call, so that answers can be compared byte for byte. */
export const REQUEST_ID = "attack-request";

/** One generated call: the same in all but whose things it names. */
export interface Attack {
	readonly operation: ApiOperation;
	/** Makes the same call again. */
	readonly seed: number;
	readonly victim: { readonly owns: Belongings; readonly shadow: Belongings };
	/** Whether the path names the victim's things as they are written, and nothing else is odd about the call. */
	readonly isPlain: boolean;
	/** Whether what it writes, if it may, lands in the attacker's own scratch collection. */
	readonly writesOwn: boolean;
	requestFor(target: Belongings): RawRequest;
}

type Headers = (readonly [string, string])[];

/** Operations that an operator's key legitimately answers about other tenants. */
const OPERATOR_MAY = /^(?:tenants|keys|cluster|audit|metrics|health|hub)\.|^usage/;
/** Of the operators' own, those that name a thing of one tenant under another: the path's tenant is the attacker's. */
const CROSSED_BY_OPERATOR = new Set(["keys.revoke", "keys.rotate"]);

/** Those that work on the disk when they succeed are rarer, or the run would measure the disk. */
const WEIGHTS: Readonly<Record<string, number>> = { "collections.create": 0.4, "payload_indexes.create": 0.3 };
/** They name nobody's things, or are limited to a few a minute. */
const PUBLIC_WEIGHT = 0.3;

export function pickOperation(dice: Dice, operations: readonly ApiOperation[]): ApiOperation {
	for (;;) {
		const operation = dice.pick(operations);
		const usual = operation.scope === "public" ? PUBLIC_WEIGHT : 1;
		if (dice.chance(WEIGHTS[operation.name] ?? usual)) return operation;
	}
}

/** Decides all about one call but whose things it names. The same seed decides the same. */
export function planAttack(
	world: AttackWorld,
	document: ApiDocument,
	attacker: Inhabitant,
	operation: ApiOperation,
	seed: number,
): Attack {
	const dice = new Dice(seed);
	const others: { owns: Belongings; shadow: Belongings }[] = world.inhabitants.filter((each) => each !== attacker);
	const victim = dice.chance(0.03) ? world.system : dice.pick(others);
	const call = new CallChoices(world, document, attacker, operation, dice);
	return {
		operation,
		seed,
		victim,
		isPlain: call.isPlain,
		writesOwn: call.isOwnCollection,
		requestFor: (target) => call.requestFor(target),
	};
}

class CallChoices {
	readonly isOwnCollection: boolean;
	readonly isPlain: boolean;
	readonly #credentials: Headers;
	readonly #isByOperator: boolean;
	readonly #hasForeignHeader: boolean;
	readonly #seed: number;

	constructor(
		world: AttackWorld,
		private readonly document: ApiDocument,
		private readonly attacker: Inhabitant,
		private readonly operation: ApiOperation,
		dice: Dice,
	) {
		const { name, pathFields, bodyTypes } = operation;
		const isOperators = CROSSED_BY_OPERATOR.has(name);
		const mayBeOperator = isOperators || (operation.scope === "tenant" && !OPERATOR_MAY.test(name));
		this.#isByOperator = mayBeOperator && dice.chance(isOperators ? 0.3 : 0.05);
		this.#credentials = this.#isByOperator
			? [
					["authorization", `Bearer ${world.operatorKey}`],
					["x-tenant-id", attacker.owns.tenantId],
				]
			: credentialsOf(dice, attacker);
		const namesCollection = pathFields.some((field) => field.name === "collection");
		const hasInside = bodyTypes.length > 0 || pathFields.length > 1;
		const isKnown = operation.method === "GET" || BODY_MAKERS[name] !== undefined || name === "vectors.delete_one";
		this.isOwnCollection = namesCollection && hasInside && isKnown && dice.chance(0.35);
		const namesForeign = pathFields.length > 0 && !this.isOwnCollection;
		// What names nothing of the victim's elsewhere names its tenant in a header; so does what might write we know not what.
		const needsHeader = !namesForeign && (!hasInside || !isKnown);
		this.#hasForeignHeader = needsHeader || dice.chance(pathFields.length === 0 ? 0.5 : 0.2);
		this.isPlain = namesForeign && !this.#hasForeignHeader;
		this.#seed = dice.seed();
	}

	requestFor(target: Belongings): RawRequest {
		const dice = new Dice(this.#seed);
		const { operation, attacker } = this;
		const own = attacker.owns;
		const path = operation.path.replace(/\{([a-z_]+)\}/g, (_, field: string) => this.#segment(dice, field, target));
		const query = this.#query(dice, target);
		const headers: Headers = [...this.#credentials, ["x-request-id", REQUEST_ID]];
		if (this.#hasForeignHeader) headers.push(...foreignHeaders(dice, target, own, operation, this.#isByOperator));
		for (const { name } of operation.headerFields) {
			if (name.toLowerCase() === "x-tenant-id" || dice.chance(0.5)) continue;
			headers.push([name, dice.pick([target.tenantId, ...target.keyIds, ...target.keyHashes])]);
		}
		const body = this.#body(dice, target, headers);
		// What the own collection loses can't be given back.
		const method =
			!this.isOwnCollection && dice.chance(0.01)
				? dice.pick(["GET", "PUT", "DELETE", "POST", "PATCH"])
				: operation.method;
		return {
			method,
			target: `${path}${query === "" || path.includes("?") ? "" : `?${query}`}`,
			headers,
			...(body === undefined ? {} : { body }),
		};
	}

	#segment(dice: Dice, field: string, target: Belongings): string {
		const own = this.attacker.owns;
		if (field === "collection") {
			if (this.isOwnCollection) return SCRATCH;
			return pathSegment(dice, dice.pick(target.collections), target, own.tenantId);
		}
		if (field === "tenant_id" && this.#isByOperator) return own.tenantId;
		return pathSegment(dice, this.#named(dice, field, target), target, own.tenantId);
	}

	#named(dice: Dice, field: string, target: Belongings): string | number {
		if (field === "id" && this.operation.name.startsWith("vectors.")) return anyId(dice, target);
		if (field === "field") return target.payloadField;
		if (field === "tenant_id") return target.tenantId;
		if (field === "key_id") return dice.pick(target.keyIds);
		return dice.pick([...target.stringIds, ...target.collections, ...target.keyIds, target.tenantId]);
	}

	#query(dice: Dice, target: Belongings): string {
		const pairs: string[] = [];
		for (const field of this.operation.queryFields) {
			if (dice.chance(0.5)) pairs.push(`${field.name}=${encodeURIComponent(this.#queryValue(dice, field, target))}`);
		}
		if (dice.chance(0.05)) {
			const extra = dice.pick(["tenant_id", "tenant", "collection", "api_key", "x-tenant-id", "as", "owner", "cursor"]);
			pairs.push(`${extra}=${dice.pick([target.tenantId, target.collections[0]!, target.keyIds[0]!])}`);
		}
		return pairs.join("&");
	}

	#queryValue(dice: Dice, field: ApiField, target: Belongings): string {
		if (field.name === "tenant_id") return target.tenantId;
		if (field.name === "cursor") return dice.pick([...target.cursors, target.tenantId]);
		const schema = this.document.resolve(field.schema);
		if (Array.isArray(schema.enum)) return String(dice.pick(schema.enum));
		if (schema.type === "boolean") return dice.pick(["true", "false"]);
		if (schema.type === "integer") return "2";
		return dice.pick([target.tenantId, ...target.stringIds, ...target.payloadTexts]);
	}

	#body(dice: Dice, target: Belongings, headers: Headers): Uint8Array | undefined {
		const { operation } = this;
		const [firstType] = operation.bodyTypes;
		if (firstType === undefined) return undefined;
		const made = BODY_MAKERS[operation.name]?.(dice, target) ?? this.#bodyBySchema(dice, target);
		if (typeof made !== "object" || made === null) {
			headers.push(["content-type", firstType]);
			return Buffer.from(String(made));
		}
		const fields: Record<string, unknown> = { ...made };
		if (dice.chance(0.06)) {
			const extra = dice.pick(["tenant_id", "tenant", "collection", "full_name", "owner", "namespace", "__proto__"]);
			Object.defineProperty(fields, extra, { value: target.tenantId, enumerable: true });
		}
		if (dice.chance(0.1) && operation.bodyTypes.includes("application/msgpack")) {
			headers.push(["content-type", "application/msgpack"]);
			return encode(fields);
		}
		headers.push(["content-type", "application/json"]);
		return Buffer.from(JSON.stringify(fields));
	}

	/** For operations that came after the body makers: valid by their schema, with a text of the target's where texts stand. */
	#bodyBySchema(dice: Dice, target: Belongings): unknown {
		const { bodySchema } = this.operation;
		if (bodySchema === undefined) return {};
		const [value] = fc.sample(valuesOf(bodySchema, this.document, { junk: 0 }), { seed: dice.seed() | 0, numRuns: 1 });
		const name = dice.pick([target.tenantId, ...target.collections, ...target.stringIds]);
		return typeof value === "object" && value !== null ? replaceTexts(value, name) : value;
	}
}

/** A copy in which every text that is free to be anything is `text`. */
function replaceTexts(value: object, text: string): unknown {
	if (Array.isArray(value)) return value.map((entry) => replaceLeaf(entry, text));
	return Object.fromEntries(Object.entries(value).map(([key, entry]) => [key, replaceLeaf(entry, text)]));
}

const replaceLeaf = (value: unknown, text: string): unknown =>
	typeof value === "string" ? text : typeof value === "object" && value !== null ? replaceTexts(value, text) : value;

function credentialsOf(dice: Dice, { keys }: Inhabitant): Headers {
	const roll = dice.next();
	if (roll < 0.02) return [];
	if (roll < 0.04) return [["authorization", `Bearer ${keys.revoked}`]];
	const key = roll < 0.1 ? keys.MCP : roll < 0.25 ? keys.READ_ONLY : keys.READ_WRITE;
	return dice.chance(0.3) ? [["x-api-key", key]] : [["authorization", `Bearer ${key}`]];
}

/** Headers by which a careless server might take the caller for somebody else, or for somewhere else. */
function foreignHeaders(
	dice: Dice,
	target: Belongings,
	own: Belongings,
	operation: ApiOperation,
	isByOperator: boolean,
): Headers {
	const { tenantId } = target;
	const stolen = dice.pick([...target.keyHashes, ...target.maimedKeys, ...target.keyIds]);
	const acting: readonly Headers[] = [
		[["x-tenant-id", tenantId]],
		[["X-TENANT-ID", tenantId.toUpperCase()]],
		[["x-tenant-id", `${own.tenantId}, ${tenantId}`]],
		[
			["x-tenant-id", own.tenantId],
			["x-tenant-id", tenantId],
		],
		[["x-tenant-id", ` ${tenantId} `]],
		[["x-tenant-id", `${tenantId}:${target.collections[0]}`]],
		[["x-tenant-id", asBytes(`${tenantId}\u200b`)]],
		[["x-tenant-id", `../${tenantId}`]],
	];
	const around: readonly Headers[] = [
		[["x-api-key", stolen]],
		[["authorization", `Bearer ${stolen}`]],
		[["authorization", `Basic ${Buffer.from(`${tenantId}:${stolen}`).toString("base64")}`]],
		[["x-forwarded-for", "127.0.0.1"]],
		[
			["x-forwarded-for", `10.0.0.1, ${tenantId}`],
			["x-real-ip", "127.0.0.1"],
		],
		[["forwarded", `for=127.0.0.1;host=${tenantId};proto=https`]],
		[["x-original-url", `/api/v1/collections/${target.collections[0]}`]],
		[["x-rewrite-url", `/api/v1/tenants/${tenantId}`]],
		[["x-http-method-override", "DELETE"]],
		[["x-forwarded-host", `${tenantId}.example.com`]],
		[["host", `${tenantId}.example.com`]],
		[["origin", `https://${tenantId}.example.com`]],
		[["referer", `https://${tenantId}.example.com/`]],
		[["cookie", `tenant_id=${tenantId}; api_key=${stolen}; session=${target.keyIds[0]}`]],
		[["x-tenant", tenantId]],
		[
			["x-user", tenantId],
			["x-hivehub-internal", "true"],
			["x-admin", "true"],
		],
		[["if-none-match", `"${target.collections[0]}"`]],
		[["accept", "application/msgpack"]],
	];
	const actsElsewhere = !isByOperator && (operation.scope === "tenant" ? dice.chance(0.6) : dice.chance(0.3));
	// What writes nobody knows what must be kept from writing it in the attacker's own tenant. What only operators may do nobody here can.
	const mustActElsewhere =
		operation.scope === "tenant" &&
		operation.method !== "GET" &&
		operation.pathFields.length === 0 &&
		!BODY_MAKERS[operation.name];
	if (!actsElsewhere && !(mustActElsewhere && !isByOperator)) return dice.pick(around);
	return [...dice.pick(acting), ...(dice.chance(0.3) ? dice.pick(around) : [])];
}
