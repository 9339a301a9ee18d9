import { ERROR_TABLE, type ErrorDetails, HiveError, isErrorCode } from "../../src/base/errors.ts";

/** CONTRACT section 8. 130 is what a shell reports of a process that Ctrl-C ended. */
export const EXIT = {
	done: 0,
	failed: 1,
	usage: 2,
	notAllowed: 3,
	notFound: 4,
	unreachable: 5,
	interrupted: 130,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** What ends a command. `code` is the node's error code, or the command's own where no node was involved. */
export class CommandFailure extends Error {
	override readonly name = "CommandFailure";

	constructor(
		readonly code: string,
		readonly exitCode: ExitCode,
		message: string,
		readonly more: {
			/** What to try next, one line. */
			readonly advice?: string;
			readonly details?: ErrorDetails;
			readonly requestId?: string;
		} = {},
		options?: { cause?: unknown },
	) {
		super(message, options);
	}
}

export const usageFailure = (message: string, advice?: string): CommandFailure =>
	new CommandFailure("USAGE", EXIT.usage, message, advice === undefined ? {} : { advice });

/** Whatever a command threw, as a failure with an exit code. */
export function toFailure(error: unknown): CommandFailure {
	if (error instanceof CommandFailure) {
		const { code, exitCode, message, more, cause } = error;
		return isFromParser(message) ? new CommandFailure(code, exitCode, plain(message), more, { cause }) : error;
	}
	if (error instanceof HiveError) {
		const more = error.details === undefined ? {} : { details: error.details };
		return new CommandFailure(error.code, ERROR_TABLE[error.code].exit, error.message, more, { cause: error });
	}
	if (isOclifError(error)) {
		const advice = "--help shows what is accepted";
		return new CommandFailure("USAGE", EXIT.usage, plain(error.message), { advice }, { cause: error });
	}
	if (isSystemError(error)) return new CommandFailure(error.code, EXIT.failed, error.message, {}, { cause: error });
	const message = error instanceof Error ? error.message : String(error);
	return new CommandFailure("FAILED", EXIT.failed, message, {}, { cause: error });
}

/** Thrown while a flag's value was read: the parser writes its own words around the message. */
const isFromParser = (message: string): boolean => message.startsWith("Parsing --");

/** A message of the parser (an unknown command, flag or value) on one line, without its colours and frame. */
function plain(message: string): string {
	return Bun.stripANSI(message)
		.replace(/\n+See more help with --help$/, "")
		.replace(/^The following errors? occurred:\s*/, "")
		.replace(/^command (.+) not found$/, (_, id: string) => `there is no command "${id.replaceAll(":", " ")}"`)
		.replace(/^Parsing (--[\w-]+)\s+(\1: )?/, "$1: ")
		.replaceAll(/:?[ \t]*\n[ \t]*/g, ": ");
}

/** The answer's error, from a body that may not be the node's (a proxy's page, say). */
export function failureFromAnswer(status: number, body: unknown): CommandFailure {
	const fields: Record<string, unknown> = typeof body === "object" && body !== null ? { ...body } : {};
	const message = typeof fields.error === "string" ? fields.error : `the node answered with status ${status}`;
	const code = typeof fields.code === "string" ? fields.code : `HTTP_${status}`;
	const details = typeof fields.details === "object" && fields.details !== null ? { ...fields.details } : undefined;
	const requestId = typeof fields.request_id === "string" ? fields.request_id : undefined;
	const advice = adviceFor(code, details);
	return new CommandFailure(code, isErrorCode(code) ? ERROR_TABLE[code].exit : exitForStatus(status), message, {
		...(details === undefined ? {} : { details }),
		...(requestId === undefined ? {} : { requestId }),
		...(advice === undefined ? {} : { advice }),
	});
}

function exitForStatus(status: number): ExitCode {
	if (status === 400 || status === 422) return EXIT.usage;
	if (status === 401 || status === 403) return EXIT.notAllowed;
	if (status === 404) return EXIT.notFound;
	return status === 502 || status === 503 || status === 504 ? EXIT.unreachable : EXIT.failed;
}

function adviceFor(code: string, details: ErrorDetails | undefined): string | undefined {
	switch (code) {
		case "AUTH_MISSING":
			return "give a key: HIVE_VECTOR_API_KEY, --api-key @file, or --data-dir with the node's admin.key";
		case "AUTH_INVALID":
		case "AUTH_INVALID_FORMAT":
		case "AUTH_KEY_EXPIRED":
			return "check the key with `hive-vector key validate`";
		case "FORBIDDEN":
			return Array.isArray(details?.granted) ? `the key has ${details.granted.join(" and ") || "none"}` : undefined;
		case "RATE_LIMITED":
		case "AUTH_RATE_LIMIT":
			return typeof details?.retry_after_seconds === "number"
				? `try again in ${details.retry_after_seconds} s`
				: undefined;
		case "QUOTA_EXCEEDED":
			return "see `hive-vector usage`; an operator raises it with `hive-vector quota set`";
		default:
			return undefined;
	}
}

/** `{"error", "code", …}`, for `--json`. */
export function failureJson(failure: CommandFailure): Record<string, unknown> {
	return {
		error: failure.message,
		code: failure.code,
		...(failure.more.details === undefined ? {} : { details: failure.more.details }),
		...(failure.more.requestId === undefined ? {} : { request_id: failure.more.requestId }),
		exit_code: failure.exitCode,
	};
}

/** For people, on stderr. */
export function failureText(failure: CommandFailure): string {
	const { message, more } = failure;
	// Behind a list of several lines the code would look like a part of the last.
	const code = isErrorCode(failure.code) && !message.includes("\n") ? ` (${failure.code})` : "";
	const named = more.details?.field;
	const field = typeof named === "string" && !message.includes(named) ? `\n  field: ${named}` : "";
	const advice = more.advice === undefined ? "" : `\n  ${more.advice}`;
	return `error: ${message}${code}${field}${advice}\n`;
}

function isOclifError(error: unknown): error is Error & { oclif: { exit?: number } } {
	return error instanceof Error && "oclif" in error;
}

function isSystemError(error: unknown): error is Error & { code: string } {
	return error instanceof Error && "syscall" in error && "code" in error && typeof error.code === "string";
}
