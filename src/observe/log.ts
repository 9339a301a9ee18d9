import { type LoggerOptions, pino, stdTimeFunctions } from "pino";

/** Facts first, then the sentence. Facts are snake_case and name things by id; a key or a payload is never among them. */
type Write = {
	(facts: Readonly<Record<string, unknown>>, sentence: string): void;
	(sentence: string): void;
};

export interface Log {
	readonly debug: Write;
	readonly info: Write;
	readonly warn: Write;
	readonly error: Write;
}

export interface LogOptions {
	readonly level: "trace" | "debug" | "info" | "warn" | "error" | "fatal";
	readonly format: "json" | "pretty";
	/** Takes whole lines. Called once a line, in order, before the call that logged returns. */
	readonly write: (line: string) => void;
	readonly colors: boolean;
}

/** What looks like a key, or a password in an address. Key ids (`key_…`) may be shown: they are made for that. */
const SECRETS: readonly (readonly [RegExp, string])[] = [
	[/\b(hh_(?:live|test)_|svc_)[A-Za-z0-9]+/g, "$1********"],
	[/(:\/\/[^\s:/@"]*:)[^\s@"/]+@/g, "$1********@"],
];

/** The text with everything that looks like a secret masked. */
export function maskSecrets(text: string): string {
	let masked = text;
	for (const [pattern, replacement] of SECRETS) masked = masked.replace(pattern, replacement);
	return masked;
}

/**
 * A log whose lines never hold a key: each line is masked as a whole after it was put together, so it doesn't matter
 * whether the key stood in a message, a nested fact or an error's stack.
 */
export async function createLog(options: LogOptions): Promise<Log> {
	const write = (line: string): void => options.write(maskSecrets(line));
	const settings = {
		level: options.level,
		base: null,
		timestamp: stdTimeFunctions.isoTime,
		formatters: { level: (label: string) => ({ level: label }) },
	};
	if (options.format === "json") return startPino(settings, write);
	const { prettyFactory } = await import("pino-pretty");
	const render = prettyFactory({ colorize: options.colors, translateTime: "SYS:HH:MM:ss.l", singleLine: true });
	return startPino(settings, (line) => write(render(line) ?? line));
}

function startPino(settings: LoggerOptions<never>, write: (line: string) => void): Log {
	return pino<never>(settings, { write });
}
