import { existsSync, rmSync } from "node:fs";
import { readSealedLine, writeSealedLine } from "./durable-file.ts";
import { fileChecksum } from "./file-checksum.ts";

const FORMAT = 1;

/** Says that the vector file is whole: what it held when the shard was last closed in order. */
export interface VectorSeal {
	/** The last commit that the file has. */
	readonly seq: number;
	readonly rowCount: number;
	/** xxHash64 of those rows, see `fileChecksum`. */
	readonly checksum: string;
	/** At least the length of the longest row. */
	readonly normMax: number;
}

/** @param vectorPath the vector file, which nobody writes meanwhile. */
export async function writeVectorSeal(
	path: string,
	vectorPath: string,
	rowBytes: number,
	seal: Omit<VectorSeal, "checksum">,
): Promise<void> {
	const checksum = await fileChecksum(vectorPath, seal.rowCount * rowBytes);
	if (checksum === undefined) throw new Error("the vector file is shorter than its rows");
	writeSealedLine(path, JSON.stringify({ format: FORMAT, ...seal, checksum }));
}

/** @returns undefined when the vector file can't be relied on, whatever the reason. */
export async function verifiedVectorSeal(
	path: string,
	vectorPath: string,
	rowBytes: number,
	seq: number,
): Promise<VectorSeal | undefined> {
	const sealed = readSealedLine(path);
	if (sealed === undefined || sealed === "damaged" || !existsSync(vectorPath)) return undefined;
	const seal = JSON.parse(sealed.line) as VectorSeal & { readonly format: number };
	if (seal.format !== FORMAT || seal.seq !== seq) return undefined;
	return (await fileChecksum(vectorPath, seal.rowCount * rowBytes)) === seal.checksum ? seal : undefined;
}

/** The vector file is about to change. */
export function breakVectorSeal(path: string): void {
	rmSync(path, { force: true });
}
