import {
	buildClientSchema,
	type GraphQLInputType,
	type GraphQLOutputType,
	type GraphQLSchema,
	getIntrospectionQuery,
	getNamedType,
	getNullableType,
	type IntrospectionQuery,
	isEnumType,
	isInputObjectType,
	isListType,
	isObjectType,
} from "graphql";
import { camelCase, enumName } from "../../src/api/graphql/names.ts";
import { OPERATION_FIELDS, type OperationField } from "../../src/api/graphql/operation-fields.ts";
import { isVolatile } from "./answer-view.ts";
import type { ApiDocument } from "./api-operations.ts";
import { credentialsOf, foreignHeaders, type Headers } from "./attack-headers.ts";
import { type AttackChoices, REQUEST_ID } from "./attack-plan.ts";
import type { AttackWorld, Inhabitant } from "./attack-world.ts";
import type { Belongings } from "./belongings.ts";
import { Dice } from "./dice.ts";
import { OperationInput } from "./operation-input.ts";
import type { RawRequest } from "./raw-http.ts";
import { HANDSHAKE, type RawDialogue } from "./raw-websocket.ts";

/** Subscriptions, which run no operation of their own. */
export const SUBSCRIPTIONS = ["usageChanged", "collectionChanged"] as const;
/** What of a document names no field of the API. */
export const INTROSPECTION = "introspection";

/** The schema, as any tenant may learn it. */
export class GraphqlSurface {
	private constructor(readonly schema: GraphQLSchema) {}

	static async fetch(nodeUrl: string, key: string): Promise<GraphqlSurface> {
		const answer = await fetch(`${nodeUrl}/graphql`, {
			method: "POST",
			headers: { authorization: `Bearer ${key}`, "content-type": "application/json" },
			body: JSON.stringify({ query: getIntrospectionQuery() }),
		});
		const { data } = (await answer.json()) as { data: IntrospectionQuery };
		return new GraphqlSurface(buildClientSchema(data));
	}
}

type Fields = Record<string, unknown>;
type Form = "post" | "get" | "batch" | "socket";

/** Of operations that an operator's key legitimately answers about other tenants. */
const OPERATOR_MAY = /^(?:tenants|keys|cluster|usage)\./;
/** They work on the disk when they succeed. */
const RARE_FIELDS: ReadonlySet<string> = new Set(["createCollection"]);
const FIELDS_BESIDE_MAX = 3;
const SELECTION_DEPTH_MAX = 4;
/** So that no document is refused for what it is. */
const ALIASES_MAX = 6;
const SAY_TYPE = "{ __typename }";

interface PickedField {
	readonly spec: OperationField;
	readonly input: OperationInput;
}

/** A document of GraphQL: fields beside each other, by aliases, fragments and variables, over HTTP or WebSocket. */
export class GraphqlAttack implements AttackChoices {
	readonly protocol = "graphql";
	readonly name: string;
	readonly isOfPublic = false;
	readonly isPlain: boolean;
	readonly undoes: readonly string[];
	readonly #fields: readonly PickedField[];
	readonly #form: Form;
	readonly #credentials: Headers;
	readonly #isByOperator: boolean;
	readonly #hasForeignHeader: boolean;
	readonly #seed: number;

