import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type AuditFile, openAuditFile } from "../../src/access/audit/audit-file.ts";
import { type AuditBounds, AuditLog } from "../../src/access/audit/audit-log.ts";
import type { AuditEntry, AuditEvent, AuditQuery } from "../../src/access/audit/audit-types.ts";
import { FakeClock } from "./access-fixture.ts";

export const DAY_MS = 86_400_000;

type FaultyCall = "write" | "datasync" | "truncate" | "open";

/** A disk that fails when told to, and counts. */
export class FaultyDisk {
	syncCount = 0;
	/** Called before each call of the disk but for the head's; what it throws, the disk throws; what it waits for, the disk does. */
	fault: (call: FaultyCall) => void | Promise<void> = () => {};
	/** Called before each call for the head. */
	headFault: () => void = () => {};
	/** Bytes of a write that get through before its fault. */
	bytesBeforeFault = 0;

	readonly open = async (path: string): Promise<AuditFile> => {
		if (path.endsWith("head")) return this.#head(await openAuditFile(path));
		await this.fault("open");
		const file = await openAuditFile(path);
		return {
			read: (...args) => file.read(...args),
			stat: () => file.stat(),
			close: () => file.close(),
			truncate: async (length) => {
				await this.fault("truncate");
				await file.truncate(length);
			},
			datasync: async () => {
				this.syncCount++;
				await this.fault("datasync");
				await file.datasync();
			},
			write: async (bytes, offset, length, position) => {
				try {
					await this.fault("write");
				} catch (error) {
					await file.write(bytes, offset, Math.min(length, this.bytesBeforeFault), position);
					throw error;
				}
				// Half at a time: a disk may take less than it is given.
				return await file.write(bytes, offset, Math.ceil(length / 2), position);
			},
		};
	};

	#head(file: AuditFile): AuditFile {
		return {
			read: (...args) => file.read(...args),
			stat: () => file.stat(),
			close: () => file.close(),
			truncate: (length) => file.truncate(length),
			datasync: () => file.datasync(),
			write: async (...args) => {
				this.headFault();
				return await file.write(...args);
			},
		};
	}

	/** Fails each call of one kind until `heal`. */
	breakAt(broken: FaultyCall): void {
		this.fault = (call) => {
			if (call === broken) throw new Error(`no ${call}`);
		};
	}

	heal(): void {
		this.fault = () => {};
	}
}

/** An audit log in a folder of its own, opened and closed as often as a test likes. */
export class AuditRig {
	readonly home = mkdtempSync(join(tmpdir(), "hive-audit-"));
	readonly folder = join(this.home, "audit");
	readonly clock = new FakeClock();
	readonly disk = new FaultyDisk();
	readonly logged: { readonly message: string; readonly facts: Readonly<Record<string, unknown>> }[] = [];
	readonly #opened: AuditLog[] = [];
	/** Told of each line that is logged. */
	onLogged: (message: string) => void = () => {};

	async open(bounds: Partial<AuditBounds> = {}, retentionDays = 365): Promise<AuditLog> {
		const log = await AuditLog.open({
			folder: this.folder,
			clock: this.clock,
			retentionDays,
			openFile: this.disk.open,
			bounds,
			log: (message, facts) => {
				this.logged.push({ message, facts });
				this.onLogged(message);
			},
		});
		this.#opened.push(log);
		return log;
	}

	/** Runs `work` on a log that is then closed. */
	async session(work: (log: AuditLog) => unknown): Promise<void> {
		const log = await this.open();
		await work(log);
		await log.close();
	}

	logs(message: string): Promise<void> {
		return new Promise((resolve) => {
			this.onLogged = (logged) => {
				if (logged === message) resolve();
			};
		});
	}

	files(): string[] {
		return readdirSync(this.folder).sort();
	}

	text(file: string): string {
		return readFileSync(join(this.folder, file), "utf8");
	}

	/** Lines of a day's file. */
	lines(file: string): string[] {
		return this.text(file).split("\n").slice(0, -1);
	}

	write(file: string, text: string): void {
		writeFileSync(join(this.folder, file), text);
	}

	writeLines(file: string, lines: readonly string[]): void {
		this.write(file, lines.map((line) => `${line}\n`).join(""));
	}

	async leave(): Promise<void> {
		this.disk.heal();
		await Promise.all(this.#opened.map((log) => log.close()));
		rmSync(this.home, { recursive: true, force: true });
	}
}

/** An admin's doing, told apart by a number. */
export const action = (number: number, more: Partial<AuditEvent> = {}): AuditEvent => ({
	event: "admin.action",
	outcome: "ok",
	tenant_id: "acme",
	actor_tenant_id: "system",
	api_key_id: "key_aaaaaaaaaaaaaaaa",
	operation: "keys.create",
	request_id: `req_${number}`,
	remote_address: "192.0.2.1",
	details: { number },
	...more,
});

export const failure = (address: string, more: Partial<AuditEvent> = {}): AuditEvent => ({
	event: "auth.failed",
	outcome: "refused",
	code: "AUTH_INVALID",
	remote_address: address,
	...more,
});

/** All entries that a query names, page by page, oldest first. */
export async function allEntries(log: AuditLog, query: Partial<AuditQuery> = {}): Promise<AuditEntry[]> {
	const entries: AuditEntry[] = [];
	let before = query.before;
	for (;;) {
		const page = await log.list({ limit: 1_000, ...query, ...(before !== undefined && { before }) });
		entries.push(...page.entries);
		if (page.next === null) return entries.reverse();
		before = page.next;
	}
}

/** What a promise is rejected with. */
export const reasonOf = (promise: Promise<unknown>): Promise<unknown> =>
	promise.then(
		() => {
			throw new Error("it was not rejected");
		},
		(reason: unknown) => reason,
	);
