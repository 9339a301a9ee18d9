import { constants } from "node:fs";
import { open } from "node:fs/promises";

/** An open file, as far as the audit log needs one. */
export interface AuditFile {
	read(buffer: Uint8Array, offset: number, length: number, position: number): Promise<{ readonly bytesRead: number }>;
	write(
		buffer: Uint8Array,
		offset: number,
		length: number,
		position: number,
	): Promise<{ readonly bytesWritten: number }>;
	datasync(): Promise<void>;
	truncate(length: number): Promise<void>;
	stat(): Promise<{ readonly size: number }>;
	close(): Promise<void>;
}

/** Opens for reading and writing, and makes what isn't there. A test gives one that fails. */
export type OpenAuditFile = (path: string) => Promise<AuditFile>;

/** Readable by the owner alone, from the first byte on. */
export const openAuditFile: OpenAuditFile = (path) => open(path, constants.O_RDWR | constants.O_CREAT, 0o600);

/** @throws what the file system says; some of the bytes may then be written */
export async function writeAt(file: AuditFile, bytes: Uint8Array, position: number): Promise<void> {
	for (let done = 0; done < bytes.length; ) {
		const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done);
		if (bytesWritten === 0) throw new Error("the disk took nothing");
		done += bytesWritten;
	}
}
