import { newServiceKey, type RandomBytes } from "../base/ids.ts";
import type { DataFolder } from "./data-folder.ts";

/** The secret that lets other nodes in, made by the first start in cluster mode. */
export function ensureClusterSecret(folder: DataFolder, random: RandomBytes): void {
	if (folder.readSecret("clusterSecret") !== undefined) return;
	folder.writeSecret("clusterSecret", Buffer.from(random(32)).toString("hex"));
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
