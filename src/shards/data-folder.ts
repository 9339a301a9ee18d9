import { constants } from "node:fs";
import { access, mkdir, open } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type CollectionId, TENANT_ID_PATTERN, type TenantId } from "../base/ids.ts";
import type { ShardName } from "./pool-types.ts";

/** Where things lie under the data folder. What becomes part of a path is checked here, whoever vouched for it before. */

const COLLECTION_ID_PATTERN = /^[a-z0-9]{1,64}$/;

export const tenantsFolder = (dataDir: string): string => join(dataDir, "tenants");
export const trashFolder = (dataDir: string): string => join(dataDir, "trash");

/** @throws Error when the id is not one */
export function tenantFolder(dataDir: string, tenantId: TenantId): string {
	if (!TENANT_ID_PATTERN.test(tenantId)) throw new Error(`not a tenant id: ${JSON.stringify(tenantId)}`);
	return join(tenantsFolder(dataDir), tenantId);
}

/** @throws Error when an id is not one */
export function collectionFolder(dataDir: string, tenantId: TenantId, collectionId: CollectionId): string {
	if (!isCollectionId(collectionId)) throw new Error(`not a collection id: ${JSON.stringify(collectionId)}`);
	return join(tenantFolder(dataDir, tenantId), collectionId);
}

/** @throws Error when a part of the name is not one */
export function shardFolder(dataDir: string, name: ShardName): string {
	if (!Number.isSafeInteger(name.shardIndex) || name.shardIndex < 0) {
		throw new Error(`not a shard index: ${name.shardIndex}`);
	}
	return join(collectionFolder(dataDir, name.tenantId, name.collectionId), String(name.shardIndex));
}

export function isCollectionId(text: string): text is CollectionId {
	return COLLECTION_ID_PATTERN.test(text);
}

/** Whether a file or folder is there. @throws what the file system says, but for "not there" */
export async function exists(path: string): Promise<boolean> {
	try {
		await access(path, constants.F_OK);
		return true;
	} catch (error) {
		if (isMissing(error)) return false;
		throw error;
	}
}

export function isMissing(error: unknown): boolean {
	return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}

/** Puts a folder's entries on disk: what was made, renamed or removed in it survives a power cut. */
export async function syncFolder(path: string): Promise<void> {
	const folder = await open(path, "r");
	try {
		await folder.sync();
	} finally {
		await folder.close();
	}
}

/** `mkdir -p` that survives a power cut. */
export async function makeFolder(path: string): Promise<void> {
	const firstMade = await mkdir(path, { recursive: true, mode: 0o700 });
	if (firstMade === undefined) return;
	for (let made = path; ; made = dirname(made)) {
		await syncFolder(dirname(made));
		if (made === firstMade || made === dirname(made)) return;
	}
}
