import { request } from "node:http";
import { StdioClientTransport } from "@modelcontextprotocol/client/stdio";
import { OPERATIONS } from "../../src/operations/operation-table.ts";
import { BINARY, type User, userEnvironment } from "../cli/binary.ts";
import { fieldOf, graphqlOf, messageFor, outputOf } from "../graphql/graphql-fixture.ts";
import { LEGACY, type Rpc, sdkClient } from "../mcp/mcp-rig.ts";
import { clientOf } from "../node/node-fixture.ts";
import type { Input, Output } from "../operations/operations-fixture.ts";

export type WayName = "rest" | "graphql" | "http" | "socket" | "stdio" | "cli";

/** Who calls, and in which tenant, where that is not the key's own. */
export interface Caller {
	readonly key: string;
	readonly actingTenant?: string | undefined;
}

/** One call, in the words of each protocol that has it. */
export interface Wording {
	readonly operation: string;
	readonly input: Input;
	/** Of MCP; its arguments are the operation's input unless they are given. */
	readonly tool?: string;
	readonly given?: Input;
	/** Of the CLI. */
	readonly command?: readonly string[];
}

export interface Outcome {
	/** `ok`, or the error code. */
	readonly code: string;
	/** What the protocol itself says: a status, the number of a JSON-RPC error, `isError` of a tool, an exit code. */
	readonly native: number | "isError";
	readonly output?: Output;
	/** Of an error. */
	readonly message?: string;
	/** Those about the tenant; undefined where the protocol has no place for them. */
	readonly tenantFields?: Readonly<Record<string, string | null>> | undefined;
}

/** A caller who has come in, or was not let in. */
export interface Line {
	call(wording: Wording): Promise<Outcome>;
	/** When the other side ends it. */
	readonly closed: Promise<void>;
	close(): Promise<void>;
}

/** How a protocol is spoken to one node. */
export interface Way {
	readonly name: WayName;
	has(wording: Wording): boolean;
	open(caller: Caller): Promise<Line>;
	/** One call of somebody who is not let in. */
	knock(caller: Caller, wording: Wording): Promise<Outcome>;
}

const hasField = ({ operation }: Wording): boolean => fieldOf(operation) !== undefined;
const hasTool = ({ tool }: Wording): boolean => tool !== undefined;

/** Protocols in which each call stands for itself. */
const withoutLine = (
	name: WayName,
	has: Way["has"],
	call: (caller: Caller, wording: Wording) => Promise<Outcome>,
): Way => ({
	name,
	has,
	open: async (caller) => ({
		call: (wording) => call(caller, wording),
		closed: new Promise(() => {}),
		close: async () => {},
	}),
	knock: call,
});

export const waysTo = (url: string, user: User): readonly Way[] => [
	withoutLine(
		"rest",
		() => true,
		(caller, wording) => overRest(url, caller, wording),
	),
	withoutLine("graphql", hasField, (caller, wording) => overGraphql(url, caller, wording)),
	withoutLine("http", hasTool, (caller, wording) => overHttp(url, caller, wording)),
	{
		name: "socket",
		has: hasTool,
		open: (caller) => openSocket(url, caller),
		knock: (caller) => refusedHandshake(url, caller),
	},
	{
		name: "stdio",
		has: hasTool,
		open: (caller) => openStdio(url, user, caller),
		knock: (caller, wording) => refusedBridge(url, user, caller, wording),
	},
	withoutLine(
		"cli",
		({ command }) => command !== undefined,
		(caller, { command }) => overCli(url, user, caller, command!),
	),
];

const actingHeaders = ({ actingTenant }: Caller): Record<string, string> =>
	actingTenant === undefined ? {} : { "x-tenant-id": actingTenant };

const authorized = (caller: Caller): Record<string, string> => ({
	authorization: `Bearer ${caller.key}`,
	...actingHeaders(caller),
});

