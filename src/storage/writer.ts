import { rmSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { HiveError } from "../base/errors.ts";
import { Commit, STATE_KEY } from "./commit.ts";
import { type CommitState, readMeta } from "./keyspace.ts";
import { damagedRow, writeFailure } from "./shard-errors.ts";
import type { ShardState } from "./shard-state.ts";
import type { WriteResult } from "./shard-types.ts";
import { TimeSlice } from "./time-slice.ts";
import type { WriteCommand } from "./write-commands.ts";
import { CommitDraft, RequestDraft } from "./write-draft.ts";

/** What one commit gathers at most, when more than one request waits. */
const GATHERED_ROWS_MAX = 10_000;
const GATHERED_BYTES_MAX = 4 * 1024 * 1024;
/** LevelDB needs about so much to open again: a new log, a new manifest. */
const PROBE_BYTES = 1024 * 1024;

interface Job {
	readonly command: WriteCommand;
	readonly resolve: (result: WriteResult) => void;
	readonly reject: (error: unknown) => void;
}

/**
 * The one who changes the shard. Requests that arrive while a commit is under way are gathered into the next one and share its
 * fsync; each is planned as if those before it had been applied, and one that is refused leaves nothing.
 */
export class Writer {
	readonly #state: ShardState;
	readonly #beforeFirstWrite: () => void;
	#jobs: Job[] = [];
	#loop: Promise<void> | undefined;
	#isClosed = false;
	#hasWritten = false;
	/** A commit of which nobody knows whether it reached the disk, until the database is open again. */
	#doubtful: Commit | undefined;

	constructor(state: ShardState, beforeFirstWrite: () => void) {
		this.#state = state;
		this.#beforeFirstWrite = beforeFirstWrite;
	}

	/** Resolves when the command is on disk and visible; rejects with what refused it. */
	submit<Result extends WriteResult>(command: WriteCommand<Result>): Promise<Result> {
		if (this.#isClosed) throw new HiveError("OVERLOADED", "the shard is closing");
		return new Promise<Result>((resolve, reject) => {
			// It is resolved with what its own command's plan came to.
			this.#jobs.push({ command, resolve: resolve as Job["resolve"], reject });
			this.#loop ??= this.#run();
		});
	}

	/** What the command would change now. Writes nothing. */
	async measure(command: WriteCommand): Promise<WriteResult> {
		return await command.plan(this.#requestDraft(new CommitDraft()), this.#slice());
	}

	/** Takes no more commands; resolves when those under way are done. */
	async close(): Promise<void> {
		this.#isClosed = true;
		await this.#loop;
	}

	async #run(): Promise<void> {
		while (this.#jobs.length > 0) {
			await this.#state.keeper.room();
			const planned: { readonly job: Job; readonly result: WriteResult }[] = [];
			try {
				await this.#heal();
				await this.#commit(await this.#plan(planned));
				for (const { job, result } of planned) job.resolve(result);
			} catch (error) {
				const failure = writeFailure(error);
				this.#state.log("a commit failed", { error });
				// Without a plan the disk refused to open again: whoever is first in line hears of it.
				if (planned.length === 0) this.#jobs.shift()?.reject(failure);
				for (const { job } of planned) job.reject(failure);
			}
		}
		// In the same turn as the last look at the queue: whoever submits next must find no loop, and start one.
		this.#loop = undefined;
	}

	async #plan(planned: { job: Job; result: WriteResult }[]): Promise<CommitDraft> {
		const draft = new CommitDraft();
		const slice = this.#slice();
		let rowCount = 0;
		let byteCount = 0;
		while (this.#jobs.length > 0) {
			const { command } = this.#jobs[0]!;
			const isTooMuch =
				rowCount + command.rowCount > GATHERED_ROWS_MAX || byteCount + command.byteCount > GATHERED_BYTES_MAX;
			if (rowCount > 0 && isTooMuch) break;
			const job = this.#jobs.shift()!;
			rowCount += command.rowCount;
			byteCount += command.byteCount;
			const request = this.#requestDraft(draft);
			try {
				const result = await command.plan(request, slice);
				request.merge();
				planned.push({ job, result });
			} catch (error) {
				job.reject(error);
			}
		}
		return draft;
	}

	async #commit(draft: CommitDraft): Promise<void> {
		if (draft.isEmpty) return;
		if (!this.#hasWritten) this.#beforeFirstWrite();
		this.#hasWritten = true;
		const commit = new Commit(this.#state, draft);
		try {
			await commit.build(this.#slice());
		} catch (error) {
			await commit.discard();
			throw error;
		}
		try {
			await commit.write();
		} catch (error) {
			this.#doubtful = commit;
			throw error;
		}
		commit.apply();
	}

	/**
	 * After a failed write LevelDB refuses all others, and its log may hold all of the batch, a part or nothing: open
	 * it again, once there is room for that, and see. Until then the open one still serves reads.
	 */
	async #heal(): Promise<void> {
		const commit = this.#doubtful;
		if (commit === undefined) return;
		await this.#probeDisk();
		const { store } = this.#state;
		await store.reopen();
		const value = store.get(STATE_KEY);
		if (value === undefined) throw damagedRow("state");
		this.#doubtful = undefined;
		if (readMeta<CommitState>(STATE_KEY, value).seq === commit.seq) commit.apply();
		else commit.abandon();
	}

	async #probeDisk(): Promise<void> {
		const path = join(this.#state.folder, "probe.tmp");
		try {
			const file = await open(path, "w");
			try {
				await file.write(new Uint8Array(PROBE_BYTES));
				await file.sync();
			} finally {
				await file.close();
			}
		} finally {
			rmSync(path, { force: true });
		}
	}

	#requestDraft(base: CommitDraft): RequestDraft {
		return new RequestDraft(base, this.#state);
	}

	#slice(): TimeSlice {
		return new TimeSlice(this.#state.clock);
	}
}
