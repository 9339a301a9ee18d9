/**
 * An operation's output as JSON and msgpack can carry it: each Float32Array becomes an array of numbers. Whatever holds
 * none is returned as it is, not copied.
 */
export function toWireValue(value: unknown): unknown {
	if (typeof value !== "object" || value === null) return value;
	if (value instanceof Float32Array) return Array.from(value, shortestNumber);
	return Array.isArray(value) ? arrayToWire(value) : recordToWire(value as Record<string, unknown>);
}

function arrayToWire(values: readonly unknown[]): unknown {
	let copy: unknown[] | undefined;
	for (let index = 0; index < values.length; index++) {
		const value = values[index];
		if (typeof value !== "object") continue;
		const wire = toWireValue(value);
		if (wire === value) continue;
		copy ??= values.slice();
		copy[index] = wire;
	}
	return copy ?? values;
}

function recordToWire(record: Record<string, unknown>): unknown {
	let copy: Record<string, unknown> | undefined;
	for (const name of Object.keys(record)) {
		const value = record[name];
		if (typeof value !== "object") continue;
		const wire = toWireValue(value);
		if (wire === value) continue;
		copy ??= { ...record };
		copy[name] = wire;
	}
	return copy ?? record;
}

/** Exact as doubles; 10^22 is the last one. */
const POWERS_OF_TEN = Array.from({ length: 23 }, (_, exponent) => Number(`1e${exponent}`));

/**
 * The number with the fewest decimal digits that rounds to this float32: whoever inserted 0.1 reads 0.1, not
 * 0.10000000149011612. Nine significant digits tell any two float32 apart.
 */
export function shortestNumber(float: number): number {
	if (Number.isInteger(float) || !Number.isFinite(float)) return float;
	const magnitude = Math.floor(Math.log10(Math.abs(float)));
	for (let digits = 5; digits <= 9; digits++) {
		const decimals = digits - 1 - magnitude;
		const power = POWERS_OF_TEN[decimals];
		// Very large or small: all digits of the double are as right, only longer.
		if (power === undefined) return float;
		// Integer and power are exact, so the division gives the double nearest to the decimal number.
		const candidate = Math.round(float * power) / power;
		if (Math.fround(candidate) === float) return candidate;
	}
	return float;
}