/** What of an answer's headers is the same after the same calls. */
function tenantFieldsOf(headers: Headers): Record<string, string | null> {
	const names = ["x-tenant-id", "x-ratelimit-limit", "x-ratelimit-remaining", "x-storage-used", "x-storage-quota"];
	return Object.fromEntries(names.map((name) => [name, headers.get(name)]));
}

export async function overRest(url: string, caller: Caller, { operation, input }: Wording): Promise<Outcome> {
	const { rest } = OPERATIONS.find(({ name }) => name === operation)!;
	const left: Record<string, unknown> = { ...input };
	const path = rest.path.replaceAll(/\{(\w+)\}/g, (_, field: string) => {
		const value = left[field];
		delete left[field];
		return encodeURIComponent(String(value));
	});
	const query = new URLSearchParams();
	for (const field of rest.query ?? []) {
		if (left[field] !== undefined) query.set(field, String(left[field]));
		delete left[field];
	}
	const ask = clientOf(url, caller.key, actingHeaders(caller));
	const { status, headers, body } = await ask(
		rest.method,
		`/api/v1${path}?${query}`,
		rest.body === "json" ? left : undefined,
	);
	const tenantFields = tenantFieldsOf(headers);
	if (status >= 400) return { code: body.code, native: status, message: body.error, tenantFields };
	return { code: "ok", native: status, output: body, tenantFields };
}

async function overGraphql(url: string, caller: Caller, { operation, input }: Wording): Promise<Outcome> {
	const spec = fieldOf(operation);
	const { query, variables } = messageFor(spec, input);
	const { status, headers, data, codes, errors } = await graphqlOf(
		url,
		caller.key,
		actingHeaders(caller),
	)(query, variables);
	const tenantFields = tenantFieldsOf(headers);
	if (codes.length > 0) return { code: codes[0]!, native: status, message: errors[0]!.message, tenantFields };
	const output = outputOf(spec, data);
	// The query selects vectors always, where others have to ask for them.
	if (Array.isArray(output.results) && input.with_vector !== true) for (const hit of output.results) delete hit.vector;
	return { code: "ok", native: status, output, tenantFields };
}

const toolCall = ({ tool, input, given = input }: Wording, id: number) => ({
	jsonrpc: "2.0",
	id,
	method: "tools/call",
	params: { name: tool, arguments: given },
});

/** What a JSON-RPC answer comes to. */
function rpcOutcome({ error, result }: Rpc, tenantFields?: Outcome["tenantFields"]): Outcome {
	if (error !== undefined) {
		return { code: error.data.code, native: error.code, message: error.message, tenantFields };
	}
	if (result.isError === true) {
		const { code, error: message } = JSON.parse(result.content[0].text);
		return { code, native: "isError", message, tenantFields };
	}
	// Models that read no structured content read the same as text.
	if (result.content[0].text !== JSON.stringify(result.structuredContent)) throw new Error("text and content differ");
	return { code: "ok", native: 0, output: result.structuredContent, tenantFields };
}

/** @returns the answer to one message over Streamable HTTP */
export async function postMcp(url: string, caller: Caller, message: object): Promise<{ body: Rpc; headers: Headers }> {
	const response = await fetch(`${url}/mcp`, {
		method: "POST",
		headers: {
			"content-type": "application/json",
			accept: "application/json, text/event-stream",
			...authorized(caller),
		},
		body: JSON.stringify(message),
	});
	return { body: await response.json(), headers: response.headers };
}

async function overHttp(url: string, caller: Caller, wording: Wording): Promise<Outcome> {
	const { body, headers } = await postMcp(url, caller, toolCall(wording, 1));
	return rpcOutcome(body, tenantFieldsOf(headers));
}

