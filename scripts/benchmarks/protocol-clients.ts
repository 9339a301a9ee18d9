import { decode, encode } from "@msgpack/msgpack";
import { BINARY, type LocalNode } from "../local-node.ts";

/** One way of asking a node for a query's 10 nearest. */
export interface ProtocolClient {
	readonly name: string;
	/** @returns ids, nearest first */
	search(query: number): Promise<readonly number[]>;
	close(): Promise<void>;
}

export interface SearchTarget {
	readonly node: LocalNode;
	readonly key: string;
	readonly collection: string;
	readonly efSearch: number;
	readonly queries: readonly Float32Array[];
}

const LIMIT = 10;
const LEGACY = "2025-11-25";
const MODERN = "2026-07-28";
/** What a client of the revision without a handshake puts into each request. */
const ENVELOPE = {
	"io.modelcontextprotocol/protocolVersion": MODERN,
	"io.modelcontextprotocol/clientInfo": { name: "bench", version: "1" },
	"io.modelcontextprotocol/clientCapabilities": {},
};
const GRAPHQL_QUERY =
	"query($c: String!, $v: Vector!, $n: Int!, $ef: Int!) { search(collection: $c, vector: $v, limit: $n, efSearch: $ef) { results { id score } } }";

interface Found {
	readonly results: readonly { readonly id: number }[];
}

/**
 * Each protocol with the least a client can do: bodies are written beforehand, the messages are plain `fetch`, WebSocket and lines, and
 * of an answer the ids alone are taken. No SDK, so its cost is not in the figures. The first is the one that the others are held against.
 */
export async function connectProtocols(target: SearchTarget): Promise<readonly ProtocolClient[]> {
	return [
		restJson(target),
		restMsgpack(target),
		graphqlHttp(target),
		await graphqlSocket(target),
		mcpHttp(target, LEGACY),
		mcpHttp(target, MODERN),
		await mcpSocket(target),
		mcpBridge(target),
	];
}

const searchInput = ({ efSearch }: SearchTarget, query: Float32Array) => ({
	vector: [...query],
	limit: LIMIT,
	ef_search: efSearch,
	with_payload: false,
});

const idsIn = ({ results }: Found): number[] => results.map(({ id }) => id);

const nothingToClose = async (): Promise<void> => {};

async function fetchOk(url: string, init: RequestInit): Promise<Response> {
	const answer = await fetch(url, { method: "POST", ...init });
	if (!answer.ok) throw new Error(`POST ${url}: ${answer.status} ${await answer.text()}`);
	return answer;
}

function restJson(target: SearchTarget): ProtocolClient {
	const url = `${target.node.url}/api/v1/collections/${target.collection}/search`;
	const headers = { "x-api-key": target.key, "content-type": "application/json" };
	const bodies = target.queries.map((query) => JSON.stringify(searchInput(target, query)));
	return {
		name: "REST, JSON",
		search: async (query) => idsIn((await (await fetchOk(url, { headers, body: bodies[query]! })).json()) as Found),
		close: nothingToClose,
	};
}

function restMsgpack(target: SearchTarget): ProtocolClient {
	const url = `${target.node.url}/api/v1/collections/${target.collection}/search`;
	const type = "application/msgpack";
	const headers = { "x-api-key": target.key, "content-type": type, accept: type };
	const bodies = target.queries.map((query) => encode(searchInput(target, query), { forceFloat32: true }));
	return {
		name: "REST, msgpack",
		search: async (query) => {
			const answer = await fetchOk(url, { headers, body: bodies[query] as Uint8Array<ArrayBuffer> });
			return idsIn(decode(await answer.arrayBuffer()) as Found);
		},
		close: nothingToClose,
	};
}

const graphqlMessage = ({ collection, efSearch }: SearchTarget, query: Float32Array) => ({
	query: GRAPHQL_QUERY,
	variables: { c: collection, v: [...query], n: LIMIT, ef: efSearch },
});

function graphqlIds(answer: unknown): number[] {
	const { data, errors } = answer as { data?: { search: Found }; errors?: unknown };
	if (errors !== undefined || data === undefined) throw new Error(`GraphQL: ${JSON.stringify(errors)}`);
	return idsIn(data.search);
}

function graphqlHttp(target: SearchTarget): ProtocolClient {
	const headers = { "x-api-key": target.key, "content-type": "application/json" };
	const bodies = target.queries.map((query) => JSON.stringify(graphqlMessage(target, query)));
	return {
		name: "GraphQL over HTTP",
		search: async (query) =>
			graphqlIds(await (await fetchOk(`${target.node.url}/graphql`, { headers, body: bodies[query]! })).json()),
		close: nothingToClose,
	};
}

async function graphqlSocket(target: SearchTarget): Promise<ProtocolClient> {
	const payloads = target.queries.map((query) => JSON.stringify(graphqlMessage(target, query)));
	const lane = await SocketLane.open(target, "/graphql", "graphql-transport-ws", (text) => {
		const { type, id, payload } = JSON.parse(text) as { type: string; id?: string; payload?: unknown };
		// `complete` follows each answer and says nothing new.
		return type === "next" || type === "error" ? { id: Number(id), answer: payload } : undefined;
	});
	lane.send('{"type":"connection_init"}');
	return {
		name: "GraphQL over WebSocket",
		search: async (query) =>
			graphqlIds(await lane.ask((id) => `{"type":"subscribe","id":"${id}","payload":${payloads[query]}}`)),
		close: async () => lane.close(),
	};
}

