import { closeSync, openSync } from "node:fs";
import { SQL } from "bun";
import { HiveError } from "../../base/errors.ts";
import { HUB_LIMITS } from "../hub-limits.ts";
import type { HubChange } from "../models.ts";
import { HUB_MIGRATIONS } from "./hub-migrations.ts";

/** Where a hub keeps its records. A SQLite file belongs to one process; a PostgreSQL database may serve several hubs. */
export type HubDatabaseAddress = { readonly sqlitePath: string } | { readonly postgresUrl: string };

/** Something a tagged SQL statement can be given to: a pool, or one transaction. */
export type SqlRunner = SQL;

type WithoutCursor<Change> = Change extends unknown ? Omit<Change, "cursor"> : never;
/** A change whose cursor is the revision it was made at. */
export type ChangeBody = WithoutCursor<HubChange>;

/**
 * A write under way. It holds the lock on the revision counter from its first statement on, so writers follow one another,
 * in every process, and revisions become visible in their order: a reader of the feed never sees 7 before 6.
 */
export class HubTransaction {
	readonly #firstRevision: number;
	#revision: number;

	constructor(
		readonly sql: SqlRunner,
		revision: number,
	) {
		this.#firstRevision = revision;
		this.#revision = revision;
	}

	/** The highest revision given out. */
	get revision(): number {
		return this.#revision;
	}

	get changed(): boolean {
		return this.#revision > this.#firstRevision;
	}

	/**
	 * Appends one change to the feed under a fresh revision, which `describe` puts into the record it describes.
	 *
	 * @returns the revision.
	 */
	async change(describe: (revision: number) => ChangeBody): Promise<number> {
		this.#revision += 1;
		const revision = this.#revision;
		const body = JSON.stringify(describe(revision));
		await this.sql`INSERT INTO changes (revision, body) VALUES (${revision}, ${body})`;
		return revision;
	}
}

/**
 * The hub's database: the same statements on SQLite and on PostgreSQL.
 *
 * On SQLite all statements of one connection share its open transaction, so reads have a connection of their own: they see
 * what is committed and nothing else.
 */
export class HubDatabase {
	readonly #reader: SQL;
	readonly #writer: SQL;
	/** Other processes may write too, so changes must also be looked for. */
	readonly shared: boolean;
	readonly #listeners = new Set<() => void>();
	#lastWrite: Promise<unknown> = Promise.resolve();
	#writesWaiting = 0;

	private constructor(reader: SQL, writer: SQL, shared: boolean) {
		this.#reader = reader;
		this.#writer = writer;
		this.shared = shared;
	}

	/**
	 * Opens, creates and migrates.
	 *
	 * @throws HUB_UNAVAILABLE when the database can't be reached; CONFLICT when a newer version wrote it.
	 */
	static async open(address: HubDatabaseAddress): Promise<HubDatabase> {
		const database = "sqlitePath" in address ? await openSqlite(address.sqlitePath) : openPostgres(address.postgresUrl);
		try {
			await database.#migrate();
		} catch (error) {
			await database.close();
			throw asHubFailure(error);
		}
		return database;

		async function openSqlite(path: string): Promise<HubDatabase> {
			try {
				// Key hashes and tenants' names are nobody else's business, from the first byte on.
				closeSync(openSync(path, "a", 0o600));
			} catch (error) {
				throw new HiveError("HUB_UNAVAILABLE", "the hub can't open its database file", undefined, { cause: error });
			}
			const writer = new SQL({ adapter: "sqlite", filename: path });
			const reader = new SQL({ adapter: "sqlite", filename: path });
			try {
				await writer`PRAGMA busy_timeout = 5000`;
				await reader`PRAGMA busy_timeout = 5000`;
				await writer`PRAGMA journal_mode = WAL`;
				await writer`PRAGMA synchronous = FULL`;
				await reader`PRAGMA query_only = ON`;
			} catch (error) {
				await Promise.all([writer.close(), reader.close()]);
				throw asHubFailure(error);
			}
			return new HubDatabase(reader, writer, false);
		}

		function openPostgres(url: string): HubDatabase {
			const pool = new SQL({ url, adapter: "postgres", max: 10 });
			return new HubDatabase(pool, pool, true);
		}
	}

