import { existsSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { readSealedLine, syncPath, writeSealedLine } from "./durable-file.ts";
import { fileChecksum } from "./file-checksum.ts";
import { Graph, newIndex } from "./graph.ts";
import { Quantizer, type QuantizerState } from "./quantizer.ts";
import type { ShardConfig } from "./shard-types.ts";
import type { VectorFile } from "./vector-file.ts";

const MANIFEST_FILE = "index.manifest";
const MAGIC = "hive-vector index";
const FORMAT = 1;
const GRAPH_FILE_PATTERN = /^index(-\d+)?\.usearch(\.tmp)?$/;

/** What `index.manifest` says of the graph file beside it. Followed by a checksum line over the text before. */
interface Manifest {
	readonly magic: string;
	readonly format: number;
	/** The graph holds what was committed up to here, but for what was pending then. */
	readonly seq: number;
	readonly file: string;
	readonly fileBytes: number;
	/** xxHash64, see `fileChecksum`. */
	readonly fileChecksum: string;
	readonly dimension: number;
	readonly metric: string;
	readonly quantization: string;
	readonly m: number;
	readonly efConstruction: number;
	readonly quantizer: QuantizerState;
	readonly count: number;
	readonly tombstoneCount: number;
	/** Base64 of a bitmap: the slots that the graph holds. */
	readonly members: string;
}

export interface LoadedSnapshot {
	readonly graph: Graph;
	readonly seq: number;
	/** Slots in the graph, ascending. */
	readonly members: readonly number[];
}

/**
 * Write the graph beside the database: to a file of its own first, so that the former snapshot stays whole until the
 * manifest names the new one. USearch blocks the thread while it writes.
 *
 * @param isMember tells which of the slots below `slotCount` the graph holds.
 */
export async function saveSnapshot(
	folder: string,
	config: ShardConfig,
	graph: Graph,
	seq: number,
	slotCount: number,
	isMember: (slot: number) => boolean,
): Promise<void> {
	const file = `index-${seq}.usearch`;
	const path = join(folder, file);
	const members = Buffer.alloc(Math.ceil(slotCount / 8));
	for (let slot = 0; slot < slotCount; slot++) if (isMember(slot)) members[slot >> 3]! |= 1 << (slot & 7);
	const { count, tombstoneCount } = graph.index;
	const { fileBytes, checksum } = await saveGraph(graph, path);
	const manifest: Manifest = {
		magic: MAGIC,
		format: FORMAT,
		seq,
		file,
		fileBytes,
		fileChecksum: checksum,
		...identity(config),
		quantizer: graph.quantizer.state,
		count,
		tombstoneCount,
		members: members.toString("base64"),
	};
	writeSealedLine(join(folder, MANIFEST_FILE), JSON.stringify(manifest));
	for (const name of readdirSync(folder)) {
		if (GRAPH_FILE_PATTERN.test(name) && name !== file) rmSync(join(folder, name), { force: true });
	}
}

/** On a full disk nothing of it stays behind. */
async function saveGraph(graph: Graph, path: string): Promise<{ fileBytes: number; checksum: string }> {
	const temporary = `${path}.tmp`;
	try {
		graph.index.save(temporary);
		syncPath(temporary);
		const fileBytes = statSync(temporary).size;
		const checksum = await fileChecksum(temporary, fileBytes);
		if (checksum === undefined) throw new Error("the saved graph is shorter than it was");
		renameSync(temporary, path);
		return { fileBytes, checksum };
	} catch (error) {
		rmSync(temporary, { force: true });
		throw error;
	}
}

/**
 * Load what `saveSnapshot` wrote. Nothing of the file reaches USearch before its checksum was verified.
 *
 * @returns a reason why it is of no use, when it isn't: none there, damaged, or made for another configuration.
 */
export async function loadSnapshot(
	folder: string,
	config: ShardConfig,
	vectors: VectorFile,
	tailRowsMax: number,
): Promise<LoadedSnapshot | { readonly reason: string }> {
	const manifest = readManifest(join(folder, MANIFEST_FILE));
	if (typeof manifest === "string") return { reason: manifest };
	const expected = identity(config);
	for (const key of Object.keys(expected) as (keyof typeof expected)[]) {
		if (manifest[key] !== expected[key]) return { reason: `the snapshot was made with another ${key}` };
	}
	const path = join(folder, manifest.file);
	if (!GRAPH_FILE_PATTERN.test(manifest.file) || !existsSync(path))
		return { reason: "the snapshot's graph is missing" };
	if (statSync(path).size !== manifest.fileBytes) return { reason: "the snapshot's graph has another length" };
	if ((await fileChecksum(path, manifest.fileBytes)) !== manifest.fileChecksum) {
		return { reason: "the snapshot's graph is damaged" };
	}
	const quantizer = new Quantizer(config.metric, manifest.quantizer);
	const index = newIndex(config, quantizer);
	index.load(path, manifest.tombstoneCount);
	if (index.count !== manifest.count) return { reason: "the snapshot's graph holds another number of vectors" };
	const bitmap = Buffer.from(manifest.members, "base64");
	const members: number[] = [];
	for (let slot = 0; slot < bitmap.length * 8; slot++) {
		if ((bitmap[slot >> 3]! & (1 << (slot & 7))) !== 0) members.push(slot);
	}
	if (members.length !== manifest.count) return { reason: "the snapshot's graph holds other vectors" };
	return { graph: new Graph(index, quantizer, vectors, tailRowsMax, manifest.count), seq: manifest.seq, members };
}

/** No graph is wanted any more. */
export function removeSnapshot(folder: string): void {
	rmSync(join(folder, MANIFEST_FILE), { force: true });
	for (const name of readdirSync(folder)) {
		if (GRAPH_FILE_PATTERN.test(name)) rmSync(join(folder, name), { force: true });
	}
}

function readManifest(path: string): Manifest | string {
	const sealed = readSealedLine(path);
	if (sealed === undefined) return "there is no snapshot";
	if (sealed === "damaged") return "the snapshot's manifest is damaged";
	const manifest = JSON.parse(sealed.line) as Manifest;
	if (manifest.magic !== MAGIC || manifest.format !== FORMAT) return "the snapshot is of another format";
	return manifest;
}

function identity(config: ShardConfig) {
	return {
		dimension: config.dimension,
		metric: config.metric,
		quantization: config.quantization,
		m: config.hnsw.m,
		efConstruction: config.hnsw.ef_construction,
	};
}
