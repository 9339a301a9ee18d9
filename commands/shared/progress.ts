import { Presets, SingleBar } from "cli-progress";
import type { Terminal } from "./terminal.ts";
import { formatBytes, formatCount } from "./units.ts";

/** How far a long command is. Where there is no terminal nothing is shown. */
export interface Progress {
	/** @param done in the unit of the total; @param note what else is known, for instance "12,000 vectors" */
	update(done: number, note: string): void;
	/** Takes the bar off the screen's live line; what it showed last stays. */
	stop(): void;
}

const SILENT: Progress = { update() {}, stop() {} };

/**
 * A bar on `stream`.
 *
 * @param total in the unit; undefined: not known, so the amount done is shown alone
 */
export function startProgress(
	stream: NodeJS.WritableStream,
	terminal: Terminal,
	unit: "bytes" | "vectors" | "shards",
	total: number | undefined,
): Progress {
	if (!terminal.isTty || !terminal.color) return SILENT;
	const show = unit === "bytes" ? formatBytes : formatCount;
	const format =
		total === undefined
			? "{done} {note}  {duration_formatted}"
			: "{bar} {percentage}%  {done} of {all}  {note}  {eta_formatted} left";
	const bar = new SingleBar(
		{ stream, format, hideCursor: true, clearOnComplete: false, etaBuffer: 50, gracefulExit: false, barsize: 30 },
		Presets.shades_grey,
	);
	bar.start(Math.max(total ?? 1, 1), 0, { done: show(0), all: show(total ?? 0), note: "" });
	return {
		update: (done, note) => bar.update(Math.min(done, total ?? 0), { done: show(done), note }),
		stop: () => bar.stop(),
	};
}
