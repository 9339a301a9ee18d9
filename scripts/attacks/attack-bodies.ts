import type { Belongings } from "./belongings.ts";
import type { Dice } from "./dice.ts";

type Fields = Record<string, unknown>;

/** @returns a body that is well formed, and as far as anything in it names something, names what is `target`'s. */
export type BodyMaker = (dice: Dice, target: Belongings) => Fields | string;

const OWN_VECTOR = [0.5, 0.25, 0.125, 1];

export const anyId = (dice: Dice, { stringIds, numericIds, digitIds }: Belongings): string | number =>
	dice.pick<string | number>([
		...stringIds,
		...numericIds,
		...digitIds,
		...numericIds.map(String),
		...digitIds.map(Number),
	]);

const someIds = (dice: Dice, target: Belongings): (string | number)[] =>
	Array.from({ length: 1 + dice.below(3) }, () => anyId(dice, target));

/** Matches nothing but what is the target's. */
function filterOn(dice: Dice, target: Belongings, depth = 0): Fields {
	const text = dice.pick(target.payloadTexts);
	const condition = dice.pick<() => Fields>([
		() => ({ has_id: someIds(dice, target) }),
		() => ({ key: target.payloadField, match: { value: text } }),
		() => ({ key: "secret", match: { any: [...target.payloadTexts, target.tenantId] } }),
		() => ({ key: "secret", match: { text: target.payloadTexts[1] } }),
		() => ({ key: dice.pick(["tenant_id", "_tenant", "tenant", "full_name"]), match: { value: target.tenantId } }),
		() => ({ key: `${target.payloadField}[]`, match: { value: text } }),
		() => ({ key: target.payloadField, values_count: { gte: 1 } }),
		() => ({ key: target.payloadField, range: { gte: 0 } }),
		() => (depth < 3 ? filterOn(dice, target, depth + 1) : { has_id: someIds(dice, target) }),
	])();
	return dice.chance(0.5) ? { must: [condition] } : { should: [condition] };
}

function searchOf(dice: Dice, target: Belongings): Fields {
	return {
		...(dice.chance(0.4) ? { id: anyId(dice, target) } : { vector: dice.pick([OWN_VECTOR, ...target.vectors]) }),
		limit: 1 + dice.below(5),
		filter: filterOn(dice, target),
		...(dice.chance(0.3) ? { exact: true } : {}),
		...(dice.chance(0.3) ? { with_vector: true } : {}),
	};
}

const entryOf = (dice: Dice, target: Belongings): Fields => ({
	id: anyId(dice, target),
	vector: OWN_VECTOR,
	payload: { tenant_id: target.tenantId, [target.payloadField]: dice.pick(target.payloadTexts) },
});

const selector = (dice: Dice, target: Belongings): Fields =>
	dice.chance(0.5) ? { ids: someIds(dice, target) } : { filter: filterOn(dice, target) };

/** Of the operations with a body. One that is missing here gets bodies made from its schema. */
export const BODY_MAKERS: Readonly<Record<string, BodyMaker>> = {
	"collections.create": (dice, target) => ({
		name: dice.pick([
			...target.collections,
			target.collections[0]!.toUpperCase(),
			`${target.tenantId}:${target.collections[0]}`,
			`../${target.tenantId}/${target.collections[0]}`,
			target.tenantId,
			...target.collectionIds,
		]),
		dimension: 4,
	}),
	"collections.update": () => ({ hnsw: { ef_search: 40 } }),
	"vectors.upsert": (dice, target) => ({ vectors: [entryOf(dice, target)] }),
	"vectors.update": (_, target) => ({ payload: { note: target.payloadTexts[0] } }),
	"vectors.get_many": (dice, target) => ({ ...selector(dice, target), with_vector: true }),
	"vectors.delete_many": selector,
	"vectors.count": selector,
	"vectors.scroll": (dice, target) => ({
		limit: 2,
		...(dice.chance(0.7) ? { cursor: dice.pick(target.cursors) } : {}),
		...(dice.chance(0.5) ? { filter: filterOn(dice, target) } : {}),
	}),
	"search.query": searchOf,
	"search.batch": (dice, target) => ({ searches: [searchOf(dice, target), { vector: OWN_VECTOR, limit: 2 }] }),
	"search.multi": (dice, target) => ({ collections: [dice.pick(target.collections)], vector: OWN_VECTOR }),
	"documents.insert": (dice, target) => ({ path: dice.pick(target.stringIds), text: dice.pick(target.payloadTexts) }),
	"vectors.import": (dice, target) => `${JSON.stringify(entryOf(dice, target))}\n`,
	"payload_indexes.create": () => ({ type: "keyword" }),
	"tenants.create": (_, target) => ({ id: target.tenantId, name: target.tenantName }),
	"tenants.update": (dice) => dice.pick<Fields>([{ active: false }, { quota: { max_vectors: 0 } }, { name: "x" }]),
	"keys.create": (dice) => ({ permissions: dice.pick([["ADMIN"], ["READ_WRITE"]]), name: "mine" }),
	"keys.rotate": () => ({ grace_seconds: 0 }),
	"keys.validate": (dice, target) => ({
		api_key: dice.pick([...target.keyIds, ...target.keyHashes, ...target.maimedKeys]),
	}),
};
