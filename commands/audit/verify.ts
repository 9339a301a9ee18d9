import { existsSync } from "node:fs";
import { Flags } from "@oclif/core";
import { type AuditVerificationAnswer, problemLines } from "../shared/audit-view.ts";
import { CommandFailure, EXIT } from "../shared/failure.ts";
import { NodeCommand } from "../shared/node-command.ts";
import { formatCount } from "../shared/units.ts";

export class AuditVerify extends NodeCommand {
	static override summary = "Check that no line of the audit log was changed, removed or swapped.";
	static override description =
		"Asks a node, or reads the files themselves with --data-dir. Exit code 1 when something is wrong. Nothing is changed.";
	static override examples = [
		"<%= config.bin %> audit verify",
		"<%= config.bin %> audit verify --data-dir /var/lib/hive-vector",
	];
	static override flags = {
		// Without the environment variable: it says where a node's admin.key is, and is no wish to read files.
		"data-dir": Flags.string({
			description: "read the files of this data folder instead of asking a node; the node may be running or stopped",
			helpValue: "<folder>",
		}),
	};

	override async run(): Promise<AuditVerificationAnswer> {
		const { flags } = await this.parse(AuditVerify);
		const dataDir = flags["data-dir"];
		const found = dataDir === undefined ? await this.askNode(flags) : await verifyFiles(dataDir);
		const range = found.first_seq === null ? "" : `, ${found.first_seq} to ${found.last_seq}`;
		this.printRecord([
			["intact", found.intact ? "yes" : "no"],
			["entries", `${formatCount(found.entries)}${range}`],
			["files", formatCount(found.files)],
		]);
		this.print(problemLines(found.problems));
		if (!found.intact) process.exitCode = EXIT.failed;
		return found;
	}

	private async askNode(flags: Parameters<NodeCommand["connect"]>[0]): Promise<AuditVerificationAnswer> {
		const node = await this.connect({ ...flags, "data-dir": process.env.HIVE_VECTOR_DATA_DIR });
		return await node.call<AuditVerificationAnswer>("GET", "/audit/verification");
	}
}

async function verifyFiles(dataDir: string): Promise<AuditVerificationAnswer> {
	const [{ auditFolder }, { verifyAuditFolder }] = await Promise.all([
		import("../../src/access/audit/audit-folder.ts"),
		import("../../src/access/audit/audit-verifier.ts"),
	]);
	const folder = auditFolder(dataDir);
	if (!existsSync(folder)) {
		const advice = "name the node's data_dir, in which `audit` is a folder";
		throw new CommandFailure("NOT_FOUND", EXIT.notFound, `there is no audit log in ${dataDir}`, { advice });
	}
	return await verifyAuditFolder(folder);
}
