import { createWriteStream, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { BINARY, LocalNode } from "./local-node.ts";
import { readWordVectors, type WordVectors } from "./word-vectors.ts";

/** The main job, as a new user would do it: with the CLI, on 20,000 English words and their GloVe vectors. */
const { values: flags } = parseArgs({
	args: Bun.argv.slice(2),
	options: { once: { type: "boolean", default: false } },
});

const colour = process.stdout.isTTY === true && !process.env.NO_COLOR;
const bold = (text: string): string => (colour ? `\x1b[1m${text}\x1b[0m` : text);
const dim = (text: string): string => (colour ? `\x1b[2m${text}\x1b[0m` : text);
const heading = (text: string): void => console.log(`\n${bold(text)}`);

function expect(condition: boolean, what: string): void {
	if (!condition) throw new Error(`the demo expected that ${what}`);
}

const words = readWordVectors(join(import.meta.dir, "data", "glove-100d-20k.hvwv"));
const folder = mkdtempSync(join(tmpdir(), "hive-vector-demo-"));
let node: LocalNode | undefined;
let failed = false;
try {
	heading("A node: one process, an embedded hub, an empty folder");
	node = await LocalNode.start({ dataDir: join(folder, "data") });
	console.log(`Ready after ${node.startMs.toFixed(0)} ms at ${node.url}`);
	await show(node);
	await goOn(node);
} catch (error) {
	failed = true;
	console.error(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}`);
} finally {
	await node?.stop();
	rmSync(folder, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);

async function show(running: LocalNode): Promise<void> {
	const admin = running.adminKey();

	heading("Two tenants with quotas, limits and a key each");
	await run(running, admin, ["tenant", "create", "acme", "--name", "Acme", "--max-vectors", "25000"]);
	await run(running, admin, [
		...["tenant", "create", "globex", "--name", "Globex"],
		...["--max-vectors", "50", "--requests-per-minute", "30"],
	]);
	const acme = await mintKey(running, admin, "acme");
	const globex = await mintKey(running, admin, "globex");

	heading(`Import: ${words.words.length.toLocaleString("en")} English words with their GloVe vectors`);
	const file = join(folder, "words.ndjson");
	await writeNdjson(file, words);
	await run(running, acme.api_key, ["collection", "create", "words", "--dimension", "100"]);
	await run(running, acme.api_key, ["import", "words", file]);

	heading("Search: the nearest words");
	for (const word of ["king", "guitar", "paris"]) {
		const hits = await neighbours(running, acme.api_key, { id: word, limit: 6 });
		console.log(`${word.padEnd(22)} → ${hits.join(", ")}`);
	}
	const analogy = await neighbours(running, acme.api_key, {
		vector: sum(words, { king: 1, man: -1, woman: 1 }),
		filter: { must_not: [{ has_id: ["king", "man", "woman"] }] },
		limit: 6,
	});
	console.log(`${"king − man + woman".padEnd(22)} → ${analogy.join(", ")}`);
	expect(analogy[0] === "queen", "king − man + woman is nearest to queen");
	const longWords = await neighbours(running, acme.api_key, {
		id: "guitar",
		filter: { must: [{ key: "length", range: { gte: 10 } }] },
		limit: 6,
	});
	console.log(`${"guitar, 10+ letters".padEnd(22)} → ${longWords.join(", ")}`);
	expect(
		longWords.every((word) => word.length >= 10),
		"the filter holds",
	);

	heading("One tenant cannot see the other");
	await run(running, globex.api_key, ["collection", "list"]);
	const foreign = await run(running, globex.api_key, ["search", "words", "--id", "king"], 4);
	const unused = await run(running, globex.api_key, ["search", "never-used", "--id", "king"], 4);
	expect(foreign.replaceAll("words", "X") === unused.replaceAll("never-used", "X"), "both answers are alike");
	console.log("A name of the other tenant answers exactly as a name never used.");

	heading("A quota holds: globex may store 50 vectors");
	await run(running, globex.api_key, ["collection", "create", "few", "--dimension", "100"]);
	const tooMany = await request(running, globex.api_key, "POST", "/collections/few/vectors", {
		vectors: Array.from({ length: 51 }, (_, row) => ({ id: row, vector: rowOf(words, row) })),
	});
	console.log(`51 at once: ${tooMany.status} ${tooMany.body.code}: ${tooMany.body.error}`);
	expect(tooMany.status === 429 && tooMany.body.code === "QUOTA_EXCEEDED", "the quota refuses the 51st vector");
	const count = await request(running, globex.api_key, "POST", "/collections/few/vectors/count", {});
	expect(count.body.count === 0, "the refused request left nothing behind");
	console.log(`and nothing was written: ${count.body.count} vectors.`);

	heading("A rate limit holds: globex may ask 30 times a minute");
	let limited = await request(running, globex.api_key, "GET", "/collections");
	for (let asked = 0; asked < 40 && limited.status === 200; asked++) {
		limited = await request(running, globex.api_key, "GET", "/collections");
	}
	console.log(`${limited.status} ${limited.body.code}: ${limited.body.error}`);
	expect(limited.status === 429 && limited.body.code === "RATE_LIMITED", "the rate limit refuses");
	const neighbour = await request(running, acme.api_key, "GET", "/collections");
	expect(neighbour.status === 200, "the other tenant is not slowed down");
	console.log("while acme goes on undisturbed.");

	heading("A revoked key is refused at once");
	await run(running, admin, ["key", "revoke", "acme", acme.api_key_id, "--yes"]);
	const refused = await request(running, acme.api_key, "GET", "/collections");
	console.log(`${refused.status} ${refused.body.code}: ${refused.body.error}`);
	expect(refused.status === 401, "a revoked key is refused");
}

async function goOn(running: LocalNode): Promise<void> {
	const next = await mintKey(running, running.adminKey(), "acme");
	heading("Go on from here");
	console.log(`URL        ${running.url}`);
	console.log(`API docs   ${running.url}/docs`);
	console.log(`Data       ${running.dataDir} ${dim("(removed when the demo ends)")}`);
	console.log(`Try        export HIVE_VECTOR_URL=${running.url} HIVE_VECTOR_API_KEY=${next.api_key}`);
	console.log("           dist/hive-vector collection list");
	console.log("           dist/hive-vector search words --id coffee");
	console.log("           curl -H \"x-api-key: $HIVE_VECTOR_API_KEY\" -H 'content-type: application/json' \\");
	console.log(`                -d '{"id":"coffee","limit":5}' $HIVE_VECTOR_URL/api/v1/collections/words/search`);
	if (flags.once) return;
	console.log("\nThe node runs until Ctrl-C.");
	await new Promise<void>((resolve) => {
		process.once("SIGINT", resolve);
		process.once("SIGTERM", resolve);
	});
}

/** Runs one CLI command as a user would, showing it and what it prints. @returns its standard output and error */
async function run(running: LocalNode, key: string, args: readonly string[], exitCode = 0): Promise<string> {
	console.log(
		dim(`$ hive-vector ${args.map((arg) => (arg.startsWith(folder) ? arg.slice(folder.length + 1) : arg)).join(" ")}`),
	);
	const showsProgress = args[0] === "import";
	const child = Bun.spawn([BINARY, ...args], {
		env: { ...process.env, HIVE_VECTOR_URL: running.url, HIVE_VECTOR_API_KEY: key },
		stdin: "ignore",
		stdout: showsProgress ? "inherit" : "pipe",
		stderr: showsProgress ? "inherit" : "pipe",
	});
	const read = (stream: ReadableStream | number | undefined): Promise<string> =>
		stream instanceof ReadableStream ? new Response(stream).text() : Promise.resolve("");
	const text = (await Promise.all([read(child.stdout), read(child.stderr)])).join("");
	process.stdout.write(text);
	const ended = await child.exited;
	expect(
		ended === exitCode,
		`\`hive-vector ${args.slice(0, 2).join(" ")}\` ends with exit code ${exitCode}, not ${ended}`,
	);
	return text;
}

