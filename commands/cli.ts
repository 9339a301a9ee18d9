import { type Command, Config, Errors, Help, Plugin, run } from "@oclif/core";
import packageJson from "../package.json" with { type: "json" };
import { COMMANDS, TOPICS } from "./command-table.ts";
import { EXIT, failureJson, failureText, toFailure, usageFailure } from "./shared/failure.ts";
import { WatchedOutput } from "./shared/output.ts";

const PJSON = {
	name: packageJson.name,
	version: packageJson.version,
	description: packageJson.description,
	type: "module",
	oclif: {
		bin: "hive-vector",
		dirname: "hive-vector",
		topicSeparator: " " as const,
		topics: TOPICS,
		additionalHelpFlags: ["-h"],
		// No file is looked for there: the commands are given to the plugin below.
		commands: { strategy: "explicit" as const, target: "commands" },
	},
};

// The summary stands above the usage already. Without it the framework keeps a description's last line only, so each is one paragraph.
const HELP_OPTIONS = { hideCommandSummaryInDescription: true, flagSortOrder: "none" } as const;

const VERSION = `hive-vector ${packageJson.version} ${process.platform}-${process.arch} bun-${Bun.version}`;
const HELP_FLAGS: ReadonlySet<string> = new Set(["--help", "-h"]);

/**
 * Runs one command line.
 *
 * @param argv without the program's name
 * @returns    the exit code (CONTRACT section 8). Never throws: what went wrong is on stderr, and as JSON on stdout under `--json`
 */
export async function runCli(argv: readonly string[]): Promise<number> {
	const output = new WatchedOutput(process.stdout);
	try {
		if (argv[0] === "--version" || argv[0] === "-v" || argv[0] === "version") {
			process.stdout.write(`${VERSION}\n`);
		} else {
			await runCommand(argv);
		}
		await output.flush();
		return Number(process.exitCode ?? EXIT.done);
	} catch (error) {
		if (error instanceof Errors.ExitError) {
			await output.flush().catch(() => undefined);
			return error.oclif.exit ?? EXIT.failed;
		}
		const failure = toFailure(error);
		process.stderr.write(failureText(failure));
		if (asksForJson(argv)) process.stdout.write(`${JSON.stringify(failureJson(failure))}\n`);
		await output.flush().catch(() => undefined);
		return failure.exitCode;
	}
}

async function runCommand(argv: readonly string[]): Promise<void> {
	const config = await loadConfig();
	refuseUnknown(argv, config);
	// `hive-vector help tenant create` for those who type it that way.
	const line = argv[0] === "help" ? [...argv.slice(1), "--help"] : [...argv];
	if (line.length === 0 || HELP_FLAGS.has(line.find((word) => word === "--" || HELP_FLAGS.has(word)) ?? "")) {
		await new Help(config, HELP_OPTIONS).showHelp(line);
	} else {
		await run(line, config);
	}
}

/** The commands' table as the framework wants it, without a file beside the binary. */
export async function loadConfig(): Promise<Config> {
	const root = process.cwd();
	const plugin = new Plugin({ root, pjson: PJSON, isRoot: true, ignoreManifest: true });
	// The framework reads its commands from a file on disk, which the binary has not; this cache stands before that.
	Reflect.set(plugin, "commandCache", COMMANDS);
	await plugin.load();
	const config = await Config.load({
		root,
		pjson: PJSON,
		plugins: new Map([[plugin.name, plugin]]),
		ignoreManifest: true,
		userPlugins: false,
		devPlugins: false,
		jitPlugins: false,
	});
	for (const command of config.commands) {
		command.usage = usageOf(command);
		if (command.flags.json !== undefined) command.flags.json.description = "print one line of JSON instead, errors too";
	}
	// The framework would name the Node.js version that the runtime claims to be.
	config.userAgent = VERSION;
	return config;
}

/** Arguments and what must be given; the other flags stand right below it. */
function usageOf({ args, flags }: Pick<Command.Loadable, "args" | "flags">): string {
	const names = Object.values(args).map(({ name, required }) =>
		required === true ? name.toUpperCase() : `[${name.toUpperCase()}]`,
	);
	const needed = Object.values(flags)
		.filter((flag) => flag.required === true)
		.map((flag) => (flag.type === "option" ? `--${flag.name} ${String(flag.helpValue)}` : `--${flag.name}`));
	return ["<%= command.id %>", ...names, ...needed, "[flags]"].join(" ");
}

/** The framework would say "command tenant:crate not found". */
function refuseUnknown(argv: readonly string[], config: Config): void {
	const words = argv[0] === "help" ? argv.slice(1) : argv;
	const [first, second] = words;
	if (first === undefined || HELP_FLAGS.has(first) || config.findCommand(first) !== undefined) return;
	if (first.startsWith("-")) throw usageFailure(`${first} stands before any command`, "hive-vector --help lists them");
	const ids = config.commandIDs.map((id) => id.split(":"));
	const members = ids.filter(([topic]) => topic === first).map(([, command]) => command!);
	if (members.length === 0) {
		const all = [...new Set(ids.map(([topic]) => topic!))];
		throw usageFailure(`there is no command "${first}"`, `the commands are ${all.join(", ")}`);
	}
	if (second !== undefined && !words.some((word) => HELP_FLAGS.has(word)) && !members.includes(second)) {
		throw usageFailure(`there is no command "${first} ${second}"`, `${first} knows ${members.join(", ")}`);
	}
}

function asksForJson(argv: readonly string[]): boolean {
	const end = argv.indexOf("--");
	return (end === -1 ? argv : argv.slice(0, end)).includes("--json");
}
