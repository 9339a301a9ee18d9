import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EmbeddingServer, TEST_MODEL } from "../embedding/embedding-server.ts";
import { seededRandom } from "../system/random.ts";
import { type Answer, clientOf } from "./node-fixture.ts";

const RUN_NODE = join(import.meta.dir, "run-node.ts");
const KILLS = 8;

class NodeProcess {
	private constructor(
		readonly ask: (method: string, path: string, body?: unknown) => Promise<Answer>,
		private readonly child: Bun.Subprocess,
	) {}

	/** In a folder whose settings name an embedding server. */
	static async start(folder: string): Promise<NodeProcess> {
		const child = Bun.spawn([process.execPath, RUN_NODE, join(folder, "data")], {
			cwd: folder,
			stdout: "pipe",
			stderr: "inherit",
		});
		let url = "";
		for await (const chunk of child.stdout) {
			url += new TextDecoder().decode(chunk);
			if (url.endsWith("\n")) break;
		}
		return new NodeProcess(clientOf(`${url.trim()}/api/v1`), child);
	}

	async kill(): Promise<void> {
		this.child.kill("SIGKILL");
		await this.child.exited;
	}
}

/** A text whose chunks each say which version they are of. */
const textOf = (version: number, chunkCount: number): string =>
	Array.from({ length: chunkCount }, (_, index) => `# Part ${index}\n\nfish of version ${version}\n\n`).join("");

test("a node killed while it replaces a document has the old one or the new one, whole, when it is back", async () => {
	const folder = mkdtempSync(join(tmpdir(), "hive-document-kill-"));
	await using server = new EmbeddingServer();
	writeFileSync(
		join(folder, "hive-vector.yml"),
		`embedding: { provider: openai, url: "${server.url}", model: ${TEST_MODEL} }\nserver: { workers: 1 }\n`,
	);
	const random = seededRandom(7);
	let node = await NodeProcess.start(folder);
	try {
		await node.ask("POST", "/collections", { name: "docs", text: { provider: "openai" }, shards: 3 });
		const insert = (version: number) =>
			node.ask("POST", "/collections/docs/documents", {
				path: "a.md",
				text: textOf(version, 1 + ((version * 37) % 90)),
			});
		expect((await insert(0)).status).toBe(201);
		let acknowledged = 0;
		let version = 0;
		for (let kill = 0; kill < KILLS; kill++) {
			const possible = new Set<number>();
			let isDead = false;
			const writing = (async () => {
				while (!isDead) {
					const next = ++version;
					possible.add(next);
					const answer = await insert(next).catch(() => undefined);
					if (answer?.status !== 201) return;
					acknowledged = next;
					possible.clear();
				}
			})();
			await Bun.sleep(30 + random() * 120);
			isDead = true;
			await node.kill();
			await writing;
			possible.add(acknowledged);

			node = await NodeProcess.start(folder);
			const { body } = await node.ask("GET", "/collections/docs/documents/content?path=a.md");
			const found = Number(/version (\d+)/.exec(body.text)![1]);
			expect(possible).toContain(found);
			expect(body.text).toBe(textOf(found, body.chunks));
			const search = await node.ask("POST", "/collections/docs/search", { text: "fish", limit: 500 });
			const texts: string[] = search.body.results.map((hit: { payload: { text: string } }) => hit.payload.text);
			expect(texts).toHaveLength(body.chunks);
			expect(texts.every((text) => text.includes(`fish of version ${found}\n`))).toBe(true);
			acknowledged = found;
		}
		expect(version).toBeGreaterThan(KILLS);
	} finally {
		await node.kill();
		rmSync(folder, { recursive: true, force: true });
	}
}, 120_000);
