import { BINARY, type User, userEnvironment } from "./binary.ts";

export interface SessionOptions {
	readonly env?: Readonly<Record<string, string>>;
	/** Typed once each of these texts has come up, in this order. */
	readonly answers?: readonly (readonly [waitFor: string, typed: string])[];
}

/** Runs the binary in a pseudo-terminal of 100 columns. @returns its exit code and what the screen was sent */
export async function inTerminal(
	user: User,
	args: readonly string[],
	options: SessionOptions = {},
): Promise<{ code: number; screen: string }> {
	const decoder = new TextDecoder();
	const answers = [...(options.answers ?? [])];
	let screen = "";
	let seenUpTo = 0;
	const child = Bun.spawn([BINARY, ...args], {
		cwd: user.folder,
		env: userEnvironment(user.folder, { TERM: "xterm-256color", ...options.env }),
		terminal: {
			cols: 100,
			rows: 40,
			data(terminal, chunk) {
				screen += decoder.decode(chunk, { stream: true });
				const next = answers[0];
				const at = next === undefined ? -1 : screen.indexOf(next[0], seenUpTo);
				if (next === undefined || at === -1) return;
				answers.shift();
				seenUpTo = at + next[0].length;
				terminal.write(next[1]);
			},
		},
	});
	const code = await child.exited;
	child.terminal?.close();
	return { code, screen };
}
