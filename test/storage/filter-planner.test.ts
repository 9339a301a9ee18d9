import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ClassicLevel } from "classic-level";
import { type Filter, parseFilter } from "../../src/base/filter.ts";
import type { VectorId } from "../../src/base/ids.ts";
import type { Payload, PayloadIndexType } from "../../src/base/schemas.ts";
import { compileFilter } from "../../src/storage/filter-evaluator.ts";
import { type PostingReader, planFilter } from "../../src/storage/filter-planner.ts";
import { fieldPostings, type KeyRange, postingKeys, postingSlot } from "../../src/storage/payload-index.ts";
import { FilterGenerator, GENERATED_INDEXES } from "./filter-generator.ts";

type Definitions = Readonly<Record<string, PayloadIndexType>>;

/** Documents in a real LevelDB, as a shard keeps them: postings written and deleted with each change. */
class PostedDocuments implements PostingReader {
	readonly documents = new Map<number, { id: VectorId; payload: Payload | undefined }>();
	/** Keys read and ids looked up since the last plan. */
	readCount = 0;

	constructor(
		readonly db: ClassicLevel<Uint8Array, Uint8Array>,
		readonly definitions: Definitions,
	) {}

	async write(changes: { slot: number; id: VectorId; payload: Payload | undefined }[]): Promise<void> {
		const batch = this.db.batch();
		for (const { slot, id, payload } of changes) {
			for (const key of this.#keys(slot)) batch.del(key);
			this.documents.set(slot, { id, payload });
			for (const key of this.#keys(slot)) batch.put(key, Uint8Array.of());
		}
		await batch.write();
	}

	async remove(slots: number[]): Promise<void> {
		const batch = this.db.batch();
		for (const slot of slots) {
			for (const key of this.#keys(slot)) batch.del(key);
			this.documents.delete(slot);
		}
		await batch.write();
	}

	#keys(slot: number): Uint8Array[] {
		const payload = this.documents.get(slot)?.payload;
		return Object.entries(this.definitions).flatMap(([field, type]) => postingKeys(field, type, payload, slot));
	}

	async readSlots(range: KeyRange, keyCountMax: number): Promise<number[] | undefined> {
		const keys = await this.db.keys({ ...range, limit: keyCountMax + 1 }).all();
		this.readCount += keys.length;
		return keys.length > keyCountMax ? undefined : keys.map(postingSlot);
	}

	async slotsOfIds(ids: readonly VectorId[]): Promise<number[]> {
		this.readCount += ids.length;
		return [...this.documents].filter(([, { id }]) => ids.includes(id)).map(([slot]) => slot);
	}

	matches(filter: Filter): number[] {
		const test = compileFilter(filter);
		return [...this.documents].filter(([, { id, payload }]) => test(payload, id)).map(([slot]) => slot);
	}

	async plan(filter: Filter, slotLimit: number) {
		this.readCount = 0;
		return await planFilter(filter, this.definitions, this, { slotLimit });
	}
}

let folder: string;
let dbCount = 0;
const open: ClassicLevel<Uint8Array, Uint8Array>[] = [];

async function posted(definitions: Definitions): Promise<PostedDocuments> {
	const db = new ClassicLevel<Uint8Array, Uint8Array>(join(folder, String(dbCount++)), {
		keyEncoding: "view",
		valueEncoding: "view",
	});
	await db.open();
	open.push(db);
	return new PostedDocuments(db, definitions);
}

beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "filter-planner-"));
});
afterAll(async () => {
	for (const db of open) await db.close();
	await rm(folder, { recursive: true });
});

