import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { HiveError } from "../../src/base/errors.ts";
import { systemRandom } from "../../src/base/ids.ts";
import { type RunningHub, startHub } from "../../src/node/hub-process.ts";
import { type RunningNode, startNode } from "../../src/node/node.ts";
import type { ProcessParts } from "../../src/node/process-parts.ts";
import { loadSettings, type Settings } from "../../src/node/settings.ts";
import { createLog } from "../../src/observe/log.ts";

/** A folder and everything that runs in it; all of it goes when the tests of a file are through. */
export class Workshop {
	readonly root = mkdtempSync(join(tmpdir(), "hive-node-"));
	readonly logLines: string[] = [];
	private readonly running = new Set<RunningNode | RunningHub>();
	private folderCount = 0;

	newDataDir(): string {
		return join(this.root, `data-${this.folderCount++}`);
	}

	async parts(): Promise<ProcessParts> {
		const write = (line: string) => void this.logLines.push(line);
		return {
			clock: systemClock,
			random: systemRandom,
			version: "1.2.3",
			log: await createLog({ level: "debug", format: "json", colors: false, write }),
		};
	}

	/** Settings as `serve` would read them, on a free port. */
	settings(dataDir: string, env: Record<string, string> = {}, purpose: "node" | "hub" = "node"): Settings {
		const port = env.HIVE_VECTOR_SERVER_PORT ?? 0;
		// Many of them may run on one machine.
		const given = { HIVE_VECTOR_CLUSTER_LISTEN: "/ip4/127.0.0.1/tcp/0", ...env };
		return loadSettings({ folder: this.root, env: given, flags: { port, "data-dir": dataDir }, purpose });
	}

	async node(dataDir: string, env: Record<string, string> = {}): Promise<RunningNode> {
		const node = await startNode(this.settings(dataDir, env), await this.parts());
		this.running.add(node);
		return node;
	}

	async hub(dataDir: string, env: Record<string, string> = {}): Promise<RunningHub> {
		const hub = await startHub(this.settings(dataDir, env, "hub"), await this.parts());
		this.running.add(hub);
		return hub;
	}

	async clear(): Promise<void> {
		await Promise.all([...this.running].map((one) => one.stop()));
		rmSync(this.root, { recursive: true, force: true });
	}
}

export interface Answer {
	readonly status: number;
	readonly headers: Headers;
	// biome-ignore lint/suspicious/noExplicitAny: whatever the server says; each test looks at what it needs.
	readonly body: any;
}

/** A client of one server with one key. Bodies are JSON, answers too unless they aren't. */
export function clientOf(url: string, key?: string, headers: Record<string, string> = {}) {
	return async (method: string, path: string, body?: unknown): Promise<Answer> => {
		const response = await fetch(`${url}${path}`, {
			method,
			headers: {
				...(key !== undefined && { authorization: `Bearer ${key}` }),
				...(body !== undefined && { "content-type": "application/json" }),
				...headers,
			},
			...(body !== undefined && { body: JSON.stringify(body) }),
		});
		const text = await response.text();
		const isJson = response.headers.get("content-type")?.startsWith("application/json") === true;
		return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
	};
}

/** Asks again until it is so. The test's own time limit ends it. */
export async function until(isSo: () => Promise<boolean> | boolean): Promise<void> {
	while (!(await isSo())) await Bun.sleep(10);
}

/** The error that a start was refused with. */
export async function refusal(start: Promise<unknown>): Promise<HiveError> {
	try {
		await start;
	} catch (error) {
		if (error instanceof HiveError) return error;
		throw error;
	}
	throw new Error("it was not refused");
}
