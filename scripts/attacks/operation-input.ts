import fc from "fast-check";
import type { ApiDocument, ApiField, ApiOperation } from "./api-operations.ts";
import { anyId, BODY_MAKERS } from "./attack-bodies.ts";
import { SCRATCH } from "./attack-world.ts";
import type { Belongings } from "./belongings.ts";
import type { Dice } from "./dice.ts";
import { nameInText } from "./name-tricks.ts";
import { valuesOf } from "./schema-values.ts";

type Fields = Record<string, unknown>;

/** What a call of an operation says, in whatever protocol: well formed, and where it names something, it is the target's. */
export class OperationInput {
	constructor(
		private readonly document: ApiDocument,
		readonly operation: ApiOperation,
		/** Whether the collection is the attacker's own. */
		private readonly isOwnCollection: boolean,
	) {}

	/** Whether what a successful call does to the attacker's own tenant is known, and can be undone. */
	get isKnown(): boolean {
		const { method, name } = this.operation;
		return method === "GET" || BODY_MAKERS[name] !== undefined || name === "vectors.delete_one";
	}

	/** Whether what it writes, if it may, lands in the attacker's own tenant. */
	get writesOwn(): boolean {
		const { method, pathFields } = this.operation;
		return method !== "GET" && (this.isOwnCollection || pathFields.length === 0);
	}

	/** Of a field in the path, other than the collection. */
	named(dice: Dice, field: string, target: Belongings): string | number {
		if (field === "id" && this.operation.name.startsWith("vectors.")) return anyId(dice, target);
		if (field === "field") return target.payloadField;
		if (field === "tenant_id") return target.tenantId;
		if (field === "key_id") return dice.pick(target.keyIds);
		return dice.pick([...target.stringIds, ...target.collections, ...target.keyIds, target.tenantId]);
	}

	/** Of a field in the query. */
	queried(dice: Dice, field: ApiField, target: Belongings): string | number | boolean {
		if (field.name === "tenant_id") return target.tenantId;
		if (field.name === "cursor") return dice.pick([...target.cursors, target.tenantId]);
		if (field.name === "path") return dice.pick(target.stringIds);
		const schema = this.document.resolve(field.schema);
		if (Array.isArray(schema.enum)) return String(dice.pick(schema.enum));
		if (schema.type === "boolean") return dice.chance(0.5);
		if (schema.type === "integer") return 2;
		return dice.pick([target.tenantId, ...target.stringIds, ...target.payloadTexts]);
	}

	body(dice: Dice, target: Belongings): unknown {
		return BODY_MAKERS[this.operation.name]?.(dice, target) ?? this.#bodyBySchema(dice, target);
	}

	/** All of it as one object, as protocols have it that know no paths. */
	fields(dice: Dice, target: Belongings, ownTenantId: string): Fields {
		const { pathFields, queryFields, bodyTypes } = this.operation;
		const fields: Fields = {};
		for (const { name } of pathFields) {
			const isOwn = name === "collection" && this.isOwnCollection;
			const value = name === "collection" ? dice.pick(target.collections) : this.named(dice, name, target);
			const isExact = typeof value === "number" && dice.chance(0.5);
			fields[name] = isOwn ? SCRATCH : isExact ? value : nameInText(dice, value, target, ownTenantId);
		}
		for (const field of queryFields) if (dice.chance(0.7)) fields[field.name] = this.queried(dice, field, target);
		const body = bodyTypes.length === 0 ? undefined : this.body(dice, target);
		return typeof body === "object" ? { ...fields, ...body } : fields;
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
