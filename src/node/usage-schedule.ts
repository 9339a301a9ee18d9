import { HiveError } from "../base/errors.ts";
import type { Log } from "../observe/log.ts";
import type { StoredUsage } from "./stored-usage.ts";
import type { UsageReporter } from "./usage-reporter.ts";

/** A hub that is away must not hold up a stop. */
const LAST_REPORT_MS_MAX = 3_000;

/** @returns stops the reports, after a last one if the hub takes it in time. */
export function reportUsageUntilStopped(
	reporter: UsageReporter,
	stored: StoredUsage,
	intervalSeconds: number,
	log: Log,
): () => Promise<void> {
	const report = async (): Promise<void> => {
		try {
			await reporter.report();
			stored.save();
		} catch (err) {
			// A hub that is away is no defect.
			const facts = err instanceof HiveError ? { reason: err.message } : { err };
			log.warn(facts, "usage could not be reported; it will be sent again");
		}
	};
	const timer = setInterval(() => void report(), intervalSeconds * 1000);
	timer.unref();
	return async () => {
		clearInterval(timer);
		const { promise: tooLate, resolve } = Promise.withResolvers<void>();
		const lastTimer = setTimeout(resolve, LAST_REPORT_MS_MAX);
		await Promise.race([report(), tooLate]);
		clearTimeout(lastTimer);
	};
}
