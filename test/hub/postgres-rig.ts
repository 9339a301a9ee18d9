import { spawnSync } from "node:child_process";
import { chownSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SQL } from "bun";

/** A PostgreSQL server of the test's own, or why there is none. */
export type PostgresRig =
	| { readonly available: true; newDatabase(): Promise<string>; stop(): Promise<void> }
	| { readonly available: false; readonly reason: string };

/** Starts PostgreSQL in a temporary folder, on a socket of the loopback interface. */
export async function startPostgres(): Promise<PostgresRig> {
	for (const program of ["initdb", "pg_ctl", "postgres"]) {
		if (Bun.which(program) === null) return { available: false, reason: `${program} is not installed` };
	}
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
	const made = run(`initdb -D ${folder}/data -A trust -U hub -E UTF8 --no-sync >/dev/null`);
	if (!made.ok) {
		remove();
		return { available: false, reason: `initdb failed: ${made.text}` };
	}
	const options = `-c listen_addresses=127.0.0.1 -p ${port} -k ${folder} -c fsync=off`;
	const started = run(`pg_ctl -D ${folder}/data -o '${options}' -l ${folder}/log -w start >/dev/null`);
	if (!started.ok) {
		remove();
		return { available: false, reason: `pg_ctl failed: ${started.text}` };
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
			run(`pg_ctl -D ${folder}/data -m immediate -w stop >/dev/null`);
			remove();
		},
	};
}

function freePort(): number {
	const server = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
	const { port } = server;
	server.stop(true);
	return port;
}
