import { rmSync } from "node:fs";
import { open, rename } from "node:fs/promises";
import { Args, Flags } from "@oclif/core";
import type { CollectionInfo } from "./shared/collection-view.ts";
import { CommandFailure, EXIT, usageFailure } from "./shared/failure.ts";
import { apiPath, type NodeClient } from "./shared/node-client.ts";
import { NodeCommand, tenantFlag } from "./shared/node-command.ts";
import { writeStdout } from "./shared/output.ts";
import { startProgress } from "./shared/progress.ts";
import { terminalOf } from "./shared/terminal.ts";
import { formatBytes, formatCount } from "./shared/units.ts";

interface ExportResult {
	readonly collection: string;
	readonly exported: number;
	readonly bytes: number;
	readonly output: string;
}

/** Takes the exported bytes. `write` answers false when nobody reads any more. */
interface Sink {
	write(chunk: Uint8Array): Promise<boolean>;
	finish(): Promise<void>;
	/** Leaves nothing behind of what was written. */
	discard(): void;
}

export class Export extends NodeCommand {
	static override summary = "Write a collection's vectors as NDJSON, in the form import reads.";
	static override examples = [
		"<%= config.bin %> export docs -o docs.ndjson",
		"<%= config.bin %> export docs | gzip > docs.ndjson.gz",
		"<%= config.bin %> export docs | <%= config.bin %> import copy - --url http://other:7801",
	];
	static override args = { collection: Args.string({ required: true, description: "name of the collection" }) };
	static override flags = {
		output: Flags.string({ char: "o", description: "file to write; stdout if not given", helpValue: "<file>" }),
		force: Flags.boolean({ description: "replace the file if it is there" }),
		...tenantFlag,
	};

	override async run(): Promise<ExportResult | undefined> {
		const { args, flags } = await this.parse(Export);
		const path = apiPath`/collections/${args.collection}`;
		const { output } = flags;
		if (output === undefined && this.jsonEnabled())
			throw usageFailure("with --json, the vectors need a file", "add -o <file>");
		if (output !== undefined && !flags.force && (await Bun.file(output).exists())) {
			throw usageFailure(`${output} is there already`, "add --force to replace it");
		}
		const node = await this.connect(flags);
		const total = (await node.call<CollectionInfo>("GET", path)).vectors ?? undefined;
		const sink = output === undefined ? stdoutSink() : await fileSink(output);
		const terminal = terminalOf(process.stderr, process.env);
		const bar = startProgress(
			process.stderr,
			output === undefined && process.stdout.isTTY ? { ...terminal, isTty: false } : terminal,
			"vectors",
			total,
		);
		const showProgress = (vectors: number, bytes: number): void => bar.update(vectors, formatBytes(bytes));
		const clear = (): void => {
			bar.stop();
			sink.discard();
		};
		const counts = await this.clearingUp(clear, () => copy(node, `${path}/export`, sink, showProgress)).catch(
			(error: unknown) => {
				clear();
				throw error;
			},
		);
		bar.stop();
		if (output === undefined) return undefined;
		this.print(`${formatCount(counts.exported)} vectors, ${formatBytes(counts.bytes)}, written to ${output}\n`);
		return { collection: args.collection, ...counts, output };
	}
}

async function copy(
	node: NodeClient,
	path: string,
	sink: Sink,
	onProgress: (vectors: number, bytes: number) => void,
): Promise<{ exported: number; bytes: number }> {
	let exported = 0;
	let bytes = 0;
	let last = NEWLINE;
	const reader = (await node.stream("GET", path)).body!.getReader();
	while (true) {
		const next = await reader.read().catch((cause: unknown) => {
			throw node.unreachable(cause);
		});
		if (next.done) break;
		for (const byte of next.value) if (byte === NEWLINE) exported += 1;
		bytes += next.value.byteLength;
		last = next.value.at(-1) ?? last;
		if (!(await sink.write(next.value))) {
			await reader.cancel();
			return { exported, bytes };
		}
		onProgress(exported, bytes);
	}
	// A line that was cut off is no vector: better no file than one that looks whole.
	if (last !== NEWLINE)
		throw new CommandFailure("INCOMPLETE", EXIT.failed, "the node's answer broke off in the middle of a line");
	await sink.finish();
	return { exported, bytes };
}

const NEWLINE = 10;

function stdoutSink(): Sink {
	return { write: writeStdout, async finish() {}, discard() {} };
}

/** Beside the file first, in its place once whole: a broken export leaves the old file, or none. */
async function fileSink(path: string): Promise<Sink> {
	const temporary = `${path}.${process.pid}.part`;
	const file = await open(temporary, "wx", 0o600).catch((error: unknown) => {
		const reason = error instanceof Error && "code" in error ? String(error.code) : "unwritable";
		throw usageFailure(`${path} can't be written (${reason})`);
	});
	return {
		async write(chunk) {
			await file.appendFile(chunk);
			return true;
		},
		async finish() {
			await file.sync();
			await file.close();
			await rename(temporary, path);
		},
		discard() {
			rmSync(temporary, { force: true });
		},
	};
}
