import { parseInstant } from "../../src/base/instant.ts";
import { usageFailure } from "./failure.ts";
import type { Column } from "./table.ts";
import { parseDurationMs } from "./units.ts";

export interface AuditEntryAnswer {
	readonly seq: number;
	readonly time: string;
	readonly event: string;
	readonly outcome: string;
	readonly tenant_id?: string;
	readonly api_key_id?: string;
	readonly actor_tenant_id?: string;
	readonly operation?: string;
	readonly code?: string;
	readonly request_id?: string;
	readonly remote_address?: string;
	readonly details?: Readonly<Record<string, string | number | boolean | null>>;
	readonly prev: string;
	readonly hash: string;
}

export interface AuditVerificationAnswer {
	readonly intact: boolean;
	readonly entries: number;
	readonly files: number;
	readonly first_seq: number | null;
	readonly last_seq: number | null;
	readonly problems: readonly { readonly file: string; readonly line: number; readonly problem: string }[];
}

export const AUDIT_COLUMNS: readonly Column[] = [
	{ title: "SEQ", align: "right" },
	...["TIME", "EVENT", "OUTCOME", "TENANT", "BY", "OPERATION", "FROM", "MORE"].map((title) => ({ title })),
];

export function auditRow(entry: AuditEntryAnswer): readonly string[] {
	const { api_key_id, actor_tenant_id, code, details } = entry;
	const actor = [actor_tenant_id, api_key_id].filter((part) => part !== undefined).join("/");
	const facts = Object.entries(details ?? {}).map(([name, value]) => `${name}=${value}`);
	return [
		String(entry.seq),
		entry.time,
		entry.event,
		entry.outcome,
		entry.tenant_id ?? "-",
		actor === "" ? "-" : actor,
		entry.operation ?? "-",
		entry.remote_address ?? "-",
		[...(code === undefined ? [] : [code]), ...facts].join(" "),
	];
}

/** A time as it is, or so long ago: `24h`. @returns RFC 3339 @throws CommandFailure */
export function parseMoment(text: string, nowMs: number): string {
	if (parseInstant(text) !== undefined) return text;
	if (!/^\d+(\.\d+)?[a-z]+$/.test(text)) {
		throw usageFailure(`"${text}" is neither a time nor a duration`, "for instance 24h, 7d or 2026-11-24T08:30:00Z");
	}
	return new Date(Math.max(0, nowMs - parseDurationMs(text))).toISOString();
}

/** `2026-11-24.jsonl:17: entry 40 was changed`, a line each. */
export function problemLines(problems: AuditVerificationAnswer["problems"]): string {
	return problems.map(({ file, line, problem }) => `${line === 0 ? file : `${file}:${line}`}: ${problem}\n`).join("");
}
