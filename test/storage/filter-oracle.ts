import type { Condition, Filter } from "../../src/base/filter.ts";
import type { VectorId } from "../../src/base/ids.ts";

/**
 * What a filter means, written a second time: plainly, by interpretation, over lists of values. Shares no code with
 * the compiled evaluator, so that a slip in one shows in the other.
 */
export function oracleMatches(filter: Filter, payload: unknown, id: VectorId): boolean {
	const holds = (condition: Condition) => oracleHolds(condition, payload, id);
	const { must = [], should = [], must_not = [], min_should } = filter;
	if (must.filter(holds).length !== must.length) return false;
	if (should.length !== 0 && should.filter(holds).length === 0) return false;
	if (must_not.filter(holds).length !== 0) return false;
	return min_should === undefined || min_should.conditions.filter(holds).length >= min_should.min_count;
}

/** Only the plain paths that the tests generate: `a`, `a.b`, `a[]`, `a[].b`, `a[0]`. */
function valuesAt(payload: unknown, key: string): unknown[] {
	let values: unknown[] = [payload];
	for (const step of key.replaceAll("[", ".[").split(".")) {
		const next: unknown[] = [];
		for (const value of values) {
			if (step === "[]") {
				if (Array.isArray(value)) next.push(...value);
			} else if (step.startsWith("[")) {
				if (Array.isArray(value)) next.push(...value.slice(Number(step.slice(1, -1)), Number(step.slice(1, -1)) + 1));
			} else if (typeof value === "object" && value !== null && !Array.isArray(value)) {
				const entry = Object.entries(value).find(([name]) => name === step);
				if (entry !== undefined) next.push(entry[1]);
			}
		}
		values = next;
	}
	return values;
}

const opened = (values: unknown[]): unknown[] => values.flatMap((value) => (Array.isArray(value) ? value : [value]));

function oracleHolds(condition: Condition, payload: unknown, id: VectorId): boolean {
	if ("is_empty" in condition) {
		return valuesAt(payload, condition.is_empty.key).every((value) => ["null", "[]"].includes(JSON.stringify(value)));
	}
	if ("is_null" in condition) return valuesAt(payload, condition.is_null.key).includes(null);
	if ("has_id" in condition) return condition.has_id.some((wanted) => JSON.stringify(wanted) === JSON.stringify(id));
	if ("nested" in condition) {
		const { key, filter } = condition.nested;
		const elements = valuesAt(payload, key.endsWith("[]") ? key : `${key}[]`);
		return elements
			.filter((element) => JSON.stringify(element).startsWith("{"))
			.some((element) => oracleMatches(filter, element, id));
	}
	if (!("key" in condition)) return oracleMatches(condition, payload, id);
	const whole = valuesAt(payload, condition.key);
	const values = opened(whole);
	if ("match" in condition) {
		const { match } = condition;
		if ("value" in match) return values.includes(match.value);
		if ("any" in match) return match.any.some((value) => values.includes(value));
		if ("except" in match) return values.some((value) => value !== null && !match.except.includes(value as string));
		const words = (text: string) =>
			text
				.toLowerCase()
				.split(/[^\p{L}\p{N}]+/u)
				.filter((word) => word !== "");
		const wanted = words(match.text);
		const texts = values.filter((value) => typeof value === "string").map(words);
		return wanted.length > 0 && texts.some((text) => wanted.every((word) => text.includes(word)));
	}
	if ("range" in condition) {
		const isTime = Object.values(condition.range).some((bound) => typeof bound === "string");
		// The tests generate times that Date reads alike, whole milliseconds, always with a zone.
		const sized = values.flatMap((value) => {
			if (!isTime) return typeof value === "number" ? [value] : [];
			return typeof value === "string" && /^\d{4}-.*T.*Z$/.test(value) ? [Date.parse(value)] : [];
		});
		const bound = (name: "gt" | "gte" | "lt" | "lte") => {
			const limit = condition.range[name];
			return typeof limit === "string" ? Date.parse(limit) : limit;
		};
		return sized.some(
			(size) =>
				size > (bound("gt") ?? -Infinity) &&
				size >= (bound("gte") ?? -Infinity) &&
				size < (bound("lt") ?? Infinity) &&
				size <= (bound("lte") ?? Infinity),
		);
	}
	if ("values_count" in condition) {
		const { gt = -1, gte = 0, lt = Infinity, lte = Infinity } = condition.values_count;
		const counts = whole.map((value) => (Array.isArray(value) ? value.length : value === null ? 0 : 1));
		return (counts.length === 0 ? [0] : counts).some((n) => n > gt && n >= gte && n < lt && n <= lte);
	}
	const points = values.filter((value) => JSON.stringify(value)?.includes('"lat"')) as { lat: number; lon: number }[];
	if ("geo_radius" in condition) {
		const { center, radius } = condition.geo_radius;
		return points.some((point) => vectorDistance(point, center) < radius);
	}
	const { top_left, bottom_right } = condition.geo_bounding_box;
	const width = (bottom_right.lon - top_left.lon + 360) % 360;
	return points.some((point) => {
		const east = (point.lon - top_left.lon + 360) % 360;
		return point.lat < top_left.lat && point.lat > bottom_right.lat && east > 0 && east < width;
	});
}

/** The angle between two unit vectors, times the Earth's radius. */
function vectorDistance(a: { lat: number; lon: number }, b: { lat: number; lon: number }): number {
	const unit = ({ lat, lon }: { lat: number; lon: number }) => {
		const [phi, lambda] = [(lat / 180) * Math.PI, (lon / 180) * Math.PI];
		return [Math.cos(phi) * Math.cos(lambda), Math.cos(phi) * Math.sin(lambda), Math.sin(phi)] as const;
	};
	const [u, v] = [unit(a), unit(b)];
	const chord = Math.hypot(u[0] - v[0], u[1] - v[1], u[2] - v[2]);
	return 6_371_008.8 * 2 * Math.asin(Math.min(1, chord / 2));
}
