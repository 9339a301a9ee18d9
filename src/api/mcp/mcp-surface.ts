import {
	type CallToolResult,
	INVALID_PARAMS,
	type ListResourcesResult,
	ProtocolError,
	type ReadResourceResult,
	ResourceNotFoundError,
	Server,
	type ServerContext,
} from "@modelcontextprotocol/server";
import { HiveError } from "../../base/errors.ts";
import type { PipelineAnswer } from "../../operations/pipeline-types.ts";
import { toWireValue } from "../wire/wire-value.ts";
import type { McpDesk } from "./mcp-desk.ts";
import { failedCall, protocolError } from "./mcp-errors.ts";
import { MCP_LIMITS } from "./mcp-limits.ts";
import type { McpMessage } from "./mcp-message.ts";
import { collectionUri, RESOURCE_TEMPLATES, resourceTarget } from "./mcp-resources.ts";
import { TOOLS } from "./mcp-tools.ts";
import { type CompiledTool, compileTools, type McpOperation } from "./tool-schemas.ts";

/** What stands behind the transports: a server of the SDK for each caller, and which messages run operations. */
export interface McpSurface {
	serverFor(desk: McpDesk): Server;
	/** Whether a message will run an operation, once. */
	runsOperation(message: McpMessage): boolean;
}

export interface HiveSurfaceParts {
	readonly operations: readonly McpOperation[];
	/** Of the product. */
	readonly version: string;
	readonly timeoutSeconds: number;
}

const INSTRUCTIONS =
	"hive-vector stores vectors with payloads in named collections and finds the nearest ones. Start with list_collections. Vectors must have the " +
	"dimension of their collection. What you see belongs to one tenant; nothing else exists. Errors of tools say which field is wrong; on -32004 wait " +
	"for retry_after_seconds.";

type Fields = Record<string, unknown>;

/** hive-vector's tools and resources. */
export class HiveSurface implements McpSurface {
	readonly #tools: ReadonlyMap<string, CompiledTool>;
	readonly #templates;
	readonly #version: string;
	readonly #timeoutSeconds: number;

	constructor({ operations, version, timeoutSeconds }: HiveSurfaceParts) {
		this.#tools = compileTools(TOOLS, operations);
		const there = new Set(operations.map(({ name }) => name));
		this.#templates = RESOURCE_TEMPLATES.filter(({ operation }) => there.has(operation));
		this.#version = version;
		this.#timeoutSeconds = timeoutSeconds;
	}

	runsOperation({ method, id, params }: McpMessage): boolean {
		if (id === undefined) return false;
		if (method === "tools/call") {
			const { name, arguments: given } = params;
			const isNamed = typeof name === "string" && this.#tools.has(name);
			return isNamed && (given === undefined || (typeof given === "object" && given !== null && !Array.isArray(given)));
		}
		if (method === "resources/list") return true;
		return method === "resources/read" && typeof params.uri === "string" && resourceTarget(params.uri) !== undefined;
	}

