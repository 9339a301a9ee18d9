import { afterAll, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HiveError } from "../../src/base/errors.ts";
import { systemRandom } from "../../src/base/ids.ts";
import { adminKeyPath, openDataFolder } from "../../src/node/data-folder.ts";

const root = mkdtempSync(join(tmpdir(), "hive-data-"));
let folderCount = 0;
let path = "";

beforeEach(() => {
	path = join(root, String(folderCount++), "data");
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

const modeOf = (file: string) => (statSync(file).mode & 0o777).toString(8);

function refusal(run: () => unknown): HiveError {
	try {
		run();
	} catch (error) {
		if (error instanceof HiveError) return error;
		throw error;
	}
	throw new Error("it was not refused");
}

async function holdElsewhere() {
	const child = Bun.spawn([process.execPath, Bun.fileURLToPath(import.meta.resolve("./hold-data-folder.ts")), path], {
		stdin: "pipe",
		stdout: "pipe",
	});
	const reader = child.stdout.getReader();
	const { value } = await reader.read();
	return { child, said: new TextDecoder().decode(value).trim() };
}

test("the folder and what is in it belong to the owner alone", () => {
	const folder = openDataFolder(path, systemRandom);
	folder.writeSecret("adminKey", "hh_live_x");
	expect(modeOf(path)).toBe("700");
	for (const name of readdirSync(path)) expect([name, modeOf(join(path, name))]).toEqual([name, "600"]);
	expect(folder.secretPath("adminKey")).toBe(adminKeyPath(path));
	folder.release();
});

test("a node keeps its id, and two folders have two", () => {
	const ids = [path, path, `${path}2`].map((where) => {
		const folder = openDataFolder(where, systemRandom);
		folder.release();
		return folder.nodeId;
	});
	expect(ids[0]).toMatch(/^node_[a-z0-9]{16}$/);
	expect(ids[1]).toBe(ids[0]!);
	expect(ids[2]).not.toBe(ids[0]!);
});

test("a second hold in the same process is refused until the first is released", () => {
	const folder = openDataFolder(path, systemRandom);
	const error = refusal(() => openDataFolder(path, systemRandom));
	expect(error.code).toBe("CONFLICT");
	expect(error.message).toBe(
		`the data folder ${path} is in use by process ${process.pid}; stop that one, or start this one with another --data-dir`,
	);
	folder.release();
	folder.release();
	openDataFolder(path, systemRandom).release();
});

test("a second process is refused with the first one's pid, and kill -9 of the first frees the folder", async () => {
	const first = await holdElsewhere();
	expect(first.said).toBe("held");
	const second = await holdElsewhere();
	expect(second.said).toContain(`is in use by process ${first.child.pid};`);
	expect(await second.child.exited).toBe(1);
	const error = refusal(() => openDataFolder(path, systemRandom));
	expect(error.message).toContain(`process ${first.child.pid}`);

	first.child.kill("SIGKILL");
	await first.child.exited;
	const third = await holdElsewhere();
	expect(third.said).toBe("held");
	await third.child.stdin.end();
	expect(await third.child.exited).toBe(0);
});

test("an owner that isn't known is another process", () => {
	const folder = openDataFolder(path, systemRandom);
	rmSync(join(path, "lock.pid"));
	expect(refusal(() => openDataFolder(path, systemRandom)).message).toContain("in use by another process;");
	folder.release();
});

test("a folder that can't be used says which and why", () => {
	mkdirSync(join(path, ".."), { recursive: true });
	writeFileSync(path, "a file");
	const error = refusal(() => openDataFolder(path, systemRandom));
	expect(error.code).toBe("VALIDATION_FAILED");
	expect(error.details).toEqual({ field: "data_dir" });
	expect(error.message).toStartWith(`the data folder ${path} cannot be used: `);
});

test("a folder whose id or owner can't be written is left unlocked", () => {
	for (const name of ["node.id", "lock.pid.new"]) {
		const where = `${path}-${name}`;
		mkdirSync(join(where, name), { recursive: true });
		for (let attempt = 0; attempt < 2; attempt++) {
			expect(refusal(() => openDataFolder(where, systemRandom)).message).toContain("cannot be used: EISDIR");
		}
	}
});

test("counters come back after a restart, and one that was damaged counts as never written", () => {
	let folder = openDataFolder(path, systemRandom);
	expect(folder.readCounter("cursor")).toBeUndefined();
	folder.writeCounter("cursor", 41);
	folder.writeCounter("cursor", 42);
	folder.release();
	folder = openDataFolder(path, systemRandom);
	expect(folder.readCounter("cursor")).toBe(42);
	for (const damage of ["", "4", "-1\n", "99999999999999999\n", "9999999999999999\n", "x\n"]) {
		writeFileSync(join(path, "hub.cursor"), damage);
		expect(folder.readCounter("cursor")).toBeUndefined();
	}
	folder.release();
});

test("each thing has a place of its own in the folder", () => {
	const folder = openDataFolder(path, systemRandom);
	const places = [
		folder.hubDatabasePath,
		folder.storedUsagePath,
		folder.usageCountersPath,
		folder.usageOutboxPath,
		folder.noncesPath,
		folder.nativePath,
		folder.secretPath("adminKey"),
	];
	expect(new Set(places).size).toBe(places.length);
	for (const place of places) expect(place).toStartWith(`${path}/`);
	folder.release();
});

test("secrets are read back, and absent ones are undefined", () => {
	const folder = openDataFolder(path, systemRandom);
	expect(folder.readSecret("clusterSecret")).toBeUndefined();
	folder.writeSecret("clusterSecret", "00ff");
	expect(folder.readSecret("clusterSecret")).toBe("00ff");
	expect(readFileSync(folder.secretPath("clusterSecret"), "utf8")).toBe("00ff\n");
	folder.release();
});

test("what a node of a cluster keeps lies in the folder, and whether it has run there shows", () => {
	const folder = openDataFolder(path, systemRandom);
	expect([folder.nodeKeyPath, folder.clusterStatePath, folder.hintsPath]).toEqual(
		["node.key", "cluster.state", "hints"].map((name) => join(path, name)),
	);
	expect([folder.hasHubDatabase, folder.hasClusterState]).toEqual([false, false]);
	writeFileSync(folder.hubDatabasePath, "");
	writeFileSync(folder.clusterStatePath, "");
	expect([folder.hasHubDatabase, folder.hasClusterState]).toEqual([true, true]);
	folder.release();
});
