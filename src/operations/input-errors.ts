import type { z } from "zod";
import { HiveError, isErrorCode } from "../base/errors.ts";
import { shorten } from "./vector-entry.ts";

type Issue = z.core.$ZodIssue;

/** Faults named in one answer. */
const ISSUE_COUNT_MAX = 20;

interface FieldIssue {
	readonly field: string;
	readonly message: string;
}

/**
 * What a schema found wrong with an input, as the error that answers it: VALIDATION_FAILED, or the code a schema chose for
 * its own kind of fault (INVALID_FILTER), with `details: {field, issues: [{field, message}]}`.
 */
export function inputError(error: z.ZodError): HiveError {
	const issues: FieldIssue[] = [];
	for (const issue of error.issues) collect(issue, [], issues);
	const code = error.issues.map(codeOf).find((chosen) => chosen !== undefined) ?? "VALIDATION_FAILED";
	const { field, message } = issues[0]!;
	return new HiveError(code, message.startsWith(field) ? message : `${field}: ${message}`, { field, issues });
}

function codeOf(issue: Issue) {
	const chosen = issue.code === "custom" ? issue.params?.code : undefined;
	return isErrorCode(chosen) ? chosen : undefined;
}

function collect(issue: Issue, prefix: readonly PropertyKey[], issues: FieldIssue[]): void {
	if (issues.length >= ISSUE_COUNT_MAX) return;
	const path = [...prefix, ...issue.path];
	if (issue.code === "unrecognized_keys") {
		for (const key of issue.keys.slice(0, ISSUE_COUNT_MAX - issues.length)) {
			issues.push({ field: fieldOf([...path, key]), message: "is not a known field" });
		}
		return;
	}
	if (issue.code === "invalid_union") {
		// The branch whose type fits says what is wrong; "no branch fits" says nothing.
		const branch = issue.errors.find((faults) => !faults.some((fault) => fault.code === "invalid_type"));
		if (branch !== undefined) {
			for (const fault of branch) collect(fault, path, issues);
			return;
		}
		const expected = issue.errors.flat().map((fault) => (fault.code === "invalid_type" ? fault.expected : "other"));
		issues.push({ field: fieldOf(path), message: `expected ${[...new Set(expected)].join(" or ")}` });
		return;
	}
	issues.push({ field: fieldOf(path), message: issue.message });
}

/** `["vectors", 3, "id"]` is `vectors[3].id`. */
function fieldOf(path: readonly PropertyKey[]): string {
	let field = "";
	for (const step of path) {
		if (typeof step === "number") field += `[${step}]`;
		else field += `${field === "" ? "" : "."}${shorten(String(step))}`;
	}
	return field === "" ? "body" : field;
}
