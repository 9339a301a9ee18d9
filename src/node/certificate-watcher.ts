import { stat } from "node:fs/promises";
import type { TlsPem } from "../api/rest/renewable-listener.ts";
import { type Every, systemEvery } from "../observe/event-loop-lag.ts";
import type { Log } from "../observe/log.ts";
import type { EffectiveSettings } from "./settings.ts";
import { readTlsPair, type TlsPaths, tlsPaths } from "./tls-files.ts";

export interface CertificateWatcherParts {
	readonly paths: TlsPaths;
	/** What the server uses now. */
	readonly current: TlsPem;
	/** Has the server use another pair. Rejects when it can't; the old one then stays in use. */
	apply(pem: TlsPem): Promise<void>;
	readonly log: Pick<Log, "info" | "error">;
	readonly every: Every;
}

/** @returns undefined where the server speaks plain HTTP. */
export function watchCertificate(
	tls: EffectiveSettings["server"]["tls"],
	current: TlsPem | undefined,
	apply: CertificateWatcherParts["apply"],
	log: CertificateWatcherParts["log"],
): CertificateWatcher | undefined {
	const paths = tlsPaths(tls);
	return current && paths && new CertificateWatcher({ paths, current, apply, log, every: systemEvery });
}

/** Looks are cheap, and a renewed certificate is not urgent. */
const LOOK_MS = 5_000;

/**
 * Has a server use the certificate that lies on disk, without a restart. A changed pair is taken once it has stayed as it is from
 * one look to the next, or at once when asked for; one that is no pair is logged, once, and the old one stays in use.
 */
export class CertificateWatcher {
	readonly #parts: CertificateWatcherParts;
	readonly #stopLooking: () => void;
	#current: TlsPem;
	/** Of the files at the last look, and when they were last read. */
	#seenStamp: string | undefined;
	#readStamp: string | undefined;
	#work: Promise<void> = Promise.resolve();
	#isLooking = false;
	#isStopped = false;

	constructor(parts: CertificateWatcherParts) {
		this.#parts = parts;
		this.#current = parts.current;
		this.#stopLooking = parts.every(LOOK_MS, () => {
			// A look that takes longer than the time between two is not joined by others.
			if (!this.#isLooking) void this.look();
		});
	}

	/** Takes what changed and has settled since. Never rejects. */
	look(): Promise<void> {
		return this.#inTurn(async () => {
			this.#isLooking = true;
			const stamp = await this.#stamp();
			const hasSettled = stamp === this.#seenStamp;
			this.#seenStamp = stamp;
			if (hasSettled && stamp !== this.#readStamp) await this.#take(stamp);
			this.#isLooking = false;
		});
	}

	/** Takes what lies there now. Never rejects: what is wrong with it is logged. */
	reload(): Promise<void> {
		return this.#inTurn(async () => this.#take(await this.#stamp()));
	}

	/** Nothing is taken any more. */
	stop(): void {
		this.#isStopped = true;
		this.#stopLooking();
	}

	#inTurn(task: () => Promise<void>): Promise<void> {
		this.#work = this.#work.then(() => (this.#isStopped ? undefined : task()));
		return this.#work;
	}

	async #take(stamp: string): Promise<void> {
		const { paths, apply, log } = this.#parts;
		this.#readStamp = stamp;
		try {
			const { pem, validTo } = await readTlsPair(paths);
			const isSame = pem.cert === this.#current.cert && pem.key === this.#current.key;
			if (isSame || this.#isStopped) return;
			await apply(pem);
			this.#current = pem;
			log.info({ valid_to: validTo }, "the TLS certificate was replaced");
		} catch (err) {
			log.error({ err }, "the TLS certificate on disk can't be used; the one in use stays");
		}
	}

	/** Changes when a file is written or another takes its place, also by way of a link. */
	async #stamp(): Promise<string> {
		const { cert, key } = this.#parts.paths;
		const stamps = await Promise.all(
			[cert, key].map((path) =>
				stat(path, { bigint: true }).then(
					({ ino, size, mtimeNs }) => `${ino}:${size}:${mtimeNs}`,
					(cause: NodeJS.ErrnoException) => String(cause.code),
				),
			),
		);
		return stamps.join(" ");
	}
}
