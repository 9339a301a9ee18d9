import { type FieldNode, type FragmentDefinitionNode, Kind, type SelectionSetNode } from "graphql";

type Fragments = Readonly<Record<string, FragmentDefinitionNode | undefined>>;

/**
 * The names of all fields within some fields' selections, however deep. More than will be answered where directives leave
 * something out.
 */
export function selectedNames(nodes: readonly FieldNode[], fragments: Fragments): ReadonlySet<string> {
	const names = new Set<string>();
	const seen = new Set<string>();
	const walk = (set: SelectionSetNode | undefined): void => {
		for (const selection of set?.selections ?? []) {
			if (selection.kind === Kind.FIELD) {
				names.add(selection.name.value);
				walk(selection.selectionSet);
			} else if (selection.kind === Kind.INLINE_FRAGMENT) {
				walk(selection.selectionSet);
			} else if (!seen.has(selection.name.value)) {
				seen.add(selection.name.value);
				walk(fragments[selection.name.value]?.selectionSet);
			}
		}
	};
	for (const node of nodes) walk(node.selectionSet);
	return names;
}
