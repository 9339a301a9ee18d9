import { Flags } from "@oclif/core";
import { AUDIT_COLUMNS, type AuditEntryAnswer, auditRow, parseMoment } from "../shared/audit-view.ts";
import { NodeCommand } from "../shared/node-command.ts";

const PAGE_MAX = 1_000;
const ENTRIES_MAX = 100_000;

export class AuditList extends NodeCommand {
	static override summary = "List what the audit log holds, newest first.";
	static override examples = [
		"<%= config.bin %> audit list --since 24h --event auth",
		"<%= config.bin %> audit list --tenant acme --event admin.action,tenant.cross_access --json",
	];
	static override flags = {
		since: Flags.string({ description: "from then on: a time, or so long ago", helpValue: "24h|<RFC 3339>" }),
		until: Flags.string({ description: "before then", helpValue: "1h|<RFC 3339>" }),
		tenant: Flags.string({ description: "what happened to a tenant, or was done with its keys", helpValue: "<id>" }),
		event: Flags.string({
			description: "events by name, or by the part before the dot; several with commas between",
			helpValue: "<name>",
		}),
		limit: Flags.integer({ description: "entries at most", default: 100, min: 1, max: ENTRIES_MAX }),
		cursor: Flags.string({ description: "go on where an earlier list ended", helpValue: "<next_cursor>" }),
	};

	override async run(): Promise<{ entries: readonly AuditEntryAnswer[]; next_cursor: string | null }> {
		const { flags } = await this.parse(AuditList);
		const nowMs = Date.now();
		const filter = {
			since: flags.since === undefined ? undefined : parseMoment(flags.since, nowMs),
			until: flags.until === undefined ? undefined : parseMoment(flags.until, nowMs),
			tenant_id: flags.tenant,
			event: flags.event,
		};
		// `--tenant` is a filter here, not a tenant to act in.
		const node = await this.connect({ ...flags, tenant: undefined });
		const entries: AuditEntryAnswer[] = [];
		let cursor: string | null | undefined = flags.cursor;
		do {
			const limit = Math.min(PAGE_MAX, flags.limit - entries.length);
			const page: { entries: readonly AuditEntryAnswer[]; next_cursor: string | null } = await node.call(
				"GET",
				"/audit",
				{ query: { ...filter, limit, cursor } },
			);
			entries.push(...page.entries);
			cursor = page.next_cursor;
		} while (cursor !== null && entries.length < flags.limit);
		if (this.jsonEnabled()) return { entries, next_cursor: cursor };
		this.printTable(AUDIT_COLUMNS, entries.map(auditRow));
		if (cursor !== null) this.note(`there are older ones: --cursor ${cursor}, or a higher --limit`);
		return { entries, next_cursor: cursor };
	}
}
