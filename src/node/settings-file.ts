import { type Document, isAlias, isMap, isScalar, LineCounter, type Node, parseDocument } from "yaml";
import { type AnyLeaf, isLeaf, nearestName, SETTINGS_SCHEMA } from "./settings-schema.ts";

/** A value that a source gives a setting. `undefined`: the source says that there is none. */
export interface Assignment {
	readonly path: string;
	readonly value: unknown;
	/** Where it stands: `hive-vector.yml:4`, `HIVE_VECTOR_LOG_LEVEL`, `--port`. */
	readonly origin: string;
}

/** What a source says, and what is wrong with it, one text a problem. */
export interface SourceReading {
	readonly assignments: readonly Assignment[];
	readonly problems: readonly string[];
}

/**
 * Reads the text of a settings file. Never throws: what is wrong is in `problems`, each with file and line.
 *
 * @param name how the file is called in problems and origins
 */
export function readSettingsText(name: string, text: string, allPaths: readonly string[]): SourceReading {
	const lines = new LineCounter();
	const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
	const place = (offset: number) => `${name}:${lines.linePos(offset).line}`;
	const problems = document.errors.map((error) => `${place(error.pos[0])}: not valid YAML: ${error.message}`);
	if (problems.length > 0) return { assignments: [], problems };

	const assignments: Assignment[] = [];
	const walk = (node: Node | null, tree: object, prefix: string, where: string): void => {
		const target = resolved(node, document);
		if (target === undefined) return;
		if (!isMap(target)) {
			const what = prefix === "" ? "the file" : prefix.slice(0, -1);
			problems.push(`${where}: ${what}: expected settings as "name: value", found ${describeValue(target)}`);
			return;
		}
		for (const pair of target.items) {
			const keyNode = pair.key as Node;
			const here = keyNode.range ? place(keyNode.range[0]) : where;
			const key = isScalar(keyNode) ? String(keyNode.value) : String(keyNode);
			const path = `${prefix}${key}`;
			const known = Object.hasOwn(tree, key) ? (tree as Record<string, AnyLeaf | object>)[key] : undefined;
			if (known === undefined) {
				problems.push(`${here}: unknown setting ${path}${suggestion(path, prefix, tree, allPaths)}`);
			} else if (isLeaf(known)) {
				const value = resolved(pair.value as Node | null, document);
				assignments.push({ path, value: value?.toJS(document), origin: here });
			} else {
				walk(pair.value as Node | null, known, `${path}.`, here);
			}
		}
	};
	walk(document.contents, SETTINGS_SCHEMA, "", place(0));
	return { assignments, problems };
}

/** The node behind an alias; undefined where nothing, or `null`, is written. */
function resolved(node: Node | null, document: Document): Node | undefined {
	const target = isAlias(node) ? node.resolve(document) : node;
	return target === null || target === undefined || (isScalar(target) && target.value === null)
		? undefined
		: (target as Node);
}

function describeValue(node: Node): string {
	return isScalar(node) ? `"${String(node.value)}"` : "a list";
}

function suggestion(path: string, prefix: string, tree: object, allPaths: readonly string[]): string {
	const sibling = nearestName(path.slice(prefix.length), Object.keys(tree));
	const nearest = sibling === undefined ? nearestName(path, allPaths) : `${prefix}${sibling}`;
	// A setting written outside its section: `port: 7801` at the top.
	const elsewhere = allPaths.filter((known) => known.endsWith(`.${path.slice(prefix.length)}`));
	const meant = nearest ?? (elsewhere.length === 1 ? elsewhere[0] : undefined);
	return meant === undefined ? "" : `; did you mean ${meant}?`;
}
