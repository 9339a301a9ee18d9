import type { Consistency } from "../base/schemas.ts";
import { keptTextField } from "../base/text-settings.ts";
import type { Collection } from "../cluster/tenant-types.ts";
import type { Hit, SearchAnswer, SearchRequest } from "../storage/shard-types.ts";
import { fileId, parseDocumentRowId } from "./document-ids.ts";
import { DOCUMENT_LIMITS } from "./document-limits.ts";
import { readFile } from "./document-rows.ts";

/** Hits that are asked for besides, when some were in the way of others. */
const SPARE_MIN = 64;
const SPARE_MAX = 65_536;

/** What is known of the documents of which chunks were found: the version of each by its path; absent: there is no such document. */
type Versions = ReadonlyMap<string, string>;

/**
 * Searches without chunks of documents' versions that were replaced, deleted or never completed. All requests are answered from the same
 * version of each document.
 *
 * A search and a look at the documents are two reads, so whenever they don't fit the search is done again: wider, where old chunks took the
 * place of others.
 */
export async function searchCurrent(
	collection: Collection,
	requests: readonly SearchRequest[],
	consistency?: Consistency,
): Promise<readonly SearchAnswer[]> {
	const makesVectors = (collection.record.text?.provider ?? "none") !== "none";
	// The version of a first chunk stands in its payload alone.
	const asked = requests.map((request) => (makesVectors ? { ...request, withPayload: true } : request));
	let spare = 0;
	for (let round = 1; ; round++) {
		const wide = spare === 0 ? asked : asked.map((request) => ({ ...request, k: request.k + spare }));
		const answers = await collection.search(wide, consistency);
		const versions = await versionsOf(collection, answers, consistency);
		if (versions === undefined) return answers.map((answer, index) => trimmed(answer, requests[index]!));
		let staleCount = 0;
		let isShort = false;
		let isOvertaken = false;
		const current = answers.map((answer, index) => {
			const hits = answer.hits.filter((hit) => {
				const state = stateOf(hit, versions);
				isOvertaken ||= state === "overtaken";
				return state === "current";
			});
			staleCount = Math.max(staleCount, answer.hits.length - hits.length);
			const isAll = answer.hits.length < wide[index]!.k;
			isShort ||= hits.length < requests[index]!.k && !isAll;
			return trimmed({ ...answer, hits }, requests[index]!);
		});
		if ((!isShort && !isOvertaken) || round === DOCUMENT_LIMITS.searchRoundsMax) return current;
		// More than what was in the way: whatever lies behind may be of the same kind.
		spare = Math.min(Math.max(SPARE_MIN, 4 * staleCount), SPARE_MAX);
	}
}

/** @returns undefined when no chunk of a document was found */
async function versionsOf(
	collection: Collection,
	answers: readonly SearchAnswer[],
	consistency: Consistency | undefined,
): Promise<Versions | undefined> {
	const paths = new Set<string>();
	for (const { hits } of answers) {
		for (const { id } of hits) {
			const row = parseDocumentRowId(id);
			if (row !== undefined) paths.add(row.path);
		}
	}
	if (paths.size === 0) return undefined;
	const ids = [...paths].map(fileId);
	const rows = await collection.get(ids, { withPayload: true, withVector: false }, consistency);
	const textKey = keptTextField(collection.record.text ?? { fields: [] });
	const versions = new Map<string, string>();
	for (const row of rows) {
		const file = readFile(row, textKey);
		if (file !== undefined) versions.set(file.place.path, file.place.version);
	}
	return versions;
}

/** `overtaken`: the search saw a document's first chunk that has been replaced since. */
function stateOf(hit: Hit, versions: Versions): "current" | "stale" | "overtaken" {
	const row = parseDocumentRowId(hit.id);
	if (row === undefined) return "current";
	const version = versions.get(row.path);
	if (row.kind === "chunk") return row.version === version ? "current" : "stale";
	const seen = versionSeen(hit);
	return seen === undefined || seen === version ? "current" : "overtaken";
}

/** Of a first chunk; undefined for a row that only looks like one. */
function versionSeen({ payload }: Hit): string | undefined {
	if (payload === undefined) return undefined;
	const { document } = JSON.parse(payload) as { document?: { version?: unknown } };
	return typeof document?.version === "string" ? document.version : undefined;
}

/** As it was asked for: `k` hits at most, and payloads only where they were wanted. */
function trimmed(answer: SearchAnswer, { k, withPayload }: SearchRequest): SearchAnswer {
	const hits = answer.hits.length > k ? answer.hits.slice(0, k) : answer.hits;
	if (withPayload) return hits === answer.hits ? answer : { ...answer, hits };
	return { ...answer, hits: hits.map(({ payload: _, ...hit }) => hit) };
}
