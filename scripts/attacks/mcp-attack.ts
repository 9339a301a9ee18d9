import { TOOLS, type ToolSpec } from "../../src/api/mcp/mcp-tools.ts";
import type { ApiDocument } from "./api-operations.ts";
import { anyId } from "./attack-bodies.ts";
import { credentialsOf, foreignHeaders, type Headers } from "./attack-headers.ts";
import { type AttackChoices, REQUEST_ID } from "./attack-plan.ts";
import { type AttackWorld, type Inhabitant, SCRATCH } from "./attack-world.ts";
import type { Belongings } from "./belongings.ts";
import { Dice } from "./dice.ts";
import { pathSegment } from "./name-tricks.ts";
import { OperationInput } from "./operation-input.ts";
import type { RawRequest } from "./raw-http.ts";
import { HANDSHAKE, type RawDialogue } from "./raw-websocket.ts";

/** Besides the tools. */
export const MCP_METHODS = [
	"resources/read",
	"resources/list",
	"resources/templates/list",
	"tools/list",
	"tools/call",
	"initialize",
	"server/discover",
	"ping",
	"prompts/get",
	"completion/complete",
	"resources/subscribe",
	"notifications/cancelled",
] as const;

const MODERN = "2026-07-28";
const OLDER = ["2025-11-25", "2025-06-18", "2025-03-26", undefined] as const;
/** The last revisions with batches. */
const BATCHED = ["2025-03-26", undefined] as const;
const RARE_TOOLS: ReadonlySet<string> = new Set(["create_collection"]);

type Fields = Record<string, unknown>;

/** One message of MCP, or a batch, in either era, over HTTP or WebSocket. */
export class McpAttack implements AttackChoices {
	readonly protocol = "mcp";
	readonly name: string;
	readonly isOfPublic = false;
	readonly isPlain: boolean;
	readonly undoes: readonly string[];
	readonly #method: string;
	readonly #tool: ToolSpec | undefined;
	readonly #input: OperationInput | undefined;
	readonly #isModern: boolean;
	readonly #isSocket: boolean;
	readonly #isBatch: boolean;
	readonly #credentials: Headers;
	readonly #isByOperator: boolean;
	readonly #hasForeignHeader: boolean;
	readonly #seed: number;

	constructor(
		world: AttackWorld,
		document: ApiDocument,
		private readonly attacker: Inhabitant,
		dice: Dice,
	) {
		this.#isByOperator = dice.chance(0.05);
		this.#credentials = credentialsOf(dice, attacker, this.#isByOperator ? world.operatorKey : undefined);
		this.#hasForeignHeader = dice.chance(0.2);
		this.#isModern = dice.chance(0.5);
		this.#isSocket = dice.chance(0.3);
		this.#isBatch = !this.#isModern && !this.#isSocket && dice.chance(0.1);
		if (dice.chance(0.6)) {
			this.#tool = pickTool(dice);
			this.#method = "tools/call";
			this.name = this.#tool.name;
			this.#input = inputOf(dice, document, this.#tool);
			this.undoes = this.#input.writesOwn ? [this.#tool.operation] : [];
		} else {
			this.#method = dice.chance(0.4) ? "resources/read" : dice.pick(MCP_METHODS);
			this.name = this.#method;
			this.undoes = [];
		}
		this.isPlain = this.#tool !== undefined && !this.#isBatch && !this.#isSocket && !this.#hasForeignHeader;
		this.#seed = dice.seed();
	}

