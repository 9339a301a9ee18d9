import type { Condition, Filter, Match } from "../../src/base/filter.ts";
import type { VectorId } from "../../src/base/ids.ts";
import type { Payload, PayloadIndexType } from "../../src/base/schemas.ts";

/** Payloads and filters that meet: few fields, few values, every kind of value in every kind of field. */
export class FilterGenerator {
	#state: number;

	constructor(seed: number) {
		this.#state = seed >>> 0;
	}

	/** 0..bound-1. Source: mulberry32. */
	below(bound: number): number {
		this.#state = (this.#state + 0x6d2b79f5) >>> 0;
		let bits = this.#state;
		bits = Math.imul(bits ^ (bits >>> 15), bits | 1);
		bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
		return ((bits ^ (bits >>> 14)) >>> 0) % bound;
	}

	pick<T>(choices: readonly T[]): T {
		return choices[this.below(choices.length)] as T;
	}

	chance(percent: number): boolean {
		return this.below(100) < percent;
	}

	list<T>(countMax: number, make: () => T): T[] {
		return Array.from({ length: this.below(countMax + 1) }, make);
	}

	payload(): Payload | undefined {
		if (this.chance(3)) return undefined;
		const payload: Payload = {};
		for (const field of FIELDS) if (this.chance(75)) payload[field] = this.#fieldValue(field);
		if (this.chance(60)) {
			payload.items = this.chance(10)
				? this.#fieldValue("mixed")
				: this.list(3, () => (this.chance(10) ? this.#scalar() : this.#item()));
		}
		if (this.chance(40)) payload.place = this.chance(80) ? this.#point() : this.list(2, () => this.#point());
		return payload;
	}

	filter(depth = 3): Filter {
		const conditions = () => this.list(3, () => this.#condition(depth));
		const filter: { -readonly [K in keyof Filter]: Filter[K] } = {};
		if (this.chance(65) || depth < 3) filter.must = conditions();
		if (this.chance(40)) filter.should = conditions();
		if (this.chance(20)) filter.must_not = conditions();
		if (this.chance(15)) {
			filter.min_should = { conditions: [this.#condition(depth), ...conditions()], min_count: this.below(5) };
		}
		return filter;
	}

	id(): VectorId {
		return this.chance(50) ? this.below(12) : String(this.below(12));
	}

	#condition(depth: number): Condition {
		const kind = this.below(depth > 1 ? 14 : 12);
		const key = this.#key();
		switch (kind) {
			case 0:
			case 1:
			case 2:
			case 3:
				return { key, match: this.#match(key) };
			case 4:
			case 5:
				return { key, range: this.#range() };
			case 6:
				return { key: "place", geo_radius: { center: this.#point(), radius: this.below(8_000_000) } };
			case 7: {
				const [a, b] = [this.#point(), this.#point()];
				const [north, south] = a.lat > b.lat ? [a, b] : [b, a];
				return {
					key: "place",
					geo_bounding_box: { top_left: { lat: north.lat, lon: a.lon }, bottom_right: { lat: south.lat, lon: b.lon } },
				};
			}
			case 8:
				return { key, values_count: { [this.pick(["gt", "gte", "lt", "lte"])]: this.below(4) } };
			case 9:
				return { is_empty: { key } };
			case 10:
				return { is_null: { key } };
			case 11:
				return { has_id: this.list(6, () => this.id()) };
			case 12:
				return { nested: { key: this.pick(["items", "items[]"]), filter: this.filter(depth - 1) } };
			default:
				return this.filter(depth - 1);
		}
	}

	#key(): string {
		return this.pick([
			...FIELDS,
			...FIELDS,
			"mixed[]",
			"tags[0]",
			"items[].size",
			"items[].name",
			"size",
			"name",
			"items",
			"none",
		]);
	}

	#match(key: string): Match {
		const value = () => (key in VALUES && this.chance(70) ? this.pick(VALUES[key as Field]) : this.#scalar());
		const listed = () => this.list(3, value).filter((one) => typeof one === "string" || typeof one === "number");
		switch (this.below(5)) {
			case 0:
				return { any: listed() as string[] };
			case 1:
				return { except: listed() as string[] };
			case 2:
				return { text: this.chance(5) ? "?!" : [this.#word(), ...this.list(2, () => this.#word())].join(" ") };
			default:
				return { value: value() as string };
		}
	}

	#range(): Record<string, number | string> {
		const limit = this.chance(60) ? () => this.pick(NUMBERS) : () => this.pick(TIMES);
		const range = { [this.pick(["gt", "gte"])]: limit(), [this.pick(["lt", "lte"])]: limit() };
		if (this.chance(30)) delete range[Object.keys(range)[0] as string];
		if (this.chance(10)) range.gt = limit();
		return range;
	}

	#item(): Payload {
		const item: Payload = {};
		if (this.chance(80)) item.size = this.chance(80) ? this.pick(NUMBERS) : this.list(3, () => this.pick(NUMBERS));
		if (this.chance(80)) item.name = this.#word();
		return item;
	}

	#fieldValue(field: Field): unknown {
		const value = () => (this.chance(85) ? this.pick(VALUES[field]) : this.chance(50) ? this.#scalar() : null);
		if (this.chance(60)) return value();
		return this.list(3, () => (this.chance(5) ? [value()] : value()));
	}

	#scalar(): unknown {
		return this.pick(this.pick(Object.values(VALUES)));
	}

	#word(): string {
		const word = this.pick(WORDS);
		return this.chance(20) ? word.toUpperCase() : word;
	}

	#point(): { lat: number; lon: number } {
		return { lat: this.below(180) - 90 + 0.25 * this.below(2), lon: this.below(361) - 180 };
	}
}

const LONG = "long ".repeat(30);
const WORDS = ["red", "green", "blue", "naïve", "42"];
const NUMBERS = [-1e300, -2.5, -2, -1, -0, 0, 1, 1.5, 2, 3, 7, 2 ** 53, 5e-324];
const TIMES = [
	"1969-12-31T23:59:59.999Z",
	"1900-01-01T00:00:00Z",
	"1970-01-01T00:00:00Z",
	"2024-05-01T12:00:00Z",
	"2024-05-01T12:00:00.000Z",
	"2024-05-01T12:00:00.001Z",
	"0001-01-01T00:00:00Z",
	"9999-12-31T23:59:59Z",
];
const FIELDS = ["color", "count", "ratio", "flag", "when", "tags", "text", "mixed"] as const;
type Field = (typeof FIELDS)[number];
const VALUES: Readonly<Record<Field, readonly unknown[]>> = {
	color: ["red", "green", "blue", "Red", "", "\ufffd", LONG, `${LONG}!`, "1"],
	count: NUMBERS,
	ratio: NUMBERS,
	flag: [true, false],
	when: [...TIMES, "yesterday"],
	tags: ["red", "green", "a-b", "?!"],
	text: ["The red, green fox", "blue naïve 42", "GREEN", "red-blue", "...", LONG],
	mixed: ["1", 1, true, "true", 0, false, "2024-05-01T12:00:00Z", "red green"],
};

/** Indexes over some of the fields, one of each type and some that look into arrays; `tags` and `mixed[]` have one too. */
export const GENERATED_INDEXES: Readonly<Record<string, PayloadIndexType>> = {
	color: "keyword",
	count: "integer",
	ratio: "float",
	flag: "bool",
	when: "datetime",
	text: "text",
	tags: "keyword",
	mixed: "integer",
	"mixed[]": "keyword",
	'"mixed"[]': "text",
	"items[].size": "float",
	"items[].name": "keyword",
};
