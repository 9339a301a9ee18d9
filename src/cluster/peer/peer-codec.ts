import { Packr } from "msgpackr";

/** MessagePack with `undefined` and typed arrays as extensions. */
const packr = new Packr({
	useRecords: false,
	moreTypes: true,
	mapsAsObjects: true,
	int64AsType: "number",
	copyBuffers: true,
});

const WORKSPACE_BYTES = 8 * 1024;
const LARGE_BYTES = 1024 * 1024;

/** Bodies of calls as bytes. */
export function encodeBody(body: unknown): Uint8Array {
	const bytes = packr.pack(body);
	// Small bodies lie side by side in one buffer; a large one's would stay for as long as there is room in it.
	if (bytes.byteLength >= LARGE_BYTES) packr.useBuffer(Buffer.allocUnsafeSlow(WORKSPACE_BYTES));
	return bytes;
}

/**
 * What is decoded shares no memory with the bytes it came from.
 *
 * @throws Error when the bytes are no such body
 */
export function decodeBody(bytes: Uint8Array): unknown {
	return packr.unpack(bytes);
}
