import { z } from "zod";
import { LIMITS } from "./limits.ts";
import type { Payload } from "./schemas.ts";

/**
 * Where in a payload a condition or an index looks. The syntax is Qdrant's: keys joined by dots, `[]` after a key for
 * every element of an array, `[3]` for one element, and quotes around a key that holds a dot or a bracket
 * (`"first.name".given`). A key without quotes may hold anything but `.`, `[`, `]` and `"`.
 */
export interface PayloadPath {
	/** One spelling for all ways to write the same path: equal paths have equal texts. */
	readonly text: string;
	readonly steps: readonly PathStep[];
}

/** A string is an object's key, a number an array's index, `null` every element of an array. */
export type PathStep = string | number | null;

const STEP = /"([^"\\]*)"|([^.[\]"]+)|\[(\d{1,9})?\]/y;

export const fieldPathSchema = z
	.string()
	.min(1)
	.max(LIMITS.payloadFieldPathLengthMax)
	.refine((text) => parsePayloadPath(text) !== undefined, {
		error: 'a payload field is keys joined by dots, such as city, address.city, tags[] or "a key.with dots"',
	})
	.describe("a payload field; dots reach into objects, `[]` into each element of an array");

/** @returns the path, or undefined where the text is none (empty, a lone surrogate, a dot or bracket out of place). */
export function parsePayloadPath(text: string): PayloadPath | undefined {
	if (!text.isWellFormed()) return undefined;
	const steps: PathStep[] = [];
	let at = 0;
	while (at < text.length) {
		const isBracket = text[at] === "[";
		if (steps.length === 0 ? isBracket : !isBracket) {
			if (steps.length === 0 || text[at] !== ".") return undefined;
			at++;
		}
		STEP.lastIndex = at;
		const found = STEP.exec(text);
		if (found === null || (text[at] === "[") !== isBracket) return undefined;
		const key = found[1] ?? found[2];
		steps.push(key ?? (found[3] === undefined ? null : Number(found[3])));
		at = STEP.lastIndex;
	}
	return steps.length === 0 ? undefined : { text: pathText(steps), steps };
}

/** `nested.key` looks at the elements of an array: `items` and `items[]` mean the same there. */
export function elementsOf(path: PayloadPath): PayloadPath {
	return path.steps.at(-1) === null ? path : joinPaths(path, [null]);
}

export function joinPaths(path: PayloadPath, steps: readonly PathStep[]): PayloadPath {
	const joined = [...path.steps, ...steps];
	return { text: pathText(joined), steps: joined };
}

function pathText(steps: readonly PathStep[]): string {
	let text = "";
	for (const step of steps) {
		if (step === null) text += "[]";
		else if (typeof step === "number") text += `[${step}]`;
		else text += `${text === "" ? "" : "."}${/^[^.[\]"]+$/.test(step) ? step : `"${step}"`}`;
	}
	return text;
}

/** `context` is handed through from the caller: a compiled test needs no new function for each payload. */
type JsonTest<C> = (value: unknown, context: C) => boolean;

/**
 * Build a function that tells whether the test holds for some value at the path. An array at the path's end is handed
 * over whole; a payload that lacks the path hands over nothing.
 */
export function someAtPath<C>(path: PayloadPath, test: JsonTest<C>): (payload: Payload, context: C) => boolean {
	let at: JsonTest<C> = test;
	for (let i = path.steps.length - 1; i >= 0; i--) at = stepInto(path.steps[i] as PathStep, at);
	return at;
}

/** As `someAtPath`, but an array at the path's end is opened: the test sees its elements (arrays within are not opened). */
export function someElementAtPath<C>(path: PayloadPath, test: JsonTest<C>): (payload: Payload, context: C) => boolean {
	return someAtPath(path, (value, context) =>
		Array.isArray(value) ? value.some((element) => test(element, context)) : test(value, context),
	);
}

function stepInto<C>(step: PathStep, next: JsonTest<C>): JsonTest<C> {
	if (step === null) {
		return (value, context) => Array.isArray(value) && value.some((element) => next(element, context));
	}
	if (typeof step === "number") {
		return (value, context) => Array.isArray(value) && step < value.length && next(value[step], context);
	}
	return (value, context) =>
		typeof value === "object" &&
		value !== null &&
		!Array.isArray(value) &&
		Object.hasOwn(value, step) &&
		next((value as Payload)[step], context);
}
