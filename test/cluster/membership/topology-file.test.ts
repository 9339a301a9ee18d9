import { afterEach, beforeEach, expect, test } from "bun:test";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TopologyFile } from "../../../src/cluster/membership/topology-file.ts";
import { writeSealedLine } from "../../../src/storage/durable-file.ts";
import { temporaryFolder } from "../../hub/hub-rig.ts";
import { topology } from "./topology-fixture.ts";

let folder: ReturnType<typeof temporaryFolder>;
let path: string;
let damages: string[];
let file: TopologyFile;

beforeEach(() => {
	folder = temporaryFolder();
	path = join(folder.path, "cluster.state");
	damages = [];
	file = new TopologyFile(path, (why) => damages.push(why));
});

afterEach(() => folder.remove());

test("what was saved is loaded again, by nobody but its owner", () => {
	expect(file.load()).toBeUndefined();
	const saved = { ...topology("a b:j c:d e:x"), retired: [{ node_id: "n", peer_id: "p" }] };
	file.save(topology("a"));
	file.save(saved);
	expect(file.load()).toEqual(saved);
	expect(statSync(path).mode & 0o777).toBe(0o600);
	expect(damages).toEqual([]);
});

test("a damaged file is told of and not believed", () => {
	file.save(topology("a b"));
	const text = readFileSync(path, "utf8");
	writeFileSync(path, text.replace("peer-b", "peer-c"));
	expect(file.load()).toBeUndefined();
	writeFileSync(path, text.slice(0, 20));
	expect(file.load()).toBeUndefined();
	writeSealedLine(path, "{}");
	expect(file.load()).toBeUndefined();
	expect(damages).toHaveLength(3);
	const noFile = new TopologyFile(folder.path, (why) => damages.push(why));
	expect(noFile.load()).toBeUndefined();
	expect(damages).toHaveLength(4);
});