	/** Runs statements that change nothing. @throws HUB_UNAVAILABLE when the database is away. */
	async read<T>(work: (sql: SqlRunner) => Promise<T>): Promise<T> {
		try {
			return await work(this.#reader);
		} catch (error) {
			throw asHubFailure(error);
		}
	}

	/**
	 * Runs one write transaction after those that came before. It is on disk when the promise settles; what `work` throws
	 * undoes it.
	 *
	 * @throws OVERLOADED when too many wait; HUB_UNAVAILABLE when the database can't be written.
	 */
	async write<T>(work: (transaction: HubTransaction) => Promise<T>): Promise<T> {
		if (this.#writesWaiting >= HUB_LIMITS.writesWaitingMax) {
			throw new HiveError("OVERLOADED", "too many changes are waiting at the hub", { retry_after_seconds: 1 });
		}
		this.#writesWaiting += 1;
		const turn = this.#lastWrite.then(() => this.#transact(work));
		this.#lastWrite = turn.catch(() => undefined);
		try {
			return await turn;
		} catch (error) {
			throw asHubFailure(error);
		} finally {
			this.#writesWaiting -= 1;
		}
	}

	/** Called after each commit that appended to the feed. @returns what ends it. */
	onChange(listener: () => void): () => void {
		this.#listeners.add(listener);
		return () => this.#listeners.delete(listener);
	}

	/** Waits for the writes under way. */
	async close(): Promise<void> {
		await this.#lastWrite;
		await this.#writer.close();
		if (this.#reader !== this.#writer) await this.#reader.close();
	}

	async #transact<T>(work: (transaction: HubTransaction) => Promise<T>): Promise<T> {
		let changed = false;
		const result = await this.#writer.begin(async (sql) => {
			const [state] = await sql<{ value: number | string }[]>`
				UPDATE hub_state SET value = value WHERE name = 'revision' RETURNING value`;
			const transaction = new HubTransaction(sql, Number(state!.value));
			const output = await work(transaction);
			if (transaction.changed) {
				await sql`UPDATE hub_state SET value = ${transaction.revision} WHERE name = 'revision'`;
				await pruneChanges(transaction);
			}
			changed = transaction.changed;
			return output;
		});
		if (changed) for (const listener of this.#listeners) listener();
		return result;
	}

	async #migrate(): Promise<void> {
		let version = await this.#schemaVersion();
		if (version > HUB_MIGRATIONS.length) {
			throw new HiveError("CONFLICT", "the hub's database was written by a newer version of hive-vector", {
				schema_version: version,
				known_version: HUB_MIGRATIONS.length,
			});
		}
		while (version < HUB_MIGRATIONS.length) {
			const next = version + 1;
			try {
				await this.#writer.begin(async (sql) => {
					for (const statement of HUB_MIGRATIONS[version]!) await sql.unsafe(statement);
					await sql`UPDATE hub_state SET value = ${next} WHERE name = 'schema_version'`;
				});
				version = next;
			} catch (error) {
				// Of several hubs that start on one empty database one makes the tables, and the others find them made.
				const reached = await this.#schemaVersion();
				if (reached <= version) throw error;
				version = reached;
			}
		}
	}

	async #schemaVersion(): Promise<number> {
		try {
			const [row] = await this.#writer<{ value: number | string }[]>`
				SELECT value FROM hub_state WHERE name = 'schema_version'`;
			return Number(row?.value ?? 0);
		} catch (error) {
			// The one portable way to ask whether a table exists is to ask it something.
			if (/no such table|does not exist/.test(String(error))) return 0;
			throw error;
		}
	}
}

/** Keeps the feed bounded: whoever has been away longer is told to start over (`reset`). */
async function pruneChanges(transaction: HubTransaction): Promise<void> {
	if (transaction.revision % HUB_LIMITS.changesPrunedEvery !== 0) return;
	const prunedTo = transaction.revision - HUB_LIMITS.changesKept;
	if (prunedTo <= 0) return;
	await transaction.sql`DELETE FROM changes WHERE revision <= ${prunedTo}`;
	await transaction.sql`UPDATE hub_state SET value = ${prunedTo} WHERE name = 'changes_pruned_to'`;
}

/** A database that is away, full or locked is no defect: the caller may come again. */
function asHubFailure(error: unknown): unknown {
	if (error instanceof HiveError) return error;
	const code = typeof error === "object" && error !== null && "code" in error ? String(error.code) : "";
	const away =
		/^ERR_POSTGRES_(CONNECTION|IDLE_TIMEOUT|LIFETIME_TIMEOUT|AUTHENTICATION)/.test(code) ||
		/^ERR_SQLITE_CONNECTION/.test(code) ||
		/^SQLITE_(FULL|IOERR|BUSY|LOCKED|READONLY|CANTOPEN|CORRUPT|NOTADB)/.test(code);
	if (!away) return error;
	return new HiveError("HUB_UNAVAILABLE", "the hub's database does not answer", undefined, { cause: error });
}
