import packageJson from "../../package.json" with { type: "json" };
import type { ProcessParts } from "../../src/node/process-parts.ts";
import type { Settings, SettingsFlags, SettingsSources } from "../../src/node/settings.ts";
import { BaseCommand } from "./base-command.ts";

/** A command that is a server: it runs until a signal stops it, and logs to stderr. */
export abstract class ServerCommand extends BaseCommand {
	static override enableJsonFlag = false;

	/** The settings and what the process gives to the server. The node's code is loaded here, so that `--help` is quick. */
	protected async prepare(
		flags: SettingsFlags & { readonly config?: string | undefined },
		more: Pick<SettingsSources, "purpose" | "insecureOpen">,
	): Promise<{ readonly settings: Settings; readonly parts: ProcessParts }> {
		const [{ loadSettings }, { createLog }, { systemClock }, { systemRandom }] = await Promise.all([
			import("../../src/node/settings.ts"),
			import("../../src/observe/log.ts"),
			import("../../src/base/clock.ts"),
			import("../../src/base/ids.ts"),
		]);
		const { config, ...settingsFlags } = flags;
		const settings = loadSettings({
			folder: process.cwd(),
			configPath: config,
			env: process.env,
			flags: settingsFlags,
			isTerminal: process.stderr.isTTY === true,
			...more,
		});
		const { level, format } = settings.values.log;
		const log = await createLog({
			level,
			format,
			colors: process.stderr.isTTY === true && !process.env.NO_COLOR,
			write: (line) => void process.stderr.write(line),
		});
		return { settings, parts: { clock: systemClock, random: systemRandom, log, version: packageJson.version } };
	}

	/**
	 * Runs a server until a signal has stopped it, then ends the process. SIGHUP reads TLS certificates again. Never resolves.
	 *
	 * @param start may be under way when the signal comes: the server is then stopped as soon as it runs
	 * @throws what `start` throws; what the server failed with later, once it is stopped
	 */
	protected async runUntilSignal<
		S extends { stop(): Promise<void>; reloadTls?(): Promise<void>; readonly failed?: Promise<never> },
	>(start: () => Promise<S>, { log }: ProcessParts, greet: (server: S) => void): Promise<never> {
		const [{ stopOnSignals }, { reloadOnHangup }] = await Promise.all([
			import("../../src/node/shutdown-signals.ts"),
			import("../../src/node/reload-signal.ts"),
		]);
		const starting = start();
		stopOnSignals(
			process,
			async () => (await starting).stop(),
			(err) => log.error({ err }, "the server did not stop cleanly"),
		);
		const server = await starting;
		if (server.reloadTls !== undefined) reloadOnHangup(process, async () => await server.reloadTls?.());
		greet(server);
		try {
			return await (server.failed ?? new Promise<never>(() => {}));
		} catch (cause) {
			await server.stop();
			throw cause;
		}
	}

	// A signal stops the server in order; it doesn't end the process.
	protected override listenForInterrupt(): void {}
}