const toolCall = (target: SearchTarget, query: Float32Array, era: string) => ({
	name: "search",
	arguments: { collection: target.collection, ...searchInput(target, query) },
	...(era === MODERN && { _meta: ENVELOPE }),
});

function toolIds(answer: unknown): number[] {
	const { result } = answer as { result?: { structuredContent?: Found; isError?: boolean } };
	if (result?.structuredContent === undefined || result.isError) throw new Error(`MCP: ${JSON.stringify(answer)}`);
	return idsIn(result.structuredContent);
}

function mcpHttp(target: SearchTarget, era: string): ProtocolClient {
	const headers = {
		"x-api-key": target.key,
		"content-type": "application/json",
		accept: "application/json, text/event-stream",
		"mcp-protocol-version": era,
		...(era === MODERN && { "mcp-method": "tools/call", "mcp-name": "search" }),
	};
	const bodies = target.queries.map((query) =>
		JSON.stringify({ jsonrpc: "2.0", id: 1, method: "tools/call", params: toolCall(target, query, era) }),
	);
	return {
		name: `MCP over HTTP, ${era}`,
		search: async (query) =>
			toolIds(await (await fetchOk(`${target.node.url}/mcp`, { headers, body: bodies[query]! })).json()),
		close: nothingToClose,
	};
}

/** The same messages over WebSocket and stdio. */
function mcpMessages(target: SearchTarget): (query: number) => (id: number) => string {
	const params = target.queries.map((query) => JSON.stringify(toolCall(target, query, MODERN)));
	return (query) => (id) => `{"jsonrpc":"2.0","id":${id},"method":"tools/call","params":${params[query]}}`;
}

function mcpReply(text: string): Reply | undefined {
	const answer = JSON.parse(text) as { id?: number };
	return answer.id === undefined ? undefined : { id: answer.id, answer };
}

async function mcpSocket(target: SearchTarget): Promise<ProtocolClient> {
	const messageOf = mcpMessages(target);
	const lane = await SocketLane.open(target, "/mcp/ws", "mcp", mcpReply);
	return {
		name: `MCP over WebSocket, ${MODERN}`,
		search: async (query) => toolIds(await lane.ask(messageOf(query))),
		close: async () => lane.close(),
	};
}

/** A process of its own between this one and the node, as a desktop client starts it. */
function mcpBridge(target: SearchTarget): ProtocolClient {
	const messageOf = mcpMessages(target);
	const bridge = Bun.spawn([BINARY, "mcp", "--url", target.node.url], {
		stdin: "pipe",
		stdout: "pipe",
		stderr: "inherit",
		env: { ...process.env, HIVE_VECTOR_API_KEY: target.key },
	});
	const questions = new Questions(mcpReply);
	const reading = (async () => {
		const decoder = new TextDecoder();
		let rest = "";
		for await (const bytes of bridge.stdout) {
			const lines = (rest + decoder.decode(bytes, { stream: true })).split("\n");
			rest = lines.pop()!;
			for (const line of lines) questions.settle(line);
		}
		questions.abandon(new Error("the bridge ended"));
	})();
	return {
		name: `MCP over stdio, ${MODERN}`,
		search: async (query) =>
			toolIds(
				await questions.ask((id) => {
					void bridge.stdin.write(`${messageOf(query)(id)}\n`);
					void bridge.stdin.flush();
				}),
			),
		close: async () => {
			await bridge.stdin.end();
			await bridge.exited;
			await reading;
		},
	};
}

interface Reply {
	readonly id: number;
	readonly answer: unknown;
}

/** Questions under way on one connection, by the id that their answer will bear. */
class Questions {
	readonly #waiting = new Map<number, PromiseWithResolvers<unknown>>();
	#lastId = 0;

	constructor(private readonly replyIn: (text: string) => Reply | undefined) {}

	ask(send: (id: number) => void): Promise<unknown> {
		const id = ++this.#lastId;
		const question = Promise.withResolvers<unknown>();
		this.#waiting.set(id, question);
		send(id);
		return question.promise;
	}

	settle(text: string): void {
		const reply = this.replyIn(text);
		if (reply === undefined) return;
		this.#waiting.get(reply.id)?.resolve(reply.answer);
		this.#waiting.delete(reply.id);
	}

	abandon(reason: Error): void {
		for (const { reject } of this.#waiting.values()) reject(reason);
		this.#waiting.clear();
	}
}

/** One WebSocket with many questions under way. */
class SocketLane {
	private constructor(
		private readonly socket: WebSocket,
		private readonly questions: Questions,
	) {}

	static async open(
		{ node, key }: SearchTarget,
		path: string,
		protocol: string,
		replyIn: (text: string) => Reply | undefined,
	): Promise<SocketLane> {
		const questions = new Questions(replyIn);
		const socket = new WebSocket(`${node.url.replace("http", "ws")}${path}`, {
			protocols: [protocol],
			headers: { "x-api-key": key },
		});
		const opened = Promise.withResolvers<void>();
		socket.onopen = () => opened.resolve();
		socket.onmessage = ({ data }) => questions.settle(String(data));
		socket.onclose = ({ code, reason }) => {
			const gone = new Error(`${path} was closed: ${code} ${reason}`);
			opened.reject(gone);
			questions.abandon(gone);
		};
		await opened.promise;
		return new SocketLane(socket, questions);
	}

	send(text: string): void {
		this.socket.send(text);
	}

	ask(textOf: (id: number) => string): Promise<unknown> {
		return this.questions.ask((id) => this.send(textOf(id)));
	}

	close(): void {
		this.socket.close(1000);
	}
}
