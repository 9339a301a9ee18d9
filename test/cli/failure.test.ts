import { describe, expect, test } from "bun:test";
import {
	CommandFailure,
	EXIT,
	failureFromAnswer,
	failureJson,
	failureText,
	toFailure,
} from "../../commands/shared/failure.ts";
import { ERROR_TABLE, type ErrorCode, HiveError } from "../../src/base/errors.ts";

describe("failures of commands", () => {
	test.each(Object.keys(ERROR_TABLE) as ErrorCode[])(
		"a node's %s ends the command with the table's exit code",
		(code) => {
			const failure = failureFromAnswer(ERROR_TABLE[code].http, { error: "no", code, request_id: "req_1" });
			expect(failure.exitCode).toBe(ERROR_TABLE[code].exit);
			expect(failureJson(failure)).toMatchObject({
				error: "no",
				code,
				request_id: "req_1",
				exit_code: failure.exitCode,
			});
		},
	);

	test.each([
		[400, EXIT.usage],
		[401, EXIT.notAllowed],
		[403, EXIT.notAllowed],
		[404, EXIT.notFound],
		[302, EXIT.failed],
		[500, EXIT.failed],
		[502, EXIT.unreachable],
		[504, EXIT.unreachable],
	] as const)("status %d without a known code exits with %d", (status, exitCode) => {
		expect(failureFromAnswer(status, undefined).exitCode).toBe(exitCode);
		expect(failureFromAnswer(status, "<html>").code).toBe(`HTTP_${status}`);
	});

	test("what to do next stands under the error", () => {
		const advised = (code: ErrorCode, details?: object) =>
			failureText(failureFromAnswer(429, { error: "no", code, details }));
		expect(advised("RATE_LIMITED", { retry_after_seconds: 7 })).toContain("try again in 7 s");
		expect(advised("RATE_LIMITED")).toBe("error: no (RATE_LIMITED)\n");
		expect(advised("QUOTA_EXCEEDED")).toContain("hive-vector quota set");
		expect(advised("AUTH_MISSING")).toContain("HIVE_VECTOR_API_KEY");
		expect(advised("AUTH_INVALID")).toContain("hive-vector key validate");
		expect(advised("VALIDATION_FAILED", { field: "hnsw.m" })).toContain("field: hnsw.m");
	});

	test("whatever was thrown gets an exit code", () => {
		expect(toFailure(new HiveError("CONFLICT", "in use", { field: "data_dir" }))).toMatchObject({
			code: "CONFLICT",
			exitCode: 1,
			more: { details: { field: "data_dir" } },
		});
		expect(toFailure(new HiveError("HUB_UNAVAILABLE", "away")).exitCode).toBe(EXIT.unreachable);
		expect(toFailure(Object.assign(new Error("EACCES: denied"), { code: "EACCES", syscall: "open" })).code).toBe(
			"EACCES",
		);
		expect(toFailure(new Error("odd")).exitCode).toBe(EXIT.failed);
		expect(toFailure("odd")).toMatchObject({ code: "FAILED", message: "odd" });
		const failure = new CommandFailure("X", EXIT.notFound, "gone");
		expect(toFailure(failure)).toBe(failure);
	});
});
