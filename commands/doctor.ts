import { constants } from "node:fs";
import { access, stat, statfs } from "node:fs/promises";
import { dirname, join, resolve } from "node:path";
import { HiveError } from "../src/base/errors.ts";
import type { HealthAnswer } from "./shared/cluster-view.ts";
import type { CollectionInfo } from "./shared/collection-view.ts";
import { CommandFailure, EXIT, toFailure } from "./shared/failure.ts";
import {
	type Finding,
	judgeClock,
	judgeCluster,
	judgeCollections,
	judgeDisk,
	judgeOpenFiles,
	judgeSecretMode,
} from "./shared/health-check.ts";
import type { NodeClient } from "./shared/node-client.ts";
import { type ConnectionFlags, NodeCommand } from "./shared/node-command.ts";
import { configFlag } from "./shared/settings-flags.ts";
import { listTenants } from "./shared/tenant-pages.ts";
import { formatBytes } from "./shared/units.ts";

/** Each costs a request; an installation with more has its metrics to watch. */
const TENANTS_MAX = 1_000;

const MARKS = { ok: ["ok", 32], warn: ["warn", 33], fail: ["fail", 31] } as const;

export class Doctor extends NodeCommand {
	static override summary =
		"Look for what may go wrong: settings, disk, limits, the node, hub, key, clock, cluster, collections.";
	static override description = "Exit code 1 when something fails; a warning alone is 0. Nothing is changed.";
	static override examples = [
		"<%= config.bin %> doctor",
		"<%= config.bin %> doctor --url http://10.0.0.5:7801 --api-key @key.txt",
	];
	static override flags = { ...configFlag };

	override async run(): Promise<{ healthy: boolean; findings: readonly Finding[] }> {
		const { flags } = await this.parse(Doctor);
		const settings = await this.checkSettings(flags.config);
		const dataDir = flags["data-dir"] ?? settings.dataDir;
		const findings: Finding[] = [
			{
				check: "binary",
				state: "ok",
				detail: `hive-vector ${this.config.version}, ${process.platform}-${process.arch}, bun ${Bun.version}`,
			},
			settings.finding,
			...(await checkFolder(resolve(dataDir), settings.secretFile)),
			...(await checkOpenFiles()),
			...(await this.checkNode(flags)),
		];
		for (const finding of findings) this.print(this.render(finding));
		const healthy = findings.every((finding) => finding.state !== "fail");
		if (!healthy) process.exitCode = EXIT.failed;
		return { healthy, findings };
	}

	private render({ check, state, detail, advice }: Finding): string {
		const [mark, color] = MARKS[state];
		const shown = this.terminal.color ? `\u001b[${color}m${mark.padEnd(4)}\u001b[39m` : mark.padEnd(4);
		return `${shown}  ${check.padEnd(15)} ${detail}\n${advice === undefined ? "" : `      ${"".padEnd(15)} ${advice}\n`}`;
	}

	private async checkSettings(
		path: string | undefined,
	): Promise<{ finding: Finding; dataDir: string; secretFile?: string | undefined }> {
		const { loadSettings } = await import("../src/node/settings.ts");
		try {
			const settings = loadSettings({ folder: process.cwd(), configPath: path, env: process.env });
			const set = settings.listOrigins().filter(({ origin }) => origin !== "default").length;
			return {
				finding: { check: "settings", state: "ok", detail: `${set} set, the rest at their defaults` },
				dataDir: settings.values.data_dir,
				secretFile: settings.values.cluster.secret_file,
			};
		} catch (error) {
			if (!(error instanceof HiveError)) throw error;
			const advice = "`hive-vector config check` says the same";
			return { finding: { check: "settings", state: "fail", detail: error.message, advice }, dataDir: "data" };
		}
	}

	/** What the key sees: that it works, and whether every collection can be used. An operator's key sees all tenants. */
	private async checkData(node: NodeClient, flags: ConnectionFlags): Promise<readonly Finding[]> {
		let tenantId: string;
		try {
			tenantId = (await node.call<{ tenant_id: string }>("GET", "/usage")).tenant_id;
		} catch (error) {
			return [failed("key", error, "make one: hive-vector key create")];
		}
		const key: Finding = { check: "key", state: "ok", detail: `lets you in as tenant ${tenantId}` };
		const isOperator = tenantId === "system";
		// Told first: what is wrong there may be why nothing else can be found out.
		const cluster = isOperator ? [await checkCluster(node)] : [];
		try {
			const tenants = isOperator ? (await listTenants(node)).filter(({ active }) => active) : [{ id: tenantId }];
			const collections: CollectionInfo[] = [];
			for (const { id } of tenants.slice(0, TENANTS_MAX)) {
				const asTenant = isOperator ? await this.connect({ ...flags, tenant: id }) : node;
				const answer = await asTenant.call<{ collections: readonly CollectionInfo[] }>("GET", "/collections");
				collections.push(...answer.collections);
			}
			return [key, ...cluster, judgeCollections(collections, tenants.length - TENANTS_MAX)];
		} catch (error) {
			return [key, ...cluster, failed("collections", error)];
		}
	}

