/** What a completion script knows of a command. */
export interface CommandShape {
	/** `["tenant", "create"]`. */
	readonly words: readonly string[];
	readonly summary: string;
	readonly flags: readonly {
		readonly name: string;
		readonly char: string | undefined;
		readonly summary: string;
		readonly takesValue: boolean;
		readonly values: readonly string[];
	}[];
	/** What its first argument may be, where that is a closed set. */
	readonly values: readonly string[];
}

const quoted = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** What may follow each prefix of words: `""` → topics and commands, `tenant` → `create`, `list` … */
function nextWords(
	commands: readonly CommandShape[],
): ReadonlyMap<string, readonly { word: string; summary: string }[]> {
	const next = new Map<string, Map<string, string>>();
	for (const { words, summary } of commands) {
		words.forEach((word, index) => {
			const prefix = words.slice(0, index).join(" ");
			const isWhole = index === words.length - 1;
			const level = next.get(prefix) ?? new Map<string, string>();
			if (isWhole || !level.has(word)) level.set(word, isWhole ? summary : "");
			next.set(prefix, level);
		});
	}
	return new Map(
		[...next].map(([prefix, level]) => [prefix, [...level].map(([word, summary]) => ({ word, summary }))]),
	);
}

function valueCases(commands: readonly CommandShape[]): string[] {
	const cases = new Map<string, readonly string[]>();
	for (const { words, flags } of commands) {
		for (const flag of flags) {
			if (flag.values.length > 0) cases.set(`${words.join(" ")}:--${flag.name}`, flag.values);
		}
	}
	return [...cases].map(([place, values]) => `    ${quoted(place)}) words=${quoted(values.join(" "))} ;;`);
}

function wordCases(commands: readonly CommandShape[]): string[] {
	const next = [...nextWords(commands)].map(
		([prefix, level]) => `    ${quoted(prefix)}) words=${quoted(level.map(({ word }) => word).join(" "))} ;;`,
	);
	const flags = commands.map(({ words, flags, values }) => {
		const names = [...values, ...flags.map((flag) => `--${flag.name}`), "--help"];
		return `    ${quoted(words.join(" "))}) words=${quoted(names.join(" "))} ;;`;
	});
	return [...next, ...flags];
}

/** Which command the line names so far, then its words, flags or a flag's values. bash 3.2 and later; zsh through bashcompinit. */
function sharedScript(bin: string, commands: readonly CommandShape[]): string {
	const name = bin.replaceAll("-", "_");
	return `_${name}_complete() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD-1]}" command="" words="" word i
  for ((i = 1; i < COMP_CWORD; i++)); do
    word="\${COMP_WORDS[i]}"
    case "$command $word" in
${[...commandPaths(commands)].map((path) => `      ${quoted(path.includes(" ") ? path : ` ${path}`)}) command=${quoted(path)} ;;`).join("\n")}
    esac
  done
  case "$command:$previous" in
${valueCases(commands).join("\n")}
    *:--config|*:--data-dir|*:--vector-file|*:--output|*:-o|*:-c) COMPREPLY=($(compgen -f -- "$current")); return ;;
    *) case "$command" in
${wordCases(commands).join("\n")}
    esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
  if [ "$command" = import ] && [ "\${current#-}" = "$current" ]; then COMPREPLY+=($(compgen -f -- "$current")); fi
}
complete -F _${name}_complete ${bin}
`;
}

/** Every command and topic: `tenant`, `tenant create`, `search` … */
function commandPaths(commands: readonly CommandShape[]): ReadonlySet<string> {
	return new Set(commands.flatMap(({ words }) => words.map((_, index) => words.slice(0, index + 1).join(" "))));
}

export function bashCompletion(bin: string, commands: readonly CommandShape[]): string {
	return `# bash completion for ${bin}\n${sharedScript(bin, commands)}`;
}

export function zshCompletion(bin: string, commands: readonly CommandShape[]): string {
	return `#compdef ${bin}\nautoload -U +X bashcompinit && bashcompinit\n${sharedScript(bin, commands)}`;
}

export function fishCompletion(bin: string, commands: readonly CommandShape[]): string {
	const lines = [`# fish completion for ${bin}`, `complete -c ${bin} -f`];
	for (const [prefix, level] of nextWords(commands)) {
		const condition =
			prefix === ""
				? "__fish_use_subcommand"
				: `__fish_seen_subcommand_from ${prefix}; and not __fish_seen_subcommand_from ${level.map(({ word }) => word).join(" ")}`;
		for (const { word, summary } of level) {
			lines.push(`complete -c ${bin} -n ${quoted(condition)} -a ${word} -d ${quoted(summary)}`);
		}
	}
	for (const { words, flags, values } of commands) {
		const condition = words.map((word) => `__fish_seen_subcommand_from ${word}`).join("; and ");
		for (const flag of flags) {
			const short = flag.char === undefined ? "" : ` -s ${flag.char}`;
			const value = flag.takesValue
				? ` -r${flag.values.length > 0 ? ` -f -a ${quoted(flag.values.join(" "))}` : ""}`
				: "";
			lines.push(
				`complete -c ${bin} -n ${quoted(condition)} -l ${flag.name}${short}${value} -d ${quoted(flag.summary)}`,
			);
		}
		if (values.length > 0) lines.push(`complete -c ${bin} -n ${quoted(condition)} -a ${quoted(values.join(" "))}`);
	}
	return `${lines.join("\n")}\n`;
}