async function mintKey(
	running: LocalNode,
	admin: string,
	tenant: string,
): Promise<{ api_key: string; api_key_id: string }> {
	console.log(dim(`$ hive-vector key create ${tenant} --permission READ_WRITE --json`));
	const child = Bun.spawn([BINARY, "key", "create", tenant, "--permission", "READ_WRITE", "--json"], {
		env: { ...process.env, HIVE_VECTOR_URL: running.url, HIVE_VECTOR_API_KEY: admin },
		stdin: "ignore",
		stdout: "pipe",
		stderr: "inherit",
	});
	const key = (await new Response(child.stdout).json()) as { api_key: string; api_key_id: string };
	console.log(`${key.api_key_id}  ${key.api_key.slice(0, 12)}…  ${dim("(shown whole only once)")}`);
	return key;
}

async function request(
	running: LocalNode,
	key: string,
	method: string,
	path: string,
	body?: unknown,
): Promise<{ status: number; body: Record<string, unknown> }> {
	const answer = await fetch(`${running.url}/api/v1${path}`, {
		method,
		headers: { "x-api-key": key, "content-type": "application/json" },
		...(body === undefined ? {} : { body: JSON.stringify(body) }),
	});
	return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
}

async function neighbours(running: LocalNode, key: string, search: Record<string, unknown>): Promise<string[]> {
	const answer = await request(running, key, "POST", "/collections/words/search", search);
	expect(answer.status === 200, `a search answers, not: ${JSON.stringify(answer.body)}`);
	return (answer.body.results as { id: string }[]).map((hit) => hit.id);
}

function rowOf(data: WordVectors, row: number): number[] {
	return Array.from(data.vectors.subarray(row * data.dimension, (row + 1) * data.dimension));
}

/** The weighted sum of some words' unit vectors. */
function sum(data: WordVectors, weights: Readonly<Record<string, number>>): number[] {
	const total = new Array<number>(data.dimension).fill(0);
	for (const [word, weight] of Object.entries(weights)) {
		const vector = rowOf(data, data.words.indexOf(word));
		const norm = Math.hypot(...vector);
		vector.forEach((value, axis) => {
			total[axis] = (total[axis] ?? 0) + (weight * value) / norm;
		});
	}
	return total;
}

async function writeNdjson(path: string, data: WordVectors): Promise<void> {
	const stream = createWriteStream(path);
	for (const [row, word] of data.words.entries()) {
		const line = { id: word, vector: rowOf(data, row), payload: { word, rank: row + 1, length: word.length } };
		if (!stream.write(`${JSON.stringify(line)}\n`)) await new Promise<void>((resolve) => stream.once("drain", resolve));
	}
	await new Promise<void>((resolve, reject) =>
		stream.end((error?: Error | null) => (error ? reject(error) : resolve())),
	);
}
