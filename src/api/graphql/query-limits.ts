import {
	type DocumentNode,
	type FieldNode,
	type FragmentDefinitionNode,
	type GraphQLObjectType,
	type GraphQLSchema,
	getNamedType,
	isCompositeType,
	isListType,
	isNonNullType,
	isObjectType,
	Kind,
	type OperationDefinitionNode,
	type SelectionSetNode,
	type ValueNode,
	visit,
} from "graphql";
import { HiveError } from "../../base/errors.ts";
import type { FieldExtensions } from "./field-types.ts";
import { FIELD_COSTS, GRAPHQL_LIMITS } from "./graphql-limits.ts";

type Variables = Readonly<Record<string, unknown>>;
type Fragments = ReadonlyMap<string, FragmentDefinitionNode>;

const HEAVY_TYPES: ReadonlySet<string> = new Set(["JSON", "Vector"]);

const beyond = (what: string, limit: number, found: number): HiveError =>
	new HiveError("VALIDATION_FAILED", `the query has ${what}, ${limit} at most are taken`, {
		field: "query",
		limit,
		found,
	});

/**
 * What a document may be, found out before it is validated: some of the rules of validation take time that grows with the
 * square of what stands in it.
 *
 * @throws VALIDATION_FAILED with `{limit, found}`
 */
export function requireModest(document: DocumentNode, depthMax: number): void {
	let fieldCount = 0;
	let aliasCount = 0;
	let directiveCount = 0;
	let repeatCount = 0;
	visit(document, {
		SelectionSet: (set, _, parent) => {
			// Of an inline fragment: counted with what surrounds it.
			if (parent !== undefined && "kind" in parent && parent.kind === Kind.INLINE_FRAGMENT) return;
			const names = answeredNames(set);
			repeatCount += names.length - new Set(names).size;
		},
		Field: ({ alias }) => {
			fieldCount++;
			if (alias !== undefined) aliasCount++;
		},
		Directive: () => {
			directiveCount++;
		},
	});
	const { fieldCountMax, aliasCountMax, directiveCountMax, fragmentCountMax, repeatCountMax } = GRAPHQL_LIMITS;
	const fragments = fragmentsOf(document);
	if (fieldCount > fieldCountMax) throw beyond(`${fieldCount} fields`, fieldCountMax, fieldCount);
	if (aliasCount > aliasCountMax) throw beyond(`${aliasCount} aliases`, aliasCountMax, aliasCount);
	if (directiveCount > directiveCountMax) {
		throw beyond(`${directiveCount} directives`, directiveCountMax, directiveCount);
	}
	if (repeatCount > repeatCountMax) throw beyond(`${repeatCount} repeated fields`, repeatCountMax, repeatCount);
	if (fragments.size > fragmentCountMax) throw beyond(`${fragments.size} fragments`, fragmentCountMax, fragments.size);
	const depth = depthOf(document, fragments);
	if (depth > depthMax) throw beyond(`a depth of ${depth}`, depthMax, depth);
}

/** What a selection's fields are called in the answer, one a field; named fragments left out. */
const answeredNames = ({ selections }: SelectionSetNode): readonly string[] =>
	selections.flatMap((selection) => {
		if (selection.kind === Kind.FIELD) return [(selection.alias ?? selection.name).value];
		return selection.kind === Kind.INLINE_FRAGMENT ? answeredNames(selection.selectionSet) : [];
	});

const fragmentsOf = (document: DocumentNode): Fragments =>
	new Map(
		document.definitions.flatMap((definition) =>
			definition.kind === Kind.FRAGMENT_DEFINITION ? [[definition.name.value, definition] as const] : [],
		),
	);

/** Introspection has a rule of its own, which says how deep it may be. */
const isIntrospection = ({ name }: FieldNode): boolean => name.value === "__schema" || name.value === "__type";

/** Levels of fields. Fragments that contain themselves count once here: validation refuses them. */
function depthOf(document: DocumentNode, fragments: Fragments): number {
	const known = new Map<string, number>();
	const depthIn = (set: SelectionSetNode | undefined): number => {
		let deepest = 0;
		for (const selection of set?.selections ?? []) {
			let depth = 0;
			if (selection.kind === Kind.FIELD) depth = isIntrospection(selection) ? 0 : 1 + depthIn(selection.selectionSet);
			else if (selection.kind === Kind.INLINE_FRAGMENT) depth = depthIn(selection.selectionSet);
			else depth = depthOfFragment(selection.name.value);
			deepest = Math.max(deepest, depth);
		}
		return deepest;
	};
	const depthOfFragment = (name: string): number => {
		const before = known.get(name);
		if (before !== undefined) return before;
		known.set(name, 0);
		const depth = depthIn(fragments.get(name)?.selectionSet);
		known.set(name, depth);
		return depth;
	};
	return Math.max(
		0,
		...document.definitions.map((definition) =>
			definition.kind === Kind.OPERATION_DEFINITION ? depthIn(definition.selectionSet) : 0,
		),
	);
}

