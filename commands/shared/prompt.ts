import { createInterface, type Interface } from "node:readline/promises";
import { CommandFailure, EXIT, usageFailure } from "./failure.ts";

interface Streams {
	readonly input: NodeJS.ReadStream;
	readonly output: NodeJS.WriteStream;
}

/**
 * Asks before something is destroyed.
 *
 * @param typed what the user must type to go on; undefined: `y` does
 * @throws CommandFailure with exit code 2 where nobody can be asked, 130 on Ctrl-C
 */
export async function confirm(question: string, typed: string | undefined, streams: Streams): Promise<boolean> {
	if (!streams.input.isTTY)
		throw usageFailure("this has to be confirmed, and there is no terminal to ask on", "repeat it with --yes");
	const lines = createInterface({ input: streams.input, output: streams.output });
	try {
		// Rejects on Ctrl-D alone, which is no consent.
		const asked = lines
			.question(`${question} ${typed === undefined ? "[y/N]" : `Type ${typed} to go on:`} `)
			.catch(() => "");
		const answer = await Promise.race([asked, endOf(lines)]);
		return typed === undefined ? /^y(es)?$/i.test(answer.trim()) : answer.trim() === typed;
	} finally {
		lines.close();
	}
}

/** A terminal that goes away ends the line without an answer, and Ctrl-C gives no signal while one is read. */
async function endOf(lines: Interface): Promise<string> {
	return await new Promise<string>((resolve, reject) => {
		lines.once("close", () => resolve(""));
		lines.once("SIGINT", () =>
			reject(new CommandFailure("CANCELLED", EXIT.interrupted, "interrupted: nothing was changed")),
		);
	});
}

/** Reads one line from the terminal without showing it. */
export async function askSecret(label: string, streams: Streams): Promise<string> {
	const { input, output } = streams;
	// Before the prompt: whoever types as soon as it appears must not see it.
	input.setRawMode(true);
	input.setEncoding("utf8");
	output.write(label);
	let secret = "";
	try {
		for await (const chunk of input) {
			for (const key of String(chunk)) {
				if (key === "\r" || key === "\n" || key === "\u0004") return secret;
				// Raw mode hands Ctrl-C over as a character: make a signal of it again.
				if (key === "\u0003") process.kill(process.pid, "SIGINT");
				else if (key === "\u007f" || key === "\b") secret = secret.slice(0, -1);
				else secret += key;
			}
		}
		return secret;
	} finally {
		input.setRawMode(false);
		input.pause();
		output.write("\n");
	}
}
