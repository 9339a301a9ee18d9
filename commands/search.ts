import { Args, Flags } from "@oclif/core";
import { usageFailure } from "./shared/failure.ts";
import { type Hit, hitsTable } from "./shared/hits-table.ts";
import { parseJson, parseJsonObject, readText, readTextFile } from "./shared/json-input.ts";
import { apiPath } from "./shared/node-client.ts";
import { NodeCommand, tenantFlag } from "./shared/node-command.ts";

interface SearchAnswer {
	readonly results: readonly Hit[];
	readonly took_ms: number;
	readonly plan?: unknown;
}

export class Search extends NodeCommand {
	static override summary = "Find the vectors nearest to a vector, documents by their words, or both.";
	static override description = [
		'The vector is a JSON array, or an object with a field "vector". --text searches with the vector of a text where the',
		"collection has a text provider, and by its words where not; --hybrid-text searches by words too, and makes both results",
		"into one. The score is the cosine similarity, inner product or BM25, higher first; for euclidean the distance, lower first.",
	].join(" ");
	static override examples = [
		"<%= config.bin %> search docs --vector-file q.json --limit 5",
		'<%= config.bin %> search docs --vector \'[0.1, 0.2, 0.3]\' --filter \'{"must":[{"key":"lang","match":{"value":"en"}}]}\'',
		'<%= config.bin %> search docs --text "how to rotate a key"',
		'<%= config.bin %> search docs --vector-file q.json --hybrid-text "rotate key" --alpha 0.7',
		"<%= config.bin %> search docs --id 42 --json | jq '.results[].id'",
	];
	static override args = { collection: Args.string({ required: true, description: "name of the collection" }) };
	static override flags = {
		"vector-file": Flags.string({
			description: "file with the vector; - for stdin",
			helpValue: "<file>",
			helpGroup: "QUERY",
		}),
		vector: Flags.string({ description: "the vector itself", helpValue: "<json>", helpGroup: "QUERY" }),
		id: Flags.string({
			description: "a stored vector; digits are an integer id, '\"42\"' the string",
			helpValue: "<id>",
			helpGroup: "QUERY",
		}),
		text: Flags.string({ description: "a text", helpValue: "<text>", helpGroup: "QUERY" }),
		"hybrid-text": Flags.string({
			description: "text that is searched by its words besides",
			helpValue: "<text>",
			helpGroup: "QUERY",
		}),
		alpha: Flags.custom<number>({
			description: "share of the search by vector in a hybrid one, from 0 to 1; by rank if not given",
			parse: async (text) => parseNumber("--alpha", text),
			helpValue: "<share>",
			helpGroup: "QUERY",
		})(),
		limit: Flags.integer({ char: "n", description: "hits wanted", min: 1, default: 10, helpValue: "<n>" }),
		offset: Flags.integer({ description: "hits to leave out first", min: 0, helpValue: "<n>" }),
		filter: Flags.string({ description: "only vectors whose payload passes", helpValue: "<json>|@<file>" }),
		"score-threshold": Flags.custom<number>({
			description: "no hits worse than this",
			parse: async (text) => parseNumber("--score-threshold", text),
			helpValue: "<score>",
		})(),
		"ef-search": Flags.integer({ description: "wider searches more exactly, and slower", min: 1, helpValue: "<n>" }),
		exact: Flags.boolean({ description: "compare with every vector" }),
		"with-vector": Flags.boolean({ description: "the vectors too (with --json)" }),
		"with-payload": Flags.boolean({ description: "the payloads too", default: true, allowNo: true }),
		explain: Flags.boolean({ description: "also which way the search took" }),
		...tenantFlag,
	};

	override async run(): Promise<SearchAnswer> {
		const { args, flags } = await this.parse(Search);
		const { id, text, "hybrid-text": hybridText, alpha } = flags;
		const vectors = [flags["vector-file"], flags.vector].filter((query) => query !== undefined);
		const queries = [...vectors, id, text].filter((query) => query !== undefined);
		// Words may be searched alone, and a node with a provider makes the vector of them.
		if (queries.length > 1 || (queries.length === 0 && hybridText === undefined)) {
			throw usageFailure("one of --vector-file, --vector, --id and --text is needed");
		}
		if (alpha !== undefined && hybridText === undefined) throw usageFailure("--alpha needs --hybrid-text");
		const body = {
			...(vectors.length > 0 && { vector: await this.readVector(flags) }),
			...(id !== undefined && { id: parseVectorId(id) }),
			...(hybridText !== undefined && { hybrid: { text: hybridText, alpha } }),
			text,
			limit: flags.limit,
			with_payload: flags["with-payload"],
			with_vector: flags["with-vector"],
			offset: flags.offset,
			ef_search: flags["ef-search"],
			score_threshold: flags["score-threshold"],
			...(flags.exact ? { exact: true } : {}),
			...(flags.explain ? { explain: true } : {}),
			...(flags.filter === undefined
				? {}
				: {
						filter: parseJsonObject(
							"--filter",
							await readText("--filter", flags.filter, (asker) => this.readStdin(asker)),
						),
					}),
		};
		const path = apiPath`/collections/${args.collection}/search`;
		const node = await this.connect(flags);
		const answer = await node.call<SearchAnswer>("POST", path, { body });
		this.show(answer);
		return answer;
	}

	private async readVector(flags: {
		"vector-file"?: string | undefined;
		vector?: string | undefined;
	}): Promise<unknown> {
		const file = flags["vector-file"];
		const [flag, text] =
			file === undefined
				? ["--vector", flags.vector!]
				: [
						"--vector-file",
						file === "-" ? await this.readStdin("--vector-file") : await readTextFile("--vector-file", file),
					];
		const value = parseJson(flag, text);
		const vector = typeof value === "object" && value !== null && "vector" in value ? value.vector : value;
		if (!Array.isArray(vector) && !(typeof vector === "object" && vector !== null && "base64" in vector)) {
			throw usageFailure(`${flag} must be a JSON array of numbers, or an object with a field "vector"`);
		}
		return vector;
	}

	private show(answer: SearchAnswer): void {
		const { columns, rows, hidden } = hitsTable(answer.results, this.terminal);
		this.printTable(columns, rows);
		if (hidden.length > 0) this.print(`\nnot shown: ${hidden.join(", ")}; --json has everything\n`);
		if (answer.plan !== undefined) this.print(`\nplan: ${JSON.stringify(answer.plan)}\n`);
		const hits = answer.results.length === 1 ? "hit" : "hits";
		if (this.terminal.isTty) this.print(`\n${answer.results.length} ${hits} in ${answer.took_ms.toFixed(1)} ms\n`);
	}
}

/** `42` is the integer, `"42"` in quotes the string; anything else is taken as it stands. */
export function parseVectorId(text: string): string | number {
	if (/^(0|[1-9]\d*)$/.test(text) && Number.isSafeInteger(Number(text))) return Number(text);
	if (!/^".*"$/.test(text)) return text;
	return String(parseJson("--id", text));
}

function parseNumber(flag: string, text: string): number {
	const value = Number(text);
	if (text.trim() === "" || !Number.isFinite(value)) throw usageFailure(`${flag}: "${text}" is not a number`);
	return value;
}