	constructor(
		world: AttackWorld,
		document: ApiDocument,
		private readonly surface: GraphqlSurface,
		private readonly attacker: Inhabitant,
		dice: Dice,
	) {
		this.#isByOperator = dice.chance(0.05);
		this.#credentials = credentialsOf(dice, attacker, this.#isByOperator ? world.operatorKey : undefined);
		this.#hasForeignHeader = dice.chance(0.2);
		const roll = dice.next();
		if (roll < 0.12) {
			this.name = roll < 0.05 ? INTROSPECTION : dice.pick(SUBSCRIPTIONS);
			this.#fields = [];
		} else {
			const first = pickSpec(dice, ({ operation }) => !this.#isByOperator || !OPERATOR_MAY.test(operation));
			const specs = [first];
			const besideCount = dice.chance(0.4) ? dice.below(FIELDS_BESIDE_MAX + 1) : 0;
			while (specs.length <= besideCount) {
				specs.push(
					pickSpec(
						dice,
						(spec) => spec.kind === first.kind && !(this.#isByOperator && OPERATOR_MAY.test(spec.operation)),
					),
				);
			}
			this.name = first.field;
			this.#fields = specs.map((spec) => pickedField(dice, document, spec));
		}
		const isSubscription = SUBSCRIPTIONS.some((name) => name === this.name);
		this.#form = isSubscription ? "socket" : formOf(dice);
		this.isPlain = this.#fields.length === 1 && this.#form === "post" && !this.#hasForeignHeader;
		this.undoes = this.#fields.filter(({ input }) => input.writesOwn).map(({ spec }) => spec.operation);
		this.#seed = dice.seed();
	}

	requestFor(target: Belongings): RawRequest | RawDialogue {
		const dice = new Dice(this.#seed);
		const own = this.attacker.owns;
		const message = this.#message(dice, target);
		const headers: Headers = [...this.#credentials, ["x-request-id", REQUEST_ID]];
		if (this.#hasForeignHeader) {
			headers.push(...foreignHeaders(dice, target, own, this.#isByOperator ? 0 : 0.5));
		}
		if (dice.chance(0.2)) headers.push(["accept", "application/graphql-response+json"]);
		if (this.#form === "socket") return this.#dialogue(dice, target, message, headers);
		if (this.#form === "get") {
			const { query, variables, operationName } = message;
			const pairs: [string, string][] = [
				["query", String(query)],
				["variables", JSON.stringify(variables)],
			];
			if (operationName !== undefined) pairs.push(["operationName", String(operationName)]);
			const text = pairs.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join("&");
			return { method: "GET", target: `/graphql?${text}`, headers };
		}
		headers.push(["content-type", "application/json"]);
		const body = JSON.stringify(this.#form === "batch" ? [message, message] : message);
		return { method: "POST", target: "/graphql", headers, body: Buffer.from(body) };
	}

	#dialogue(dice: Dice, target: Belongings, message: Fields, headers: Headers): RawDialogue {
		const showsKeyInside = dice.chance(0.4);
		const said: Fields = showsKeyInside ? Object.fromEntries(this.#credentials) : {};
		if (dice.chance(0.15) && !this.#isByOperator) said["X-Tenant-ID"] = target.tenantId;
		if (dice.chance(0.1)) said.tenant = target.tenantId;
		const ownHeaders = showsKeyInside ? headers.slice(this.#credentials.length) : headers;
		const frame = (fields: Fields, afterCount: number) => ({ text: JSON.stringify(fields), afterCount });
		const subscribe = (id: string, payload: Fields) => frame({ id, type: "subscribe", payload }, 1);
		const frames = [frame({ type: "connection_init", payload: said }, 0)];
		const isEnd = (text: string, id: string): boolean =>
			text.includes(`"id":"${id}"`) && /"type":"(?:complete|error)"/.test(text);
		// Changes of others never arrive: what is asked after it is waited for.
		if (this.name === "collectionChanged") frames.push(subscribe("1", message), subscribe("2", { query: SAY_TYPE }));
		else frames.push(subscribe("1", message));
		const lastId = this.name === "collectionChanged" ? "2" : "1";
		const isEvent = (text: string): boolean => this.name === "usageChanged" && text.includes('"type":"next"');
		return {
			method: "GET",
			target: "/graphql",
			headers: [...HANDSHAKE, ["sec-websocket-protocol", "graphql-transport-ws"], ...ownHeaders],
			frames,
			isOver: (heard) => heard.some((text) => isEnd(text, lastId) || isEvent(text)),
		};
	}

	/** The fields of a request: `query`, `variables` and, where there are several operations, `operationName`. */
	#message(dice: Dice, target: Belongings): Fields {
		if (this.name === INTROSPECTION) return introspection(dice, target);
		const writer = new DocumentWriter(this.surface.schema, dice, target);
		if (this.name === "usageChanged") {
			return { query: "subscription { usageChanged { tenantId vectors collections storage { usedBytes } } }" };
		}
		if (this.name === "collectionChanged") {
			const name = JSON.stringify(dice.pick([...target.collections, target.tenantId]));
			return {
				query: `subscription { collectionChanged(name: ${name}) { change name collection { name fullName } } }`,
			};
		}
		const texts = this.#fields.map(({ spec, input }, place) => writer.field(spec, input, place, this.attacker.owns));
		const { kind } = this.#fields[0]!.spec;
		return writer.message(kind, texts);
	}
}

function pickSpec(dice: Dice, isAllowed: (spec: OperationField) => boolean): OperationField {
	for (;;) {
		const spec = dice.pick(OPERATION_FIELDS);
		if (!isAllowed(spec) || (RARE_FIELDS.has(spec.field) && dice.chance(0.5))) continue;
		return spec;
	}
}

function pickedField(dice: Dice, document: ApiDocument, spec: OperationField): PickedField {
	const operation = document.operations.find(({ name }) => name === spec.operation)!;
	const namesCollection = operation.pathFields.some(({ name }) => name === "collection");
	const hasInside = operation.bodyTypes.length > 0 || operation.pathFields.length > 1;
	const { isKnown } = new OperationInput(document, operation, false);
	const isOwn = namesCollection && hasInside && isKnown && dice.chance(0.35);
	return { spec, input: new OperationInput(document, operation, isOwn) };
}

function formOf(dice: Dice): Form {
	const roll = dice.next();
	return roll < 0.2 ? "socket" : roll < 0.32 ? "get" : roll < 0.35 ? "batch" : "post";
}

function introspection(dice: Dice, target: Belongings): Fields {
	const name = JSON.stringify(dice.pick([target.collections[0]!, target.tenantId, "Collection", "Query"]));
	const query = dice.pick([
		`{ __type(name: ${name}) { name kind fields { name description } } }`,
		"{ __schema { queryType { name } types { name description enumValues { name description } } } }",
		`{ ${target.collections[0]} { name } }`,
		`{ collection(${target.payloadField}: 1) { name } }`,
		`{ me { ${target.tenantId} } }`,
		`query ($name: ${target.collections[0]}) { collection(name: $name) { name } }`,
		`{ collection(name: ${target.tenantId}) { name } }`,
		`{ me { tenantId } } fragment ${target.collections[0]} on ${target.tenantId} { name }`,
		`query { me @${target.tenantId} { tenantId } }`,
	]);
	return { query };
}

/** Writes one document. */
class DocumentWriter {
	readonly #declared: string[] = [];
	readonly #variables: Fields = {};
	readonly #fragments: string[] = [];
	#aliasCount = 0;

	constructor(
		private readonly schema: GraphQLSchema,
		private readonly dice: Dice,
		private readonly target: Belongings,
	) {}

	field(spec: OperationField, input: OperationInput, place: number, own: Belongings): string {
		const { dice, target } = this;
		const root = spec.kind === "query" ? this.schema.getQueryType()! : this.schema.getMutationType()!;
		const field = root.getFields()[spec.field]!;
		const given = input.fields(dice, target, own.tenantId);
		const said: string[] = [];
		for (const [inputName, value] of Object.entries(given)) {
			const name = spec.names?.[inputName] ?? camelCase(inputName);
			const arg = field.args.find((each) => each.name === name);
			if (arg === undefined) continue;
			if (dice.chance(0.5)) {
				const variable = `${name}${place}`;
				this.#declared.push(`$${variable}: ${String(arg.type)}`);
				this.#variables[variable] = spelled(value, arg.type);
				said.push(`${name}: $${variable}`);
			} else said.push(`${name}: ${literal(spelled(value, arg.type), arg.type)}`);
		}
		// Aliases stand in the answer as errors' paths do.
		const alias =
			place > 0 || dice.chance(0.3) ? `${dice.pick([`a${place}`, `${target.collections[0]}${place}`])}: ` : "";
		const args = said.length === 0 ? "" : `(${said.join(", ")})`;
		const text = `${alias}${spec.field}${args}${this.#selection(field.type, 0)}`;
		return dice.chance(0.15) ? this.#asFragment(text, root.name) : text;
	}

	message(kind: "query" | "mutation", fields: readonly string[]): Fields {
		const { dice, target } = this;
		const declared = this.#declared.length === 0 ? "" : `(${this.#declared.join(", ")})`;
		const body = `{ ${fields.join(" ")} }`;
		const isOneOfSeveral = dice.chance(0.1);
		const name = dice.pick(["Wanted", target.collections[0]!, target.tenantId]);
		const others = isOneOfSeveral ? ` query Other { me { tenantId } } mutation ${target.tenantId}x ${SAY_TYPE}` : "";
		if (dice.chance(0.1)) this.#variables.tenantId = target.tenantId;
		return {
			query: `${kind} ${name}${declared} ${body}${others} ${this.#fragments.join(" ")}`,
			variables: this.#variables,
			...(isOneOfSeveral && { operationName: dice.chance(0.8) ? name : target.tenantId }),
			...(dice.chance(0.05) && { extensions: { tenant: target.tenantId } }),
		};
	}

	#selection(type: GraphQLOutputType, depth: number): string {
		const named = getNamedType(type);
		if (!isObjectType(named)) return "";
		const { dice } = this;
		const said = ["__typename"];
		for (const field of Object.values(named.getFields())) {
			if (dice.chance(0.2)) continue;
			const isDeep = isObjectType(getNamedType(field.type));
			if (isDeep && depth >= SELECTION_DEPTH_MAX) continue;
			const isAliased = this.#aliasCount < ALIASES_MAX && !isVolatile(field.name) && dice.chance(0.1);
			if (isAliased) this.#aliasCount++;
			const text = `${isAliased ? `x${this.#aliasCount}: ` : ""}${field.name}${this.#selection(field.type, depth + 1)}`;
			said.push(this.#fragments.length < 5 && dice.chance(0.05) ? this.#asFragment(text, named.name) : text);
		}
		return ` { ${said.join(" ")} }`;
	}

	#asFragment(text: string, typeName: string): string {
		if (this.dice.chance(0.5)) return `... on ${typeName} { ${text} }`;
		const name = `F${this.#fragments.length}`;
		this.#fragments.push(`fragment ${name} on ${typeName} { ${text} }`);
		return `...${name}`;
	}
}

/** A value of REST's as GraphQL spells it. */
function spelled(value: unknown, type: GraphQLInputType): unknown {
	const bare = getNullableType(type);
	if (isListType(bare)) return Array.isArray(value) ? value.map((each) => spelled(each, bare.ofType)) : value;
	if (isEnumType(bare)) return enumName(String(value));
	if (!isInputObjectType(bare) || typeof value !== "object" || value === null) return value;
	const fields = bare.getFields();
	return Object.fromEntries(
		Object.entries(value).map(([key, inner]) => {
			const name = camelCase(key);
			return [name, fields[name] === undefined ? inner : spelled(inner, fields[name].type)];
		}),
	);
}

/** As it is written into a document. */
function literal(value: unknown, type: GraphQLInputType | undefined): string {
	const bare = type === undefined ? undefined : getNullableType(type);
	if (isEnumType(bare)) return String(value);
	if (Array.isArray(value)) {
		const inner = isListType(bare) ? bare.ofType : undefined;
		return `[${value.map((each) => literal(each, inner)).join(", ")}]`;
	}
	if (typeof value !== "object" || value === null) return JSON.stringify(value);
	const fields = isInputObjectType(bare) ? bare.getFields() : {};
	const said = Object.entries(value).map(([name, inner]) => `${name}: ${literal(inner, fields[name]?.type)}`);
	return `{${said.join(", ")}}`;
}