	private async checkNode(flags: ConnectionFlags): Promise<readonly Finding[]> {
		let node: NodeClient;
		try {
			node = await this.connect(flags);
		} catch (error) {
			const failure = toFailure(error);
			return [
				{
					check: "key",
					state: "fail",
					detail: failure.message,
					...(failure.more.advice ? { advice: failure.more.advice } : {}),
				},
			];
		}
		const startMs = Date.now();
		try {
			const health = await node.probe("/health");
			const endMs = Date.now();
			const dateMs = Date.parse(health.date ?? "");
			return [
				health.status === 200
					? { check: "node", state: "ok", detail: `${flags.url} answers in ${endMs - startMs} ms` }
					: {
							check: "node",
							state: "fail",
							detail: `${flags.url} answers with status ${health.status}`,
							advice: "see the node's log",
						},
				...(Number.isNaN(dateMs) ? [] : [judgeClock(dateMs, (startMs + endMs) / 2, endMs - startMs)]),
				...readinessFindings(await node.probe("/ready")),
				...versionFindings(health.body, this.config.version),
				...(await this.checkData(node, flags)),
			];
		} catch (error) {
			if (!(error instanceof CommandFailure)) throw error;
			return [
				{
					check: "node",
					state: "fail",
					detail: error.message,
					advice: "start one: hive-vector serve; or name another with --url",
				},
			];
		}
	}
}

/** Only an operator's key is told. */
async function checkCluster(node: NodeClient): Promise<Finding> {
	try {
		const { problems, nodes } = await node.call<HealthAnswer>("GET", "/cluster/health");
		return judgeCluster(
			problems,
			nodes.flatMap(({ version }) => version ?? []),
		);
	} catch (error) {
		return failed("cluster", error);
	}
}

/** @param advice where the failure brings none */
function failed(check: string, error: unknown, advice = "see the node's log"): Finding {
	const { message, more } = toFailure(error);
	return { check, state: "fail", detail: message, advice: more.advice ?? advice };
}

function versionFindings(body: unknown, ownVersion: string): readonly Finding[] {
	const version = typeof body === "object" && body !== null && "version" in body ? body.version : undefined;
	if (typeof version !== "string" || version === ownVersion) return [];
	const detail = `the node is ${version}, this command ${ownVersion}`;
	return [{ check: "versions", state: "warn", detail, advice: "use the same version of both" }];
}

/** @param secretFile of the cluster, where it is not in the folder */
async function checkFolder(folder: string, secretFile: string | undefined): Promise<readonly Finding[]> {
	const exists = await stat(folder).then(
		(stats) => stats.isDirectory(),
		() => false,
	);
	// A folder that is yet to be made will stand in the nearest one that is there.
	let place = folder;
	while (!exists && place !== dirname(place) && !(await stat(place).catch(() => undefined))) place = dirname(place);
	const usable = await access(place, constants.R_OK | constants.W_OK | constants.X_OK).then(
		() => true,
		() => false,
	);
	const findings: Finding[] = [];
	if (!usable) {
		const advice = "give it to the user who runs the node: chown, or another --data-dir";
		findings.push({ check: "data folder", state: "fail", detail: `${place} can't be written`, advice });
	} else {
		findings.push({
			check: "data folder",
			state: "ok",
			detail: exists ? folder : `${folder}, made on the first start`,
		});
	}
	const disk = await statfs(place);
	findings.push(judgeDisk(disk.bavail * disk.bsize, disk.blocks * disk.bsize, formatBytes));
	for (const [check, path] of [
		["admin key file", join(folder, "admin.key")],
		["cluster secret", secretFile ?? join(folder, "cluster.secret")],
		["node key file", join(folder, "node.key")],
	] as const) {
		const file = await stat(path).catch(() => undefined);
		if (file !== undefined) findings.push(judgeSecretMode(check, path, file.mode));
	}
	return findings;
}

async function checkOpenFiles(): Promise<readonly Finding[]> {
	// The runtime has no call for it, and a shell's children have our limits.
	const shell = Bun.spawn(["/bin/sh", "-c", "ulimit -n"], { stdout: "pipe", stderr: "ignore" });
	const text = (await new Response(shell.stdout).text()).trim();
	if (text === "unlimited") return [judgeOpenFiles(Number.POSITIVE_INFINITY)];
	return /^\d+$/.test(text) ? [judgeOpenFiles(Number(text))] : [];
}

function readinessFindings({ status, body }: { status: number; body: unknown }): readonly Finding[] {
	const fields: Record<string, unknown> = typeof body === "object" && body !== null ? { ...body } : {};
	// A node that is not ready answers with the error body, the facts among its details.
	const details: Record<string, unknown> =
		typeof fields.details === "object" && fields.details !== null ? { ...fields.details } : fields;
	const checks: Record<string, unknown> =
		typeof details.checks === "object" && details.checks !== null ? { ...details.checks } : {};
	const { hub, ...others } = checks;
	const facts = Object.entries(others).map(([name, value]) => `${name}: ${String(value)}`);
	const detail = facts.length === 0 ? `status ${status}` : facts.join(", ");
	const findings: Finding[] = [
		status === 200
			? { check: "ready", state: "ok", detail }
			: { check: "ready", state: "fail", detail, advice: "the node is starting or stopping; wait, or see its log" },
	];
	if (typeof hub === "string") {
		findings.push(
			hub === "connected"
				? { check: "hub", state: "ok", detail: "connected" }
				: {
						check: "hub",
						state: "warn",
						detail: hub,
						advice: "known keys go on working; see hub.api_url and the hub's log",
					},
		);
	}
	return findings;
}