/**
 * What running an operation of a validated document may cost: 10 for each field that runs an operation, a tenth for each
 * object and each payload or vector that may be answered, with lists taken at the length that their limit allows.
 *
 * @throws VALIDATION_FAILED with `{limit, found}`
 */
export function requireAffordable(
	schema: GraphQLSchema,
	document: DocumentNode,
	operation: OperationDefinitionNode,
	variables: Variables,
	costMax: number,
): void {
	const counter = new CostCounter(fragmentsOf(document), withDefaults(operation, variables));
	const root = schema.getRootType(operation.operation);
	if (root === undefined || root === null) return;
	const cost = Math.ceil(counter.costOf(operation.selectionSet, root, undefined));
	if (cost > costMax) throw beyond(`a cost of ${Number.isFinite(cost) ? cost : "far more"}`, costMax, cost);
	const { heavyAliasCountMax } = GRAPHQL_LIMITS;
	const { heavyAliasCount } = counter;
	if (heavyAliasCount > heavyAliasCountMax) {
		throw beyond(`${heavyAliasCount} second names for payloads and vectors`, heavyAliasCountMax, heavyAliasCount);
	}
}

class CostCounter {
	/** Aliases of payloads and vectors, each counted where it is written. */
	readonly #heavyAliases = new Set<FieldNode>();
	readonly #known = new Map<string, number>();

	constructor(
		private readonly fragments: Fragments,
		private readonly variables: Variables,
	) {}

	get heavyAliasCount(): number {
		return this.#heavyAliases.size;
	}

	/** @param size entries that lists have here, where a field above says it */
	costOf(set: SelectionSetNode, parent: GraphQLObjectType, size: number | undefined): number {
		let cost = 0;
		for (const selection of set.selections) {
			if (selection.kind === Kind.FIELD) cost += this.#costOfField(selection, parent, size);
			else if (selection.kind === Kind.INLINE_FRAGMENT) cost += this.costOf(selection.selectionSet, parent, size);
			else cost += this.#costOfFragment(selection.name.value, parent, size);
		}
		return cost;
	}

	/** Fragments within fragments can double at each level: each is gone through once, whatever its use. */
	#costOfFragment(name: string, parent: GraphQLObjectType, size: number | undefined): number {
		const key = `${name} ${parent.name} ${size}`;
		const before = this.#known.get(key);
		if (before !== undefined) return before;
		const fragment = this.fragments.get(name);
		const cost = fragment === undefined ? 0 : this.costOf(fragment.selectionSet, parent, size);
		this.#known.set(key, cost);
		return cost;
	}

	#costOfField(node: FieldNode, parent: GraphQLObjectType, size: number | undefined): number {
		const field = parent.getFields()[node.name.value];
		// `__typename` and introspection, which validation bounds.
		if (field === undefined) return isIntrospection(node) ? FIELD_COSTS.operation : 0;
		const { isOperation = false, sizeArgument } = (field.extensions.hive ?? {}) as Partial<FieldExtensions>;
		const own = isOperation ? FIELD_COSTS.operation : 0;
		const named = getNamedType(field.type);
		const bare = isNonNullType(field.type) ? field.type.ofType : field.type;
		if (!isCompositeType(named)) {
			if (!HEAVY_TYPES.has(named.name)) return own;
			if (node.alias !== undefined) this.#heavyAliases.add(node);
			return own + FIELD_COSTS.heavyLeaf;
		}
		if (node.selectionSet === undefined || !isObjectType(named)) return own;
		const declared = field.args.find(({ name }) => name === sizeArgument);
		const innerSize = declared === undefined ? size : this.#sizeOf(node, declared.name, declared.default?.value);
		const count = isListType(bare) ? (innerSize ?? FIELD_COSTS.assumedListLength) : 1;
		return own + count * (FIELD_COSTS.object + this.costOf(node.selectionSet, named, innerSize));
	}

	#sizeOf(node: FieldNode, argument: string, initial: unknown): number {
		const given = node.arguments?.find(({ name }) => name.value === argument)?.value;
		const value = given === undefined ? undefined : this.#valueOf(given);
		const size = Number(value ?? initial ?? FIELD_COSTS.assumedListLength);
		// What is no number is refused by whoever reads it.
		return Number.isFinite(size) ? Math.max(0, size) : 0;
	}

	#valueOf(node: ValueNode): unknown {
		if (node.kind === Kind.VARIABLE) return this.variables[node.name.value];
		return node.kind === Kind.INT ? Number(node.value) : undefined;
	}
}

function withDefaults({ variableDefinitions = [] }: OperationDefinitionNode, given: Variables): Variables {
	const variables: Record<string, unknown> = { ...given };
	for (const { variable, defaultValue } of variableDefinitions) {
		const name = variable.name.value;
		if (variables[name] === undefined && defaultValue?.kind === Kind.INT) variables[name] = Number(defaultValue.value);
	}
	return variables;
}
