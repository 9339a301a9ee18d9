import { usageFailure } from "./failure.ts";

/** The text of a flag that takes its value, `@file`, or `-` for stdin. */
export async function readText(
	flag: string,
	value: string,
	readStdin: (asker: string) => Promise<string>,
): Promise<string> {
	if (value === "-") return await readStdin(flag);
	return value.startsWith("@") ? await readTextFile(flag, value.slice(1)) : value;
}

export async function readTextFile(flag: string, path: string): Promise<string> {
	try {
		return await Bun.file(path).text();
	} catch (cause) {
		const reason = cause instanceof Error && "code" in cause ? String(cause.code) : "unreadable";
		throw usageFailure(`${flag}: ${path} can't be read (${reason})`);
	}
}

export function parseJson(flag: string, text: string): unknown {
	try {
		return JSON.parse(text);
	} catch (error) {
		throw usageFailure(`${flag} is not valid JSON: ${error instanceof Error ? error.message : String(error)}`);
	}
}

export function parseJsonObject(flag: string, text: string): Record<string, unknown> {
	const value = parseJson(flag, text);
	if (typeof value !== "object" || value === null || Array.isArray(value))
		throw usageFailure(`${flag} must be a JSON object`);
	return { ...value };
}
