import type { Clock } from "../base/clock.ts";
import type { RandomBytes } from "../base/ids.ts";
import { CircuitBreaker } from "./circuit-breaker.ts";
import { openDeadline, orAborted } from "./deadline.ts";
import { HUB_LIMITS } from "./hub-limits.ts";

/** Bun's `RedisClient`, as much of it as is needed. */
export interface RedisConnection {
	send(command: string, args: string[]): Promise<unknown>;
	close(): void;
}

export interface RedisLinkOptions {
	/** A client that connects when it is first used and never again by itself. */
	readonly connect: () => RedisConnection;
	readonly clock: Clock;
	readonly random: RandomBytes;
	/** Told when Redis is given up for a while, and when it is back. The reason names neither address nor password. */
	readonly onChange?: (isUp: boolean, reason?: string) => void;
}

/**
 * The way to a Redis or Valkey that may be slow or gone at any time: a command is given up after `sharedTimeoutMs`, and after a
 * few of those in a row nobody tries for a while.
 */
export class RedisLink {
	readonly #options: RedisLinkOptions;
	readonly #breaker: CircuitBreaker;
	#connection: RedisConnection | undefined;
	#underWayCount = 0;
	#isClosed = false;

	constructor(options: RedisLinkOptions) {
		this.#options = options;
		this.#breaker = new CircuitBreaker({
			clock: options.clock,
			random: options.random,
			// What lies under a name may be anything: that is no matter of the server's health.
			judge: (error) => (String((error as Error).message).startsWith("WRONGTYPE") ? "alive" : "dead"),
			onChange: (state, error) => {
				if (state === "closed") return options.onChange?.(true);
				// One that hangs would keep what waits for it; the next try is made on a new one.
				this.#drop(this.#connection);
				options.onChange?.(false, reasonOf(error));
			},
		});
	}

	/** @throws whatever went wrong, within `sharedTimeoutMs` */
	async send(command: string, args: string[]): Promise<unknown> {
		if (this.#isClosed) throw new Error("the way to Redis is closed");
		if (this.#underWayCount >= HUB_LIMITS.sharedCallsMax) throw new Error("too many commands wait for Redis");
		return await this.#breaker.run(async () => await this.#exchange(command, args));
	}

	/** What is under way fails. Idempotent. */
	close(): void {
		this.#isClosed = true;
		this.#drop(this.#connection);
	}

	async #exchange(command: string, args: string[]): Promise<unknown> {
		this.#connection ??= this.#options.connect();
		const connection = this.#connection;
		const deadline = openDeadline(HUB_LIMITS.sharedTimeoutMs, undefined);
		this.#underWayCount += 1;
		// Counted until it is really over: a command that nobody waits for any more still takes its place.
		const answered = connection.send(command, args).finally(() => {
			this.#underWayCount -= 1;
		});
		try {
			return await orAborted(answered, deadline.signal);
		} catch (error) {
			if (isLost(error)) this.#drop(connection);
			throw error;
		} finally {
			deadline.end();
		}
	}

	#drop(connection: RedisConnection | undefined): void {
		if (connection === undefined) return;
		if (this.#connection === connection) this.#connection = undefined;
		connection.close();
	}
}

const codeOf = (error: unknown): string | undefined => (error as { code?: unknown } | undefined)?.code as string;

/** The connection is of no use any more, unlike after an answer that says no. */
const isLost = (error: unknown): boolean => codeOf(error)?.startsWith("ERR_REDIS_CONNECTION") === true;

const reasonOf = (error: unknown): string => codeOf(error) ?? (error as Error).message;
