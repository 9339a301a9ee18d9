import { type FileHandle, open } from "node:fs/promises";

const CHUNK_BYTES = 4 * 1024 * 1024;

/**
 * xxHash64 over a file's first bytes, each chunk's hash being the seed of the next; hexadecimal. Reads without blocking the thread.
 *
 * @returns undefined when the file is shorter.
 */
export async function fileChecksum(path: string, byteCount: number): Promise<string | undefined> {
	const file: FileHandle = await open(path, "r");
	try {
		const chunk = new Uint8Array(Math.min(CHUNK_BYTES, byteCount));
		let hash = 0n;
		for (let done = 0; done < byteCount; ) {
			const wanted = Math.min(chunk.length, byteCount - done);
			let read = 0;
			while (read < wanted) {
				const { bytesRead } = await file.read(chunk, read, wanted - read, done + read);
				if (bytesRead === 0) return undefined;
				read += bytesRead;
			}
			hash = Bun.hash.xxHash64(chunk.subarray(0, wanted), hash);
			done += wanted;
		}
		return hash.toString(16);
	} finally {
		await file.close();
	}
}
