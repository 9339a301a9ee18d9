import { afterAll, beforeEach, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { HiveError } from "../../src/base/errors.ts";
import { systemRandom } from "../../src/base/ids.ts";
import { type DataFolder, openDataFolder } from "../../src/node/data-folder.ts";
import { openClusterSecret } from "../../src/node/folder-secrets.ts";
import { refusal, Workshop } from "./node-fixture.ts";

const workshop = new Workshop();
let folder: DataFolder;
let warnings: unknown[];
beforeEach(() => {
	folder = openDataFolder(workshop.newDataDir(), systemRandom);
	warnings = [];
});
afterAll(() => workshop.clear());

const open = (secretFile: string | undefined, joins = false): string =>
	openClusterSecret({
		folder,
		secretFile,
		joins,
		random: systemRandom,
		log: { warn: (...facts: unknown[]) => void warnings.push(facts) },
	});

function problem(run: () => unknown): string {
	try {
		run();
	} catch (error) {
		if (error instanceof HiveError) return `${error.code}: ${error.message}`;
		throw error;
	}
	return "none";
}

describe("the secret of a cluster", () => {
	test("is made by the first node, for its owner alone, and stays", () => {
		const secret = open(undefined);
		expect(secret).toMatch(/^[0-9a-f]{64}$/);
		const path = join(folder.path, "cluster.secret");
		expect(statSync(path).mode & 0o777).toBe(0o600);
		expect(readFileSync(path, "utf8").trim()).toBe(secret);
		expect(open(undefined)).toBe(secret);
		expect(open(undefined, true)).toBe(secret);
		expect(warnings).toEqual([]);
	});

	test("is never made up by a node that is to join: it is told where to get it", () => {
		expect(problem(() => open(undefined, true))).toMatch(
			/^VALIDATION_FAILED: .*copy cluster\.secret from the data folder of the first node to .*cluster\.secret \(mode 0600\)/,
		);
		expect(folder.readSecret("clusterSecret")).toBeUndefined();
	});

	test("is read from the file that is named, which must be there and long enough", () => {
		const file = join(workshop.root, "the.secret");
		expect(problem(() => open(file))).toContain("there is no such file");
		writeFileSync(file, "fifteen bytes!!\n", { mode: 0o600 });
		expect(problem(() => open(file))).toBe(
			`VALIDATION_FAILED: ${file} is too short for a secret: at least 16 bytes are needed`,
		);
		writeFileSync(file, "sixteen bytes!!!\n");
		expect(open(file, true)).toBe("sixteen bytes!!!");
		expect(folder.readSecret("clusterSecret")).toBeUndefined();
		mkdirSync(join(workshop.root, "a-folder"));
		expect(problem(() => open(join(workshop.root, "a-folder")))).toContain("cannot be read (EISDIR)");
	});

	test("is warned about when others may read it, without being shown", () => {
		const secret = open(undefined);
		chmodSync(join(folder.path, "cluster.secret"), 0o644);
		expect(open(undefined)).toBe(secret);
		expect(warnings).toHaveLength(1);
		expect(JSON.stringify(warnings)).not.toContain(secret);
	});

	test("keeps a node that shall join from starting while it is not there", async () => {
		const error = await refusal(
			workshop.node(workshop.newDataDir(), {
				HIVE_VECTOR_CLUSTER_ENABLED: "true",
				HIVE_VECTOR_CLUSTER_JOIN: "127.0.0.1:1",
			}),
		);
		expect(error.message).toContain("cluster.secret");
	});
});
