import { readFileSync, statSync } from "node:fs";
import { HiveError } from "../base/errors.ts";
import { newServiceKey, type RandomBytes } from "../base/ids.ts";
import type { Log } from "../observe/log.ts";
import type { DataFolder } from "./data-folder.ts";

/** Fewer could be guessed. */
const CLUSTER_SECRET_BYTES_MIN = 16;
const OTHERS_MAY_READ = 0o077;

export interface ClusterSecretParts {
	readonly folder: DataFolder;
	/** `cluster.secret_file`; else it is in the data folder. */
	readonly secretFile: string | undefined;
	/** Whether the node joins others, whose secret it then has to have: one that it makes up lets it in nowhere. */
	readonly joins: boolean;
	readonly random: RandomBytes;
	readonly log: Pick<Log, "warn">;
}

/**
 * The secret that lets nodes talk to each other: of the file that is named, or the data folder's, made by the first start of a node
 * that joins no other. Not to be shown or logged.
 *
 * @throws VALIDATION_FAILED when there is none to join with, or when it is too short
 */
export function openClusterSecret({ folder, secretFile, joins, random, log }: ClusterSecretParts): string {
	const path = secretFile ?? folder.secretPath("clusterSecret");
	const secret = readSecret(path);
	if (secret === undefined) {
		if (secretFile !== undefined) throw secretError(`${path} cannot be read: there is no such file`);
		if (joins) {
			throw secretError(
				`this node is to join a cluster and has not got its secret: copy cluster.secret from the data folder of the first node to ${path} ` +
					"(mode 0600), or name a file that holds it in cluster.secret_file",
			);
		}
		folder.writeSecret("clusterSecret", Buffer.from(random(32)).toString("hex"));
		return readSecret(path)!;
	}
	if (Buffer.byteLength(secret) < CLUSTER_SECRET_BYTES_MIN) {
		throw secretError(`${path} is too short for a secret: at least ${CLUSTER_SECRET_BYTES_MIN} bytes are needed`);
	}
	if (mayOthersRead(path)) log.warn({ path }, "others on this machine may read the cluster's secret: chmod 600 it");
	return secret;
}

const secretError = (message: string): HiveError =>
	new HiveError("VALIDATION_FAILED", message, { field: "cluster.secret_file" });

/** Whether anyone but the owner may read a file. */
export const mayOthersRead = (path: string): boolean => (statSync(path).mode & OTHERS_MAY_READ) !== 0;

/** undefined when the file isn't there. A newline at the end, which editors add, is no part of the secret. */
function readSecret(path: string): string | undefined {
	try {
		return readFileSync(path, "utf8").trim();
	} catch (cause) {
		const { code } = cause as NodeJS.ErrnoException;
		if (code === "ENOENT") return undefined;
		throw new HiveError("VALIDATION_FAILED", `${path} cannot be read (${code})`, { field: "cluster.secret_file" });
	}
}

/**
 * The service key that a hub of its own asks its nodes for: the one it was given, or else the one of its first start.
 *
 * @returns the key, and the path of its file when it was made just now.
 */
export function ensureServiceKey(
	folder: DataFolder,
	given: string | undefined,
	random: RandomBytes,
): { readonly serviceKey: string; readonly writtenTo?: string } {
	const known = given ?? folder.readSecret("serviceKey");
	if (known !== undefined) return { serviceKey: known };
	const serviceKey = newServiceKey(random);
	folder.writeSecret("serviceKey", serviceKey);
	return { serviceKey, writtenTo: folder.secretPath("serviceKey") };
}