test("a plan holds every match of a generated filter, and only them when it says so, through writes and removals", async () => {
	const generator = new FilterGenerator(7);
	const shard = await posted(GENERATED_INDEXES);
	let [planCount, exactCount, narrowCount] = [0, 0, 0];
	for (let round = 0; round < 80; round++) {
		const changes = new Map<number, { slot: number; id: VectorId; payload: Payload | undefined }>();
		for (let change = 0; change < 40; change++) {
			const slot = generator.below(150);
			const id = slot % 2 === 0 ? slot : String(slot);
			changes.set(slot, { slot, id, payload: generator.payload() });
		}
		await shard.write([...changes.values()]);
		await shard.remove(generator.list(20, () => generator.below(150)));
		for (let query = 0; query < 60; query++) {
			const whole = generator.filter();
			// Alone, a condition is more often one that the indexes answer exactly.
			const filter = generator.chance(50) ? whole : { must: (whole.must ?? []).slice(0, 1) };
			const slotLimit = generator.pick([1, 5, 40, 200, 1_000]);
			const plan = await shard.plan(filter, slotLimit);
			if (plan === undefined) continue;
			const matches = shard.matches(filter);
			const missing = matches.filter((slot) => !plan.slots.has(slot));
			if (missing.length > 0 || (plan.exact && plan.slots.count !== matches.length)) {
				throw new Error(`missing ${missing}, exact ${plan.exact}: ${JSON.stringify(filter, null, 1)}`);
			}
			expect(plan.slots.count).toBeLessThanOrEqual(slotLimit);
			expect([...plan.slots].every((slot) => shard.documents.has(slot))).toBe(true);
			planCount++;
			if (plan.exact && plan.slots.count > 0) exactCount++;
			if (plan.slots.count > 0 && plan.slots.count < shard.documents.size) narrowCount++;
		}
	}
	expect(planCount).toBeGreaterThan(300);
	expect(exactCount).toBeGreaterThan(50);
	expect(narrowCount).toBeGreaterThan(150);

	await shard.remove([...shard.documents.keys()]);
	expect(await shard.db.keys().all()).toEqual([]);
});