	requestFor(target: Belongings): RawRequest | RawDialogue {
		const dice = new Dice(this.#seed);
		const own = this.attacker.owns;
		const message = this.#message(dice, target);
		const headers: Headers = [...this.#credentials, ["x-request-id", REQUEST_ID]];
		if (this.#hasForeignHeader) {
			headers.push(...foreignHeaders(dice, target, own, this.#isByOperator ? 0 : 0.4));
		}
		if (dice.chance(0.04)) {
			headers.push(["origin", dice.pick([`https://${target.tenantId}.example.com`, "null", "http://127.0.0.1:1"])]);
		}
		if (this.#isSocket) return dialogueOf(dice, target, message, headers);
		headers.push(["content-type", "application/json"], ["accept", "application/json, text/event-stream"]);
		headers.push(...this.#versionHeaders(dice, target, message));
		const body = this.#isBatch ? [message, { ...this.#message(dice, target), id: "second" }] : message;
		return { method: "POST", target: "/mcp", headers, body: Buffer.from(JSON.stringify(body)) };
	}

	/** What 2026-07-28 wants to be said twice, and what says something else than the body. */
	#versionHeaders(dice: Dice, target: Belongings, { method, params }: Fields): Headers {
		if (!this.#isModern) {
			const version = dice.pick<string | undefined>(this.#isBatch ? BATCHED : OLDER);
			return version === undefined ? [] : [["mcp-protocol-version", version]];
		}
		const { name, uri } = params as Fields;
		const named = String(name ?? uri ?? "");
		const another = [target.collections[0]!, "list_collections", `hive-vector://collections/${target.collections[0]}`];
		const isOdd = dice.chance(0.2);
		const saidMethod =
			isOdd && dice.chance(0.4) ? dice.pick(["tools/list", "resources/read", target.tenantId]) : method;
		const saidName = isOdd && dice.chance(0.7) ? dice.pick(another) : named;
		const headers: Headers = [
			["mcp-protocol-version", isOdd && dice.chance(0.2) ? target.tenantId : MODERN],
			["mcp-method", String(saidMethod)],
		];
		// As the protocol has it for what no header can hold.
		const isPrintable = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(saidName);
		const text = isPrintable ? saidName : `=?base64?${Buffer.from(saidName).toString("base64")}?=`;
		if (saidName !== "") headers.push(["mcp-name", text]);
		if (isOdd && dice.chance(0.3)) headers.push(["mcp-session-id", target.tenantId]);
		return headers;
	}

	#message(dice: Dice, target: Belongings): Fields {
		const params: Fields = this.#params(dice, target);
		const meta: Fields = {};
		if (this.#isModern) {
			meta["io.modelcontextprotocol/protocolVersion"] = MODERN;
			meta["io.modelcontextprotocol/clientInfo"] = { name: target.tenantId, version: "1" };
			meta["io.modelcontextprotocol/clientCapabilities"] = {};
		}
		if (dice.chance(0.08)) meta.progressToken = target.collections[0];
		if (dice.chance(0.08)) meta.tenantId = target.tenantId;
		if (Object.keys(meta).length > 0) params._meta = meta;
		const isNotice = this.#method.startsWith("notifications/");
		const id = dice.chance(0.9) ? 1 : anyId(dice, target);
		return { jsonrpc: "2.0", ...(isNotice ? {} : { id }), method: this.#method, params };
	}

	#params(dice: Dice, target: Belongings): Fields {
		const own = this.attacker.owns;
		if (this.#tool !== undefined) return { name: this.#tool.name, arguments: this.#arguments(dice, target) };
		switch (this.#method) {
			case "resources/read":
			case "resources/subscribe":
				return { uri: foreignUri(dice, target, own) };
			case "resources/list":
			case "tools/list":
			case "resources/templates/list":
				if (dice.chance(0.5)) return {};
				return { cursor: dice.pick([...target.cursors, Buffer.from(target.collections[0]!).toString("base64url")]) };
			case "tools/call":
				return {
					name: dice.pick([
						target.collections[0]!,
						`${target.tenantId}/list_collections`,
						"create_tenant",
						"list_keys",
					]),
					arguments: { tenant_id: target.tenantId, collection: target.collections[0] },
				};
			case "initialize":
				return {
					protocolVersion: dice.pick(["2025-11-25", target.tenantId]),
					capabilities: {},
					clientInfo: { name: target.tenantId, version: "1" },
				};
			case "completion/complete":
				return {
					ref: { type: "ref/resource", uri: "hive-vector://collections/{collection}" },
					argument: { name: "collection", value: target.collections[0]!.slice(0, 8) },
				};
			case "prompts/get":
				return { name: target.collections[0] };
			case "notifications/cancelled":
				return { requestId: 1, reason: target.tenantId };
			default:
				return {};
		}
	}

	/** The operation's input in the tool's form. */
	#arguments(dice: Dice, target: Belongings): Fields {
		const { fields, required, ownFields, entryFields } = this.#tool!;
		const whole = this.#input!.fields(dice, target, this.attacker.owns.tenantId);
		const kept = Object.entries(whole).filter(([name]) => fields?.includes(name) ?? name !== "id_type");
		const given: Fields = Object.fromEntries(kept);
		if (required?.includes("text")) given.text = dice.pick(target.payloadTexts);
		if (entryFields?.includes("id")) given.id = anyId(dice, target);
		if (entryFields?.includes("payload")) given.payload = { [target.payloadField]: target.payloadTexts[0] };
		if (ownFields?.alpha !== undefined && dice.chance(0.5)) given.alpha = 0.5;
		if (dice.chance(0.06)) given[dice.pick(["tenant_id", "full_name", "__proto__x", "owner"])] = target.tenantId;
		return given;
	}
}

function pickTool(dice: Dice): ToolSpec {
	for (;;) {
		const tool = dice.pick(TOOLS);
		if (!RARE_TOOLS.has(tool.name) || dice.chance(0.5)) return tool;
	}
}

function inputOf(dice: Dice, document: ApiDocument, tool: ToolSpec): OperationInput {
	const operation = document.operations.find(({ name }) => name === tool.operation)!;
	const namesCollection = operation.pathFields.some(({ name }) => name === "collection");
	const hasInside =
		operation.bodyTypes.length > 0 || operation.pathFields.length > 1 || operation.queryFields.length > 0;
	const { isKnown } = new OperationInput(document, operation, false);
	const isOwn = namesCollection && hasInside && isKnown && dice.chance(0.35);
	return new OperationInput(document, operation, isOwn);
}

/** An address by which a careless server would find what is the target's. */
function foreignUri(dice: Dice, target: Belongings, own: Belongings): string {
	const segment = (name: string | number): string =>
		Buffer.from(pathSegment(dice, name, target, own.tenantId), "latin1").toString();
	const collection = dice.chance(0.25) ? SCRATCH : segment(dice.pick(target.collections));
	const tail = dice.pick([
		() => "",
		() => `/vectors/${segment(anyId(dice, target))}`,
		() => `/documents/${segment(dice.pick(target.stringIds))}`,
		() => `/documents/${dice.pick(target.stringIds)}`,
		() => `/../${target.tenantId}/${target.collections[0]}`,
	])();
	const usual = `hive-vector://collections/${collection}${tail}`;
	if (dice.chance(0.7)) return usual;
	const [name] = target.collections;
	return dice.pick([
		`hive-vector://${target.tenantId}/collections/${name}`,
		`hive-vector://tenants/${target.tenantId}/collections/${name}`,
		`hive-vector://${target.tenantId}@collections/${name}`,
		`HIVE-VECTOR://collections/${name}`,
		`hive-vector://collections/../${target.tenantId}/${name}`,
		`hive-vector://collections/${target.tenantId}%3A${name}/vectors/${target.stringIds[0]}`,
		`hive-vector://collections/${name}?tenant_id=${target.tenantId}`,
		`hive-vector://collections//${name}`,
		`file:///data/tenants/${target.tenantId}/${target.collectionIds[0] ?? name}`,
		`http://127.0.0.1/api/v1/collections/${name}`,
		target.collections[1]!,
	]);
}

function dialogueOf(dice: Dice, target: Belongings, message: Fields, headers: Headers): RawDialogue {
	const frames = [{ text: JSON.stringify(message), afterCount: 0 }];
	// A notification is not answered, so something is asked after it.
	if (message.id === undefined || dice.chance(0.15)) {
		const other = {
			...message,
			id: "second",
			method: "tools/call",
			params: { name: target.collections[0], arguments: {} },
		};
		frames.push({ text: JSON.stringify(other), afterCount: message.id === undefined ? 0 : 1 });
	}
	const wantedCount = message.id === undefined ? 1 : frames.length;
	const isAnswer = (text: string): boolean =>
		!text.startsWith('{"method"') && !text.includes('"method":"notifications/');
	return {
		method: "GET",
		target: "/mcp/ws",
		headers: [...HANDSHAKE, ...(dice.chance(0.5) ? ([["sec-websocket-protocol", "mcp"]] as Headers) : []), ...headers],
		frames,
		isOver: (heard) => heard.filter(isAnswer).length >= wantedCount,
	};
}
