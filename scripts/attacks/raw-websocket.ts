import { connect, type Socket } from "node:net";
import { encodeRequest, Hang, headerOf, NoAnswer, type RawAnswer, type RawRequest, readHead } from "./raw-http.ts";

/** A WebSocket connection that is opened, spoken over and closed. The request is its handshake. */
export interface RawDialogue extends RawRequest {
	readonly frames: readonly RawFrame[];
	/** Whether all that is waited for has come. */
	readonly isOver: (heard: readonly string[]) => boolean;
}

export interface RawFrame {
	readonly text: string;
	/** It is said when so many frames were heard. */
	readonly afterCount: number;
}

/** The key is the same each time, so that handshakes can be compared. */
export const HANDSHAKE: RawRequest["headers"] = [
	["connection", "Upgrade"],
	["upgrade", "websocket"],
	["sec-websocket-version", "13"],
	["sec-websocket-key", "YXR0YWNrLWF0dGFjay1hdA=="],
];

const OPCODES = { text: 1, close: 8, ping: 9 } as const;
const HEAD_END = Buffer.from("\r\n\r\n");

/**
 * @returns as one answer: the handshake's status and headers, and for a body what was heard, a line a frame, with how the server
 *          closed if it did. A handshake that is refused is answered as any request.
 * @throws NoAnswer, Hang
 */
export async function converse(
	host: string,
	port: number,
	dialogue: RawDialogue,
	deadlineMs = 20_000,
): Promise<RawAnswer> {
	const socket = connect({ host, port, noDelay: true });
	try {
		return await new Promise((resolve, reject) => {
			const talk = new Talk(socket, dialogue, resolve);
			const timer = setTimeout(() => reject(new Hang(`no answer within ${deadlineMs} ms`)), deadlineMs);
			socket.on("data", (chunk: Buffer) => {
				try {
					talk.add(chunk);
				} catch (error) {
					reject(error);
				}
			});
			// "close" follows.
			socket.on("error", () => {});
			socket.on("close", () => {
				clearTimeout(timer);
				if (!talk.end()) reject(new NoAnswer("the connection was closed without an answer"));
			});
			socket.write(encodeRequest(dialogue, `${host}:${port}`));
		});
	} finally {
		socket.destroy();
	}
}

class Talk {
	#bytes = Buffer.alloc(0);
	#head: Pick<RawAnswer, "status" | "headers"> | undefined;
	readonly #heard: string[] = [];
	#saidCount = 0;

	constructor(
		private readonly socket: Socket,
		private readonly dialogue: RawDialogue,
		private readonly resolve: (answer: RawAnswer) => void,
	) {}

	add(chunk: Buffer): void {
		this.#bytes = Buffer.concat([this.#bytes, chunk]);
		if (this.#head === undefined) {
			const end = this.#bytes.indexOf(HEAD_END);
			if (end < 0) return;
			this.#head = readHead(this.#bytes.subarray(0, end).toString("latin1"));
			this.#bytes = this.#bytes.subarray(end + HEAD_END.length);
			if (this.#head.status === 101) this.#say();
		}
		if (this.#head.status === 101) this.#hear();
		else if (this.#bytes.length >= Number(headerOf({ ...this.#head, body: this.#bytes }, "content-length")))
			this.#finish();
	}

	/** The server hung up. @returns whether there is an answer all the same */
	end(): boolean {
		if (this.#head === undefined) return false;
		this.#finish();
		return true;
	}

	#hear(): void {
		for (;;) {
			const frame = frameIn(this.#bytes);
			if (frame === undefined) return;
			this.#bytes = this.#bytes.subarray(frame.byteCount);
			const { opcode, content } = frame;
			if (opcode === OPCODES.close) {
				this.#heard.push(
					`closed ${content.length < 2 ? "" : content.readUInt16BE()} ${content.subarray(2).toString()}`,
				);
				this.#finish();
				return;
			}
			if (opcode === OPCODES.ping) continue;
			if (opcode !== OPCODES.text) throw new NoAnswer(`a frame of kind ${opcode}`);
			this.#heard.push(content.toString());
			if (this.dialogue.isOver(this.#heard)) {
				this.#finish();
				return;
			}
			this.#say();
		}
	}

	#say(): void {
		for (;;) {
			const next = this.dialogue.frames[this.#saidCount];
			if (next === undefined || next.afterCount > this.#heard.length) return;
			this.#saidCount++;
			this.socket.write(textFrame(next.text));
		}
	}

	#finish(): void {
		const { status, headers } = this.#head!;
		const body = status === 101 ? Buffer.from(this.#heard.join("\n")) : this.#bytes;
		this.resolve({ status, headers, body });
	}
}

/** RFC 6455, section 5.2. @returns undefined while the frame is not whole */
function frameIn(bytes: Buffer): { opcode: number; content: Buffer; byteCount: number } | undefined {
	if (bytes.length < 2) return undefined;
	const short = bytes[1]! & 0x7f;
	const start = short < 126 ? 2 : short === 126 ? 4 : 10;
	if (bytes.length < start) return undefined;
	const length = short < 126 ? short : short === 126 ? bytes.readUInt16BE(2) : Number(bytes.readBigUInt64BE(2));
	if (bytes.length < start + length) return undefined;
	return { opcode: bytes[0]! & 0x0f, content: bytes.subarray(start, start + length), byteCount: start + length };
}

/** A client's frames are masked; a mask of zeros changes nothing. */
function textFrame(text: string): Buffer {
	const content = Buffer.from(text);
	const head = Buffer.alloc(content.length < 126 ? 2 : content.length < 65_536 ? 4 : 10);
	head[0] = 0x80 | OPCODES.text;
	if (head.length === 2) head[1] = 0x80 | content.length;
	else if (head.length === 4) {
		head[1] = 0x80 | 126;
		head.writeUInt16BE(content.length, 2);
	} else {
		head[1] = 0x80 | 127;
		head.writeBigUInt64BE(BigInt(content.length), 2);
	}
	return Buffer.concat([head, Buffer.alloc(4), content]);
}