	serverFor(desk: McpDesk): Server {
		const server = new Server(
			{ name: "hive-vector", title: "hive-vector", version: this.#version },
			{ capabilities: { tools: {}, resources: {} }, instructions: INSTRUCTIONS },
		);
		const { visit } = desk;
		server.setRequestHandler("tools/list", () => ({
			tools: [...this.#tools.values()].filter(({ operation }) => visit.mayCall(operation)).map(({ listed }) => listed),
		}));
		server.setRequestHandler("tools/call", (request, context) => this.#call(desk, request.params, context));
		server.setRequestHandler("resources/list", (request, context) => this.#list(desk, request.params?.cursor, context));
		server.setRequestHandler("resources/templates/list", () => ({
			resourceTemplates: this.#templates
				.filter(({ operation }) => visit.mayCall(operation))
				.map(({ operation: _, ...template }) => template),
		}));
		server.setRequestHandler("resources/read", (request, context) => this.#read(desk, request.params.uri, context));
		return server;
	}

	async #call(
		desk: McpDesk,
		{ name, arguments: given = {} }: { readonly name: string; readonly arguments?: Fields | undefined },
		context: ServerContext,
	): Promise<CallToolResult> {
		const tool = this.#tools.get(name);
		if (tool === undefined) throw new ProtocolError(INVALID_PARAMS, `there is no tool ${name.slice(0, 100)}`);
		const stopTelling = tellProgress(context);
		try {
			const answer = await this.#run(desk, tool.operation, async () => tool.toInput(given), context);
			if (!answer.ok) return failedCall(answer.error, desk.requestId);
			const output = toWireValue(answer.output) as Fields;
			return { structuredContent: output, content: [{ type: "text", text: JSON.stringify(output) }] };
		} finally {
			stopTelling();
		}
	}

	async #list(desk: McpDesk, cursor: string | undefined, context: ServerContext): Promise<ListResourcesResult> {
		const answer = await this.#run(desk, "collections.list", async () => ({}), context);
		if (!answer.ok) throw protocolError(answer.error, desk.requestId);
		const { collections } = answer.output as { readonly collections: readonly CollectionFacts[] };
		const after = cursor === undefined ? undefined : Buffer.from(cursor, "base64url").toString();
		const sorted = collections.toSorted((one, other) => (one.name < other.name ? -1 : 1));
		const rest = after === undefined ? sorted : sorted.filter(({ name }) => name > after);
		const page = rest.slice(0, MCP_LIMITS.resourcesPageMax);
		const last = page.at(-1);
		return {
			resources: page.map(({ name, dimension, metric, vectors }) => ({
				uri: collectionUri(name),
				name,
				description: `collection of ${vectors ?? "unknown numbers of"} vectors, dimension ${dimension}, metric ${metric}`,
				mimeType: "application/json",
			})),
			...(last !== undefined &&
				rest.length > page.length && { nextCursor: Buffer.from(last.name).toString("base64url") }),
		};
	}

	async #read(desk: McpDesk, uri: string, context: ServerContext): Promise<ReadResourceResult> {
		const target = resourceTarget(uri);
		if (target === undefined) throw new ResourceNotFoundError(uri);
		const answer = await this.#run(desk, target.operation, async () => target.input, context);
		if (!answer.ok) {
			if (MISSES.has(answer.error.code)) throw new ResourceNotFoundError(uri);
			throw protocolError(answer.error, desk.requestId);
		}
		const output = toWireValue(answer.output) as Fields;
		const { textField } = target;
		const content =
			textField === undefined
				? { mimeType: "application/json", text: JSON.stringify(output) }
				: {
						mimeType: output.format === "markdown" ? "text/markdown" : "text/plain",
						text: String(output[textField]),
					};
		return { contents: [{ uri, ...content }] };
	}

	/** What takes too long goes on unheard, until it notices that it was given up. */
	async #run(
		desk: McpDesk,
		operation: string,
		readInput: () => Promise<unknown>,
		{ mcpReq }: ServerContext,
	): Promise<PipelineAnswer> {
		const { visit } = desk;
		const abortion = new AbortController();
		const follow = (): void => abortion.abort(mcpReq.signal.reason);
		if (mcpReq.signal.aborted) follow();
		mcpReq.signal.addEventListener("abort", follow, { once: true });
		const overdue = Promise.withResolvers<PipelineAnswer>();
		const timer = setTimeout(() => {
			const error = tookTooLong(this.#timeoutSeconds);
			abortion.abort(error);
			overdue.resolve({ ok: false, error, facts: visit.facts });
		}, this.#timeoutSeconds * 1000);
		const work = visit.execute({ operation, signal: abortion.signal, readInput });
		try {
			return await Promise.race([desk.track(mcpReq.id, work), overdue.promise]);
		} finally {
			clearTimeout(timer);
			mcpReq.signal.removeEventListener("abort", follow);
		}
	}
}

const tookTooLong = (seconds: number): HiveError =>
	new HiveError(
		"OVERLOADED",
		`this took longer than ${seconds} seconds and was given up; what was asked for may have been done all the same, or be done yet`,
		{ retry_after_seconds: MCP_LIMITS.overdueRetrySeconds },
	);

/** Tells a client that asked for it every second that its call goes on, so that it need not give up. @returns stops that */
function tellProgress({ mcpReq }: ServerContext): () => void {
	const progressToken = mcpReq._meta?.progressToken;
	if (progressToken === undefined) return () => {};
	const startedMs = performance.now();
	const timer = setInterval(() => {
		const progress = Math.round((performance.now() - startedMs) / 1000);
		const message = `at work for ${progress} s`;
		// Who went away meanwhile is not told.
		mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress, message } }).catch(() => {});
	}, MCP_LIMITS.progressMs);
	return () => clearInterval(timer);
}

interface CollectionFacts {
	readonly name: string;
	readonly dimension: number;
	readonly metric: string;
	readonly vectors: number | null;
}

/** To whoever asks for a resource all of these are the same. */
const MISSES = new Set(["COLLECTION_NOT_FOUND", "VECTOR_NOT_FOUND", "NOT_FOUND", "VALIDATION_FAILED"]);
