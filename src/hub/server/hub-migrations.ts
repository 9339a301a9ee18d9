/**
 * The hub's tables, one list of statements a version; a database is brought from its version to the last, each version in a
 * transaction of its own. What has been released is never edited: a change is a new version.
 *
 * Only what SQLite and PostgreSQL both take: TEXT and BIGINT columns, times in milliseconds since the Unix epoch, JSON as
 * text, truth as 0 and 1.
 */
export const HUB_MIGRATIONS: readonly (readonly string[])[] = [
	[
		`CREATE TABLE hub_state (name TEXT PRIMARY KEY, value BIGINT NOT NULL)`,
		`INSERT INTO hub_state (name, value) VALUES ('schema_version', 0), ('revision', 0), ('changes_pruned_to', 0)`,
		`CREATE TABLE tenants (
			id TEXT PRIMARY KEY,
			name TEXT NOT NULL,
			active BIGINT NOT NULL,
			max_storage_bytes BIGINT,
			max_vectors BIGINT,
			max_collections BIGINT,
			rate_limits TEXT,
			metadata TEXT NOT NULL,
			created_at_ms BIGINT NOT NULL,
			revision BIGINT NOT NULL
		)`,
		`CREATE TABLE api_keys (
			id TEXT PRIMARY KEY,
			key_hash TEXT NOT NULL UNIQUE,
			tenant_id TEXT NOT NULL,
			name TEXT NOT NULL,
			permissions TEXT NOT NULL,
			environment TEXT NOT NULL,
			created_at_ms BIGINT NOT NULL,
			expires_at_ms BIGINT,
			last_used_at_ms BIGINT,
			rotation_status TEXT NOT NULL,
			rate_limit_override TEXT,
			allowed_ips TEXT,
			signing_required BIGINT NOT NULL,
			revision BIGINT NOT NULL
		)`,
		`CREATE INDEX api_keys_by_tenant ON api_keys (tenant_id)`,
		`CREATE TABLE collections (
			tenant_id TEXT NOT NULL,
			name TEXT NOT NULL,
			id TEXT NOT NULL UNIQUE,
			body TEXT NOT NULL,
			created_at_ms BIGINT NOT NULL,
			revision BIGINT NOT NULL,
			PRIMARY KEY (tenant_id, name)
		)`,
		`CREATE TABLE usage_reports (
			node_id TEXT NOT NULL,
			sequence BIGINT NOT NULL,
			PRIMARY KEY (node_id, sequence)
		)`,
		`CREATE TABLE usage_totals (
			tenant_id TEXT NOT NULL,
			node_id TEXT NOT NULL,
			requests BIGINT NOT NULL,
			vectors_written BIGINT NOT NULL,
			searches BIGINT NOT NULL,
			storage_bytes BIGINT NOT NULL,
			vectors BIGINT NOT NULL,
			period_start_ms BIGINT NOT NULL,
			period_end_ms BIGINT NOT NULL,
			PRIMARY KEY (tenant_id, node_id)
		)`,
		`CREATE TABLE topology (version BIGINT NOT NULL, members TEXT NOT NULL)`,
		`INSERT INTO topology (version, members) VALUES (0, '[]')`,
		`CREATE TABLE changes (revision BIGINT PRIMARY KEY, body TEXT NOT NULL)`,
	],
	[`ALTER TABLE api_keys ADD COLUMN signing_public_key TEXT`],
	[
		`ALTER TABLE topology ADD COLUMN retired TEXT NOT NULL DEFAULT '[]'`,
		`ALTER TABLE topology ADD COLUMN replica_counts TEXT NOT NULL DEFAULT '[]'`,
	],
];
