import { spawnSync } from "node:child_process";
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SQL } from "bun";
import { freePort } from "../../scripts/free-port.ts";
import { type AbsentService, absentService } from "./absent-service.ts";

/** A PostgreSQL server of the test's own, or why there is none. */
export type PostgresRig =
	| { readonly available: true; newDatabase(): Promise<string>; stop(): Promise<void> }
	| AbsentService;

/** Where Debian has PostgreSQL's programs, a folder a version, none of them in PATH. */
const DEBIAN_FOLDER = "/usr/lib/postgresql";

/**
 * Starts PostgreSQL in a temporary folder, on a socket of the loopback interface.
 *
 * @throws instead of being unavailable where HIVE_TEST_SERVICES=required
 */
export async function startPostgres(): Promise<PostgresRig> {
	const initdb = findProgram("initdb");
	const pgCtl = findProgram("pg_ctl");
	if (initdb === undefined || pgCtl === undefined) return absentService("PostgreSQL is not installed");
	const folder = mkdtempSync(join(tmpdir(), "hub-postgres-"));
	// PostgreSQL refuses to run as root.
	const asRoot = process.getuid?.() === 0;
	if (asRoot) {
		const nobody = Number(spawnSync("id", ["-u", "nobody"]).stdout.toString());
		chownSync(folder, nobody, nobody);
	}
	const run = (command: string): { ok: boolean; text: string } => {
		const [program, args] = asRoot
			? (["su", ["nobody", "-s", "/bin/sh", "-c", command]] as const)
			: (["sh", ["-c", command]] as const);
		const { status, stderr } = spawnSync(program, args, { cwd: folder, stdio: ["ignore", "ignore", "pipe"] });
		return { ok: status === 0, text: stderr.toString() };
	};
	const remove = (): void => rmSync(folder, { recursive: true, force: true });
	const port = freePort();
	const made = run(`${initdb} -D ${folder}/data -A trust -U hub -E UTF8 --no-sync >/dev/null`);
	if (!made.ok) {
		remove();
		return absentService(`initdb failed: ${made.text}`);
	}
	const options = `-c listen_addresses=127.0.0.1 -p ${port} -k ${folder} -c fsync=off`;
	const started = run(`${pgCtl} -D ${folder}/data -o '${options}' -l ${folder}/log -w start >/dev/null`);
	if (!started.ok) {
		remove();
		return absentService(`pg_ctl failed: ${started.text}`);
	}
	const url = (name: string): string => `postgres://hub@127.0.0.1:${port}/${name}`;
	const admin = new SQL(url("postgres"));
	let databaseCount = 0;
	return {
		available: true,
		async newDatabase() {
			const name = `hub_${databaseCount++}`;
			await admin.unsafe(`CREATE DATABASE ${name}`);
			return url(name);
		},
		async stop() {
			await admin.close();
			run(`${pgCtl} -D ${folder}/data -m immediate -w stop >/dev/null`);
			remove();
		},
	};
}

/** In PATH, or Debian's newest. */
function findProgram(name: string): string | undefined {
	const inPath = Bun.which(name);
	if (inPath !== null) return inPath;
	const versions = existsSync(DEBIAN_FOLDER) ? readdirSync(DEBIAN_FOLDER) : [];
	return versions
		.sort((one, other) => Number(other) - Number(one))
		.map((version) => join(DEBIAN_FOLDER, version, "bin", name))
		.find((path) => existsSync(path));
}
