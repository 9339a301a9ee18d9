import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import {
	mkdirSync,
	mkdtempSync,
	readdirSync,
	readFileSync,
	rmSync,
	statSync,
	truncateSync,
	unlinkSync,
	writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { BINARY, LocalNode } from "../../scripts/local-node.ts";
import { call, newTenant, scrollAll } from "./client.ts";
import { cosine, randomVector, seededRandom } from "./random.ts";

setDefaultTimeout(120_000);

const DIMENSION = 16;
const COUNT = 2_000;
let folder = "";
const nodes: LocalNode[] = [];

afterEach(async () => {
	for (const node of nodes.splice(0)) await node.kill();
	Bun.spawnSync(["umount", join(folder, "small")], { stderr: "ignore" });
	rmSync(folder, { recursive: true, force: true });
});

async function startOn(dataDir: string): Promise<LocalNode> {
	const node = await LocalNode.start({ dataDir });
	nodes.push(node);
	return node;
}

const vectorOf = (id: number): number[] => randomVector(seededRandom(id + 1), DIMENSION);

async function fill(node: LocalNode, key: string, from: number, count: number): Promise<number> {
	const vectors = Array.from({ length: count }, (_, offset) => ({
		id: from + offset,
		vector: vectorOf(from + offset),
	}));
	return (await call(node, key, "POST", "/collections/things/vectors", { vectors })).status;
}

/** Recall of 20 searches against brute force over what was inserted. */
async function recall(node: LocalNode, key: string, count: number): Promise<number> {
	const all = Array.from({ length: count }, (_, id) => ({ id, vector: vectorOf(id) }));
	let found = 0;
	for (let query = 0; query < 20; query++) {
		const vector = randomVector(seededRandom(1_000_000 + query), DIMENSION);
		const answer = await call(node, key, "POST", "/collections/things/search", { vector, limit: 10, ef_search: 200 });
		expect(answer.status, JSON.stringify(answer.body)).toBe(200);
		const nearest = all
			.map((row) => ({ id: row.id, score: cosine(vector, row.vector) }))
			.sort((a, b) => b.score - a.score)
			.slice(0, 10)
			.map((row) => row.id);
		found += answer.body.results.filter((hit: { id: number }) => nearest.includes(hit.id)).length;
	}
	return found / 200;
}

function filesNamed(root: string, pattern: RegExp): string[] {
	return readdirSync(root, { recursive: true })
		.map((name) => join(root, String(name)))
		.filter((path) => pattern.test(path) && statSync(path).isFile());
}

const damages: Record<string, (path: string) => void> = {
	truncated: (path) => truncateSync(path, Math.floor(statSync(path).size / 2)),
	empty: (path) => truncateSync(path, 0),
	"bit-flipped": (path) => {
		const bytes = readFileSync(path);
		const place = Math.floor(bytes.length * 0.6);
		bytes[place] = (bytes[place] as number) ^ 0x10;
		writeFileSync(path, bytes);
	},
	missing: (path) => unlinkSync(path),
};

for (const [kind, damage] of Object.entries(damages)) {
	for (const victim of [/\.usearch$/, /index\.manifest$/, /vectors\.f32$/]) {
		test(`a ${kind} ${victim.source} is noticed and made anew from what is stored`, async () => {
			folder = mkdtempSync(join(tmpdir(), "hive-vector-damage-"));
			const dataDir = join(folder, "data");
			let node = await startOn(dataDir);
			const key = await newTenant(node, "damage");
			await call(node, key, "POST", "/collections", { name: "things", dimension: DIMENSION, index: "hnsw" });
			expect(await fill(node, key, 0, COUNT)).toBe(200);
			await node.stop();
			const victims = filesNamed(join(dataDir, "tenants", "damage"), victim);
			expect(victims.length).toBeGreaterThan(0);
			for (const path of victims) damage(path);
			node = await startOn(dataDir);
			expect(await recall(node, key, COUNT)).toBeGreaterThanOrEqual(0.98);
			expect((await scrollAll(node, key, "things")).size).toBe(COUNT);
		});
	}
}

test("a flipped byte in LevelDB is an error that names no path, never another vector", async () => {
	folder = mkdtempSync(join(tmpdir(), "hive-vector-damage-"));
	const dataDir = join(folder, "data");
	let node = await startOn(dataDir);
	const key = await newTenant(node, "damage");
	await call(node, key, "POST", "/collections", { name: "things", dimension: DIMENSION });
	expect(await fill(node, key, 0, COUNT)).toBe(200);
	await node.stop();
	// Closing leaves the rows in the log or in a table, by size; flip one byte in the middle of each.
	for (const path of filesNamed(join(dataDir, "tenants", "damage"), /\.(ldb|log)$/)) {
		const bytes = readFileSync(path);
		if (bytes.length === 0) continue;
		const place = Math.floor(bytes.length / 2);
		bytes[place] = (bytes[place] as number) ^ 0xff;
		writeFileSync(path, bytes);
	}
	node = await startOn(dataDir);
	let refused = 0;
	for (let id = 0; id < COUNT; id += 7) {
		const answer = await call(node, key, "GET", `/collections/things/vectors/${id}?with_vector=true`);
		if (answer.status === 200) expect(answer.body.vector.map(Math.fround)).toEqual(vectorOf(id));
		else {
			expect(answer.status).toBe(500);
			expect(answer.body.code).toBe("INTERNAL");
			expect(JSON.stringify(answer.body)).not.toContain(folder);
			refused += 1;
		}
	}
	expect(refused).toBeGreaterThan(0);
	const listed = await call(node, key, "GET", "/collections");
	expect(listed.body.collections).toMatchObject([{ name: "things", index_state: "damaged", vectors: null }]);
	expect((await call(node, key, "DELETE", "/collections/things")).status).toBe(200);
	expect((await call(node, key, "GET", "/collections")).body.collections).toEqual([]);
});

test("a second process on the same data folder is refused, and the first goes on", async () => {
	folder = mkdtempSync(join(tmpdir(), "hive-vector-damage-"));
	const dataDir = join(folder, "data");
	const node = await startOn(dataDir);
	const second = Bun.spawn([BINARY, "serve", "--cluster", "--data-dir", dataDir, "--port", "0"], {
		stdout: "pipe",
		stderr: "pipe",
	});
	expect(await second.exited).toBe(1);
	const text = (await new Response(second.stderr).text()) + (await new Response(second.stdout).text());
	expect(text).toContain(String(node.process.pid));
	expect((await call(node, node.adminKey(), "GET", "/tenants")).status).toBe(200);
	await node.kill();
	const heir = await startOn(dataDir);
	expect((await call(heir, heir.adminKey(), "GET", "/tenants")).status).toBe(200);
});

/** Besides what is left when the disk is called full: enough for a shard to try again. */
const PROBED_BYTES = 80 * 1024;

const canMount = ((): boolean => {
	const probe = mkdtempSync(join(tmpdir(), "hive-vector-mount-"));
	const mounted =
		Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", probe], { stderr: "ignore" }).exitCode === 0;
	if (mounted) Bun.spawnSync(["umount", probe]);
	rmSync(probe, { recursive: true });
	return mounted;
})();

test.skipIf(!canMount)(
	"a full disk refuses writes, keeps what was acknowledged, and serves again when there is room",
	async () => {
		folder = mkdtempSync(join(tmpdir(), "hive-vector-damage-"));
		const small = join(folder, "small");
		mkdirSync(small);
		expect(Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", small]).exitCode).toBe(0);
		const dataDir = join(small, "data");
		let node = await startOn(dataDir);
		const key = await newTenant(node, "damage");
		await call(node, key, "POST", "/collections", { name: "things", dimension: DIMENSION });
		const ballast = join(small, "ballast");
		expect(await fill(node, key, 0, 100)).toBe(200);
		// Leaves some 2 MB.
		const free = Number(Bun.spawnSync(["df", "--output=avail", "-B1", small]).stdout.toString().split("\n")[1]);
		writeFileSync(ballast, new Uint8Array(free - 2_000_000));
		let acknowledged = 100;
		let refusal: { status: number; body: { code: string; error: string } } | undefined;
		for (let batch = 0; batch < 200 && refusal === undefined; batch++) {
			const vectors = Array.from({ length: 100 }, (_, offset) => ({
				id: acknowledged + offset,
				vector: vectorOf(acknowledged + offset),
				payload: { text: "x".repeat(200) },
			}));
			const answer = await call(node, key, "POST", "/collections/things/vectors", { vectors });
			if (answer.status === 200) acknowledged += 100;
			else refusal = answer;
		}
		expect(refusal?.status).toBeGreaterThanOrEqual(500);
		expect(refusal?.body.error).toContain("disk");
		expect(JSON.stringify(refusal?.body)).not.toContain(folder);
		expect(await recall(node, key, acknowledged)).toBeGreaterThanOrEqual(0.99);

		// Room enough to try, and too little for it: the database is closed, and can't be opened.
		truncateSync(ballast, statSync(ballast).size - PROBED_BYTES);
		expect(await fill(node, key, acknowledged, 1)).toBeGreaterThanOrEqual(500);
		unlinkSync(ballast);
		expect(await recall(node, key, acknowledged)).toBeGreaterThanOrEqual(0.99);
		let recovered = 0;
		for (let attempt = 0; attempt < 20 && recovered !== 200; attempt++)
			recovered = await fill(node, key, acknowledged, 100);
		expect(recovered).toBe(200);
		expect(await recall(node, key, acknowledged + 100)).toBeGreaterThanOrEqual(0.99);
		await node.kill();
		node = await startOn(dataDir);
		const found = await scrollAll(node, key, "things");
		expect(found.size).toBe(acknowledged + 100);
	},
);
