import { Args, Flags } from "@oclif/core";
import { collectionFlags, newCollectionBody } from "./shared/collection-flags.ts";
import { CommandFailure, EXIT, usageFailure } from "./shared/failure.ts";
import { readNdjson } from "./shared/ndjson.ts";
import { apiPath, type NodeClient } from "./shared/node-client.ts";
import { NodeCommand, tenantFlag } from "./shared/node-command.ts";
import { type Progress, startProgress } from "./shared/progress.ts";
import { terminalOf } from "./shared/terminal.ts";
import { formatCount } from "./shared/units.ts";

interface BadLine {
	readonly line: number;
	readonly error: string;
	readonly code: string;
}

interface ImportResult {
	readonly collection: string;
	readonly imported: number;
	readonly failed: number;
	/** The first bad lines, as many as are kept. */
	readonly errors: readonly BadLine[];
	readonly seconds: number;
}

/** Bad lines that are shown and kept; the rest are counted. */
const BAD_LINES_MAX = 100;

export class Import extends NodeCommand {
	static override summary = "Load vectors from an NDJSON file or stdin.";
	static override description =
		'A line is {"id": …, "vector": […], "payload": {…}}; id and payload may be left out. What has the same id is replaced. The file is streamed, so its size does not matter. Bad lines are named and left out; the others are imported, and the exit code is 1.';
	static override examples = [
		"<%= config.bin %> import docs docs.ndjson",
		"<%= config.bin %> import docs docs.ndjson --create --dimension 768",
		"zcat docs.ndjson.gz | <%= config.bin %> import docs -",
	];
	static override args = {
		collection: Args.string({ required: true, description: "name of the collection" }),
		file: Args.string({ required: true, description: "NDJSON file; - for stdin" }),
	};
	static override flags = {
		create: Flags.boolean({ description: "make the collection first, unless it is there", dependsOn: ["dimension"] }),
		dimension: Flags.integer({ char: "d", description: "numbers a vector, for --create", min: 1, helpValue: "<n>" }),
		...collectionFlags,
		...tenantFlag,
	};

	override async run(): Promise<ImportResult> {
		const { args, flags, metadata } = await this.parse(Import);
		const forCreate = Object.keys(collectionFlags).find(
			(name) => name in flags && metadata.flags[name]?.setFromDefault !== true,
		);
		if (forCreate !== undefined && !flags.create)
			throw usageFailure(`--${forCreate} is for a new collection`, "add --create");
		const path = apiPath`/collections/${args.collection}/import`;
		if (args.file === "-") this.claimStdin("the file");
		const source = await openSource(args.file);
		const node = await this.connect(flags);
		if (flags.create) await createIfMissing(node, newCollectionBody(args.collection, flags.dimension!, flags));

		const startMs = performance.now();
		const bar = startProgress(process.stderr, terminalOf(process.stderr, process.env), "bytes", source.bytes);
		const { imported, failed, errors } = await this.clearingUp(
			() => bar.stop(),
			() => this.send(node, path, source, bar),
		).finally(() => bar.stop());
		const seconds = (performance.now() - startMs) / 1000;
		const rate = seconds > 0 ? `, ${formatCount(Math.round(imported / seconds))} a second` : "";
		this.print(`${formatCount(imported)} vectors imported into ${args.collection}${rate}\n`);
		if (failed > 0) {
			this.note(`${formatCount(failed)} bad lines were left out`);
			process.exitCode = EXIT.failed;
		}
		return { collection: args.collection, imported, failed, errors, seconds };
	}

	/** Uploads and reads the node's progress at the same time: the node may stop reading until its answer is read. */
	private async send(
		node: NodeClient,
		path: string,
		source: ImportSource,
		bar: Progress,
	): Promise<Pick<ImportResult, "imported" | "failed" | "errors">> {
		let sentBytes = 0;
		let imported = 0;
		let failed = 0;
		let isWhole = false;
		const errors: BadLine[] = [];
		const counted = source.stream.pipeThrough(
			new TransformStream<Uint8Array, Uint8Array>({
				transform(chunk, controller) {
					sentBytes += chunk.byteLength;
					controller.enqueue(chunk);
				},
			}),
		);
		const response = await node.stream("POST", path, { body: counted });
		const events = readNdjson(response.body!)[Symbol.asyncIterator]();
		while (true) {
			const next = await events.next().catch((cause: unknown) => {
				throw node.unreachable(cause);
			});
			if (next.done === true) break;
			const event = next.value;
			if (typeof event.line === "number" && typeof event.error === "string") {
				const bad = { line: event.line, error: event.error, code: String(event.code) };
				failed += 1;
				if (errors.length < BAD_LINES_MAX) {
					errors.push(bad);
					this.note(`line ${bad.line}: ${bad.error} (${bad.code})`);
				}
			} else if (typeof event.error === "string") {
				throw stopped(event, imported);
			}
			if (typeof event.imported === "number") imported = event.imported;
			if (typeof event.failed === "number") failed = event.failed;
			if (event.done === true) isWhole = true;
			bar.update(sentBytes, `${formatCount(imported)} vectors`);
		}
		if (!isWhole) throw stopped({ error: "the node ended its answer before the import was over" }, imported);
		return { imported, failed, errors };
	}
}

function stopped(event: Record<string, unknown>, imported: number): CommandFailure {
	const advice = `${formatCount(imported)} vectors were imported; importing the file again replaces them`;
	return new CommandFailure(String(event.code ?? "FAILED"), EXIT.failed, String(event.error), {
		advice,
		details: { imported },
	});
}

interface ImportSource {
	readonly stream: ReadableStream<Uint8Array>;
	/** undefined: not known before the end. */
	readonly bytes: number | undefined;
}

async function openSource(path: string): Promise<ImportSource> {
	if (path === "-") return { stream: Bun.stdin.stream(), bytes: undefined };
	const file = Bun.file(path);
	const stats = await file.stat().catch((error: unknown) => {
		const reason = error instanceof Error && "code" in error ? String(error.code) : "unreadable";
		throw usageFailure(`${path} can't be read (${reason})`);
	});
	if (stats.isDirectory()) throw usageFailure(`${path} is a folder`);
	// A named pipe has no size to measure progress by.
	return { stream: file.stream(), bytes: stats.isFile() ? stats.size : undefined };
}

async function createIfMissing(node: NodeClient, body: Record<string, unknown>): Promise<void> {
	try {
		await node.call("POST", "/collections", { body });
	} catch (error) {
		if (!(error instanceof CommandFailure) || error.code !== "COLLECTION_EXISTS") throw error;
	}
}
