import { Database } from "bun:sqlite";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { HiveError } from "../base/errors.ts";
import { type NodeId, newNodeId, type RandomBytes } from "../base/ids.ts";
import { tenantsFolder } from "../shards/data-folder.ts";
import { writeFileDurably } from "../storage/durable-file.ts";

/** What stands in a data folder besides the tenants' shards. */
const FILES = {
	lock: "lock",
	/** Whose lock it is. A file of its own: closing `lock` here would drop SQLite's lock on it. */
	lockOwner: "lock.pid",
	nodeId: "node.id",
	nodeKey: "node.key",
	clusterState: "cluster.state",
	hints: "hints",
	cursor: "hub.cursor",
	hubHeard: "hub.heard",
	hubGeneration: "hub.generation",
	usageCounters: "usage.counters",
	usageOutbox: "usage.outbox",
	storedUsage: "usage.stored",
	hubDatabase: "hub.db",
	adminKey: "admin.key",
	serviceKey: "service.key",
	clusterSecret: "cluster.secret",
	nonces: "signature.nonces",
	native: "native",
} as const;

/**
 * A number that outlives the process: how far the hub's feed was delivered; how far changes were heard of, from whomever, that
 * take something away; how often the hub went back to an older state.
 */
export type StoredCounter = "cursor" | "hubHeard" | "hubGeneration";
/** A secret in a file that only the owner may read. */
export type SecretName = "adminKey" | "serviceKey" | "clusterSecret";

const NODE_ID_PATTERN = /^node_[a-z0-9]{16}$/;

/** Where a node on this data folder writes its first ADMIN key. */
export const adminKeyPath = (dataDir: string): string => join(dataDir, FILES.adminKey);

/**
 * One process's hold on a data folder, from `openDataFolder` to `release`. The lock is the operating system's: it goes
 * with the process, however that ends.
 */
export class DataFolder {
	constructor(
		readonly path: string,
		readonly nodeId: NodeId,
		// Held in a field: a collected connection gives the lock back.
		private readonly lock: Database,
	) {}

	/** Where the embedded hub keeps its SQLite database. */
	get hubDatabasePath(): string {
		return join(this.path, FILES.hubDatabase);
	}

	/** Whether an embedded hub with a SQLite database of its own has ever run here. */
	get hasHubDatabase(): boolean {
		return existsSync(this.hubDatabasePath);
	}

	/** Where the key lies that proves to other nodes who this one is. */
	get nodeKeyPath(): string {
		return join(this.path, FILES.nodeKey);
	}

	/** Whether a node of a cluster has run here. */
	get hasClusterState(): boolean {
		return existsSync(this.clusterStatePath);
	}

	/** Whether shards of any collection are, or were, here. */
	get hasTenants(): boolean {
		const path = tenantsFolder(this.path);
		return existsSync(path) && readdirSync(path).length > 0;
	}

	/** Where the node remembers the topology it knew last. */
	get clusterStatePath(): string {
		return join(this.path, FILES.clusterState);
	}

	/** Folder of what other nodes have missed. */
	get hintsPath(): string {
		return join(this.path, FILES.hints);
	}

	/** Where the node remembers what its tenants have stored. */
	get storedUsagePath(): string {
		return join(this.path, FILES.storedUsage);
	}

	/** What tenants did on this node, and the rate-limit tokens they have spent. */
	get usageCountersPath(): string {
		return join(this.path, FILES.usageCounters);
	}

	/** The usage report on its way to the hub. */
	get usageOutboxPath(): string {
		return join(this.path, FILES.usageOutbox);
	}

	/** Where nonces of signed requests outlive the process. */
	get noncesPath(): string {
		return join(this.path, FILES.nonces);
	}

	/** Where the compiled binary unpacks its native addons. */
	get nativePath(): string {
		return join(this.path, FILES.native);
	}

	/** undefined when it was never written, or isn't a number any more: both mean starting over. */
	readCounter(name: StoredCounter): number | undefined {
		const text = readText(join(this.path, FILES[name]));
		const value = text === undefined || !/^\d{1,16}\n$/.test(text) ? Number.NaN : Number(text);
		return Number.isSafeInteger(value) ? value : undefined;
	}

	/** On disk when it returns: after a crash there is the old number or the new one. */
	writeCounter(name: StoredCounter, value: number): void {
		writeFileDurably(join(this.path, FILES[name]), `${value}\n`);
	}

	secretPath(name: SecretName): string {
		return join(this.path, FILES[name]);
	}

	/** undefined when the file isn't there. */
	readSecret(name: SecretName): string | undefined {
		return readText(this.secretPath(name))?.trim();
	}

	/** Readable by the owner alone, from the first byte on. */
	writeSecret(name: SecretName, secret: string): void {
		writeFileDurably(this.secretPath(name), `${secret}\n`);
	}

	/** Another process may open the folder from here on. Idempotent. */
	release(): void {
		this.lock.close();
	}
}

/**
 * Makes the folder (mode 0700) if it isn't there and locks it for this process.
 *
 * @throws HiveError CONFLICT naming the process that holds the folder; VALIDATION_FAILED when it can't be made or written.
 */
export function openDataFolder(path: string, random: RandomBytes): DataFolder {
	try {
		mkdirSync(path, { recursive: true, mode: 0o700 });
		const lock = takeLock(path);
		try {
			return new DataFolder(path, readOrMakeNodeId(path, random), lock);
		} catch (cause) {
			lock.close();
			throw cause;
		}
	} catch (cause) {
		if (cause instanceof HiveError) throw cause;
		const why = cause instanceof Error ? cause.message : String(cause);
		throw new HiveError(
			"VALIDATION_FAILED",
			`the data folder ${path} cannot be used: ${why}`,
			{ field: "data_dir" },
			{ cause },
		);
	}
}

function takeLock(path: string): Database {
	const lockPath = join(path, FILES.lock);
	const ownerPath = join(path, FILES.lockOwner);
	const lock = new Database(lockPath, { create: true });
	try {
		// No journal and no waiting: the transaction is never committed, it only holds the file's lock.
		lock.run("PRAGMA busy_timeout = 0");
		lock.run("PRAGMA journal_mode = MEMORY");
		lock.run("BEGIN EXCLUSIVE");
	} catch (cause) {
		lock.close();
		if ((cause as { code?: unknown }).code !== "SQLITE_BUSY") throw cause;
		const owner = readText(ownerPath)?.trim() ?? "";
		const who = /^\d+$/.test(owner) ? `process ${owner}` : "another process";
		throw new HiveError(
			"CONFLICT",
			`the data folder ${path} is in use by ${who}; stop that one, or start this one with another --data-dir`,
			{ field: "data_dir" },
			{ cause },
		);
	}
	try {
		chmodSync(lockPath, 0o600);
		writeFileDurably(ownerPath, `${process.pid}\n`);
	} catch (cause) {
		lock.close();
		throw cause;
	}
	return lock;
}

function readOrMakeNodeId(path: string, random: RandomBytes): NodeId {
	const file = join(path, FILES.nodeId);
	const text = readText(file)?.trim();
	if (text !== undefined && NODE_ID_PATTERN.test(text)) return text as NodeId;
	const nodeId = newNodeId(random);
	writeFileDurably(file, `${nodeId}\n`);
	return nodeId;
}

function readText(path: string): string | undefined {
	try {
		return readFileSync(path, "utf8");
	} catch (cause) {
		if ((cause as NodeJS.ErrnoException).code === "ENOENT") return undefined;
		throw cause;
	}
}