async function openSocket(url: string, caller: Caller): Promise<Line> {
	const socket = new WebSocket(`${url.replace("http", "ws")}/mcp/ws`, { headers: authorized(caller) });
	const waiting = new Map<number, (answer: Rpc) => void>();
	socket.onmessage = ({ data }) => {
		const answer = JSON.parse(String(data));
		waiting.get(answer.id)?.(answer);
	};
	const closed = new Promise<void>((resolve) => {
		socket.onclose = () => resolve();
	});
	await new Promise((resolve, reject) => {
		socket.onopen = resolve;
		socket.onerror = () => reject(new Error("the handshake was refused"));
	});
	let serial = 0;
	const ask = (message: (id: number) => object): Promise<Rpc> => {
		const id = ++serial;
		const { promise, resolve } = Promise.withResolvers<Rpc>();
		waiting.set(id, resolve);
		socket.send(JSON.stringify(message(id)));
		return promise;
	};
	// The handshake has paid for the first message.
	await ask((id) => ({ jsonrpc: "2.0", id, method: "ping" }));
	return {
		call: async (wording) => rpcOutcome(await ask((id) => toolCall(wording, id))),
		closed,
		close: async () => socket.close(),
	};
}

/** `WebSocket` does not tell why it was refused. */
async function refusedHandshake(url: string, caller: Caller): Promise<Outcome> {
	const { promise, resolve, reject } = Promise.withResolvers<Outcome>();
	const handshake = request(`${url}/mcp/ws`, {
		headers: {
			...authorized(caller),
			connection: "Upgrade",
			upgrade: "websocket",
			"sec-websocket-version": "13",
			"sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
		},
	});
	handshake.on("response", (response) => {
		let text = "";
		response.on("data", (part) => {
			text += String(part);
		});
		response.on("end", () => resolve({ code: JSON.parse(text).code, native: response.statusCode! }));
	});
	handshake.on("upgrade", () => reject(new Error("the handshake was not refused")));
	handshake.on("error", reject);
	handshake.end();
	return promise;
}

const bridgeArgs = (url: string, { actingTenant }: Caller): string[] => [
	...["mcp", "--url", url],
	...(actingTenant === undefined ? [] : ["--tenant", actingTenant]),
];

async function openStdio(url: string, user: User, caller: Caller): Promise<Line> {
	const client = sdkClient(LEGACY);
	const transport = new StdioClientTransport({
		command: BINARY,
		args: bridgeArgs(url, caller),
		cwd: user.folder,
		env: userEnvironment(user.folder, { HIVE_VECTOR_API_KEY: caller.key }),
		stderr: "ignore",
	});
	const closed = new Promise<void>((resolve) => {
		client.onclose = resolve;
	});
	await client.connect(transport);
	// What it says of itself without waiting for an answer has been paid for, too, when this is answered.
	await client.ping();
	return {
		call: async ({ tool, input, given = input }) => {
			try {
				return rpcOutcome({ result: await client.callTool({ name: tool!, arguments: given }) });
			} catch (thrown) {
				const { code, data, message } = thrown as Error & { code: number; data?: { code: string } };
				if (data === undefined) throw thrown;
				return { code: data.code, native: code, message };
			}
		},
		closed,
		close: () => client.close(),
	};
}

async function refusedBridge(url: string, user: User, caller: Caller, wording: Wording): Promise<Outcome> {
	const { code, stdout, stderr } = await user.run(bridgeArgs(url, caller), {
		stdin: `${JSON.stringify(toolCall(wording, 1))}\n`,
		env: { HIVE_VECTOR_API_KEY: caller.key },
	});
	if (stdout !== "") throw new Error(`the bridge answered: ${stdout}`);
	return { code: /\(([A-Z_]+)\)/.exec(stderr)?.[1] ?? stderr, native: code };
}

async function overCli(url: string, user: User, caller: Caller, command: readonly string[]): Promise<Outcome> {
	const acting = caller.actingTenant === undefined ? [] : ["--tenant", caller.actingTenant];
	const { code, stdout, stderr } = await user.run([...command, "--json", "--url", url, ...acting], {
		env: { HIVE_VECTOR_API_KEY: caller.key },
	});
	const answer = JSON.parse(stdout === "" ? stderr : stdout);
	return code === 0
		? { code: "ok", native: 0, output: answer }
		: { code: answer.code, native: code, message: answer.error };
}
