import { existsSync, readFileSync, rmSync } from "node:fs";
import { fileChecksum, writeAtomically } from "./file-checksum.ts";

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
	const text = JSON.stringify({ format: FORMAT, ...seal, checksum });
	writeAtomically(path, Buffer.from(`${text}\n${Bun.hash.xxHash64(text).toString(16)}\n`));
}

/** @returns undefined when the vector file can't be relied on, whatever the reason. */
export async function verifiedVectorSeal(
	path: string,
	vectorPath: string,
	rowBytes: number,
	seq: number,
): Promise<VectorSeal | undefined> {
	if (!existsSync(path) || !existsSync(vectorPath)) return undefined;
	const [text, checksum] = readFileSync(path, "utf8").split("\n");
	if (text === undefined || Bun.hash.xxHash64(text).toString(16) !== checksum) return undefined;
	const seal = JSON.parse(text) as VectorSeal & { readonly format: number };
	if (seal.format !== FORMAT || seal.seq !== seq) return undefined;
	return (await fileChecksum(vectorPath, seal.rowCount * rowBytes)) === seal.checksum ? seal : undefined;
}

/** The vector file is about to change. */
export function breakVectorSeal(path: string): void {
	rmSync(path, { force: true });
}