describe("what is planned", () => {
	const documents: Payload[] = Array.from({ length: 200 }, (_, slot) => ({
		group: slot % 2 === 0 ? "even" : "odd",
		rank: slot,
		at: new Date(Date.UTC(2024, 0, 1 + slot)).toISOString(),
		title: `Item number ${slot} of ${slot % 5 === 0 ? "five" : "none"}`,
		parts: [{ size: slot % 10 }, { size: 100 + (slot % 20) }],
		tags: [`t${slot % 20}`, "all"],
		plain: slot,
		big: `${"x".repeat(100)}${slot % 4}`,
	}));
	const definitions: Definitions = {
		group: "keyword",
		rank: "integer",
		at: "datetime",
		title: "text",
		"parts[].size": "integer",
		tags: "keyword",
		big: "keyword",
		"broken[": "keyword",
	};
	let shard: PostedDocuments;
	beforeAll(async () => {
		shard = await posted(definitions);
		await shard.write(documents.map((payload, slot) => ({ slot, id: slot, payload })));
	});

	const rank = (value: number) => ({ key: "rank", match: { value } });
	const rest = { key: "plain", range: { gte: 0 } };
	const even = { key: "group", match: { value: "even" } };
	const t4 = { key: "tags", match: { value: "t4" } };
	const part = (value: number) => ({ key: "size", match: { value } });
	const table: [rule: string, filter: unknown, slots: number[], exact: boolean][] = [
		["one value", { must: rank(3) }, [3], true],
		["a value that nothing has", { must: [rank(3.5), rest] }, [], true],
		["values of a list", { must: { key: "rank", match: { any: [3, 4, 4, 999] } } }, [3, 4], true],
		["an empty list", { must: { key: "plain", match: { any: [] } } }, [], true],
		["a range", { must: { key: "rank", range: { gt: 1, lte: 4 } } }, [2, 3, 4], true],
		["the narrower of two bounds", { must: { key: "rank", range: { gt: 1, gte: 0, lt: 4, lte: 4 } } }, [2, 3], true],
		["a range of times", { must: { key: "at", range: { gte: "2024-01-02", lt: "2024-01-04" } } }, [1, 2], true],
		["a range that is empty", { must: { key: "rank", range: { gt: 5, lt: 4 } } }, [], true],
		["a range past all values", { must: { key: "rank", range: { gt: 199 } } }, [], true],
		["a time as a value", { must: { key: "at", match: { value: "2024-01-02" } } }, [1], false],
		["a word", { must: { key: "title", match: { text: "SEVEN 17" } } }, [], true],
		["words narrow, and are checked", { must: { key: "title", match: { text: "item 17" } } }, [17], false],
		[
			"a text as a value, by its words",
			{ must: { key: "title", match: { value: "Item number 7 of none" } } },
			[7],
			false,
		],
		["a text without words", { must: { key: "title", match: { text: "-" } } }, [], true],
		["long keywords share postings at worst", { must: [{ key: "big", match: { value: "x".repeat(100) } }] }, [], true],
		["ids", { must: { has_id: [5, 6, "5"] } }, [5, 6], true],
		["the selective of two conditions", { must: [t4, rank(4)] }, [4], true],
		["two that exclude each other", { must: [t4, rank(5)] }, [], true],
		["a condition that must be checked", { must: [rank(4), rest] }, [4], false],
		["must_not is left to the check", { must: [rank(4)], must_not: [even] }, [4], false],
		["should of indexed branches", { should: [rank(4), { must: [rank(8)] }, { has_id: [9] }] }, [4, 8, 9], true],
		["should, with a branch to be checked", { should: [rank(4), { must: [rank(8), rest] }] }, [4, 8], false],
		["min_should of one", { min_should: { conditions: [rank(4), rank(5)], min_count: 1 } }, [4, 5], true],
		["min_should of all", { min_should: { conditions: [rank(4), t4], min_count: 2 } }, [4], true],
		[
			"min_should of two of three: any two of them hold all matches",
			{ min_should: { conditions: [rest, rank(4), rank(5)], min_count: 2 } },
			[4, 5],
			false,
		],
		["min_should past its conditions", { min_should: { conditions: [rest], min_count: 2 } }, [], true],
		[
			"nested, one condition",
			{ must: [{ nested: { key: "parts", filter: { must: [part(3)] } } }, { key: "rank", range: { lt: 20 } }] },
			[3, 13],
			true,
		],
		[
			"nested, two conditions narrow, and are checked",
			{
				must: [
					{ nested: { key: "parts", filter: { must: [part(3), part(103)] } } },
					{ key: "rank", range: { lt: 20 } },
				],
			},
			[3],
			false,
		],
		[
			"nested, should",
			{
				must: [
					{ nested: { key: "parts[]", filter: { should: [part(3), part(4)] } } },
					{ key: "rank", range: { lt: 10 } },
				],
			},
			[3, 4],
			true,
		],
		["nested, an id", { must: { nested: { key: "none", filter: { must: { has_id: [3] } } } } }, [3], false],
		[
			"an array's values",
			{ must: { key: "tags", match: { value: "t7" } } },
			[7, 27, 47, 67, 87, 107, 127, 147, 167, 187],
			true,
		],
	];
	for (const [rule, filter, slots, exact] of table) {
		test(rule, async () => {
			const parsed = parseFilter(filter);
			const plan = await shard.plan(parsed, 50);
			expect([...(plan?.slots ?? ["none"])]).toEqual(slots);
			expect(plan?.exact).toBe(exact);
			expect(shard.matches(parsed).filter((slot) => !slots.includes(slot))).toEqual([]);
		});
	}

	const unplanned: [rule: string, filter: unknown][] = [
		["nothing asked", {}],
		["no index on the field", { must: [rest] }],
		["an index of another path", { must: [{ key: "parts.size", match: { value: 3 } }] }],
		["a value that the index does not post", { must: [{ key: "rank", match: { value: "3" } }] }],
		["values of which one is not posted", { must: [{ key: "rank", match: { any: [3, "3"] } }] }],
		["numbers against a time index", { must: [{ key: "at", range: { gt: 1 } }] }],
		["times against a number index", { must: [{ key: "rank", range: { gt: "2024-01-01" } }] }],
		["words against a keyword index", { must: [{ key: "group", match: { text: "even" } }] }],
		["a text without words as a value", { must: [{ key: "title", match: { value: "-" } }] }],
		["except", { must: [{ key: "group", match: { except: ["even"] } }] }],
		[
			"emptiness, counts and places",
			{
				must: [
					{ is_empty: { key: "rank" } },
					{ is_null: { key: "rank" } },
					{ key: "tags", values_count: { gt: 1 } },
					{ key: "group", geo_radius: { center: { lat: 0, lon: 0 }, radius: 1 } },
				],
			},
		],
		["must_not alone", { must_not: [rank(3)] }],
		["should with a branch that is not indexed", { should: [rank(3), rest] }],
		["min_should with too few indexed branches", { min_should: { conditions: [rank(3), rest, rest], min_count: 2 } }],
		["min_should of all, none indexed", { min_should: { conditions: [rest, rest], min_count: 2 } }],
		["min_should of none", { min_should: { conditions: [rank(3)], min_count: 0 } }],
		["more matches than the limit", { must: [even] }],
		[
			"a union past the limit",
			{
				should: [
					{ key: "rank", range: { lt: 30 } },
					{ key: "rank", range: { gte: 170 } },
				],
			},
		],
		["more ids than the limit", { must: [{ has_id: Array.from({ length: 51 }, (_, id) => id) }] }],
		["nested without a condition to go by", { must: [{ nested: { key: "parts", filter: {} } }] }],
	];
	for (const [rule, filter] of unplanned) {
		test(`no plan: ${rule}`, async () => {
			expect(await shard.plan(parseFilter(filter), 50)).toBeUndefined();
		});
	}

	test("a broad condition beside a selective one is left to the check rather than read", async () => {
		const plan = await shard.plan(parseFilter({ must: [rank(4), { key: "tags", match: { value: "all" } }] }), 1_000);
		expect([...(plan?.slots ?? [])]).toEqual([4]);
		expect(plan?.exact).toBe(false);
		expect(shard.readCount).toBeLessThan(100);
	});

	test("a broader condition is read where that spares many checks", async () => {
		const filter = parseFilter({ must: [even, { key: "rank", range: { lt: 20 } }] });
		expect(await shard.plan(filter, 200)).toMatchObject({ exact: true, slots: { count: 10 } });
	});

	test("a filter of many broad conditions reads no more than a multiple of the limit", async () => {
		const must = Array.from({ length: 999 }, () => even);
		expect(await shard.plan(parseFilter({ must }), 50)).toBeUndefined();
		expect(shard.readCount).toBeLessThanOrEqual(4_096 + 999);
		expect(await shard.plan(parseFilter({ must: must.slice(0, 20) }), 150)).toMatchObject({ slots: { count: 100 } });
		const any = Array.from({ length: 5_000 }, (_, value) => -1 - value);
		expect(await shard.plan(parseFilter({ must: { key: "rank", match: { any } } }), 50)).toBeUndefined();
	});

	test("a dropped index leaves no postings, and a field whose name begins alike keeps its own", async () => {
		const two = await posted({ a: "keyword", ab: "keyword", '"a"': "text" });
		await two.write([{ slot: 1, id: 1, payload: { a: "x", ab: "x" } }]);
		expect((await two.db.keys().all()).length).toBe(3);
		await two.db.clear(fieldPostings("a"));
		const left = await two.db.keys().all();
		expect(left.length).toBe(2);
		expect((await two.db.keys(fieldPostings("ab")).all()).length).toBe(1);
	});
});
