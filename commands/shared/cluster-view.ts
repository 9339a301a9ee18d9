import type { Column } from "./table.ts";
import { formatBytes, formatCount } from "./units.ts";

/** A member, as the API shows it. */
export interface NodeAnswer {
	readonly node_id: string;
	readonly state: string;
	readonly addresses: readonly string[];
	readonly url: string | null;
	readonly version: string | null;
	readonly ring_share: number;
	readonly self: boolean;
	readonly last_heard_seconds: number | null;
	readonly hub: { readonly serves: boolean; readonly connected: boolean | null };
	readonly shards_open: number | null;
	readonly stored_gb: number | null;
	readonly transfers: readonly { readonly rows_done: number; readonly rows_total: number }[];
	readonly transfers_waiting: number;
	readonly hints_pending: number;
	readonly replication_lag_seconds: number;
}

export interface NodesAnswer {
	readonly topology_version: number;
	readonly is_changing: boolean;
	readonly nodes: readonly NodeAnswer[];
}

export interface HealthAnswer extends NodesAnswer {
	readonly status: "healthy" | "degraded";
	readonly problems: readonly string[];
	readonly hivehub_connection: string;
	readonly tenant_count: number | null;
	readonly total_storage_gb: number;
	readonly uptime_seconds: number;
	readonly version: string;
}

/** What a change of a member is answered with. */
export interface MemberChange {
	readonly node_id: string;
	readonly state: string;
	readonly topology_version: number;
}

const BYTES_PER_GB = 1e9;
const UNKNOWN = "?";

export const NODE_COLUMNS: readonly Column[] = [
	{ title: "NODE" },
	{ title: "STATE" },
	{ title: "URL" },
	{ title: "VERSION" },
	{ title: "SHARE", align: "right" },
	{ title: "STORED", align: "right" },
	{ title: "OPEN SHARDS", align: "right" },
	{ title: "MOVING IN", align: "right" },
	{ title: "HINTS", align: "right" },
	{ title: "LAG", align: "right" },
	{ title: "HEARD", align: "right" },
];

export function nodeRow(node: NodeAnswer): readonly string[] {
	const marks = [...(node.self ? ["answers"] : []), ...(node.hub.serves ? ["hub"] : [])];
	return [
		node.node_id,
		marks.length === 0 ? node.state : `${node.state} (${marks.join(", ")})`,
		node.url ?? UNKNOWN,
		node.version ?? UNKNOWN,
		`${(node.ring_share * 100).toFixed(1)} %`,
		node.stored_gb === null ? UNKNOWN : formatBytes(Math.round(node.stored_gb * BYTES_PER_GB)),
		node.shards_open === null ? UNKNOWN : formatCount(node.shards_open),
		movesText(node),
		formatCount(node.hints_pending),
		secondsText(node.replication_lag_seconds),
		node.self ? "" : heardText(node.last_heard_seconds),
	];
}

/** Shards that are under way or wait. */
export const movesLeft = ({ nodes }: NodesAnswer): number =>
	nodes.reduce((sum, node) => sum + node.transfers.length + node.transfers_waiting, 0);

/** `2 of 7`: under way, of all that have to. Empty where nothing moves. */
function movesText({ transfers, transfers_waiting }: NodeAnswer): string {
	const all = transfers.length + transfers_waiting;
	return all === 0 ? "" : `${transfers.length} of ${all}`;
}

const secondsText = (seconds: number): string =>
	seconds === 0 ? "" : seconds < 100 ? `${Number(seconds.toFixed(1))} s` : `${Math.round(seconds / 60)} min`;

const heardText = (seconds: number | null): string =>
	seconds === null ? "never" : seconds < 1 ? "now" : `${secondsText(seconds)} ago`;
