import { resolve } from "node:path";
import { Flags } from "@oclif/core";
import { DEFAULT_URL } from "./shared/node-command.ts";
import { ServerCommand } from "./shared/server-command.ts";
import { serverFlags } from "./shared/settings-flags.ts";

export class Serve extends ServerCommand {
	static override summary = "Run a node.";
	static override description = [
		"Without --cluster it is single-tenant: on loopback it needs no key and works as tenant default. With --cluster it serves",
		"many tenants, each with keys of its own; the first start writes an operator's key to <data-dir>/admin.key, and the secret",
		"that lets other nodes in to <data-dir>/cluster.secret. With --join it becomes a member of a cluster that is there: it",
		"needs a copy of that secret, and makes no tenant or key. Settings come from the file, then HIVE_VECTOR_<SECTION>_<KEY>,",
		"then these flags; later wins. SIGTERM or Ctrl-C drains the node and closes it.",
	].join(" ");
	static override examples = [
		"<%= config.bin %> serve",
		"<%= config.bin %> serve --cluster --data-dir /var/lib/hive-vector",
		"<%= config.bin %> serve --cluster --host 0.0.0.0 --join 10.0.0.1:7802",
		"<%= config.bin %> serve --config /etc/hive-vector.yml --host 0.0.0.0 --cluster",
	];
	static override flags = {
		...serverFlags,
		cluster: Flags.boolean({ description: "serve many tenants, with keys" }),
		join: Flags.string({
			description: "address of a node to join, or dns:<name> of several; again for more",
			multiple: true,
			helpValue: "<address>",
		}),
		listen: Flags.string({
			description: "where to listen for other nodes [default: /ip4/0.0.0.0/tcp/7802]",
			helpValue: "<multiaddress>",
		}),
		"insecure-open": Flags.boolean({ description: "listen beyond loopback without asking for keys" }),
	};

	override async run(): Promise<void> {
		const { "insecure-open": insecureOpen, ...flags } = (await this.parse(Serve)).flags;
		const { settings, parts } = await this.prepare(flags, { purpose: "node", insecureOpen });
		const { startNode } = await import("../src/node/node.ts");
		await this.runUntilSignal(
			() => startNode(settings, parts),
			parts,
			(node) => this.greet(node, settings.values),
		);
	}

	/** What a person does next. The log line of the start already says it to machines. */
	private greet(
		node: { readonly url: string; readonly adminKeyPath?: string },
		settings: { readonly data_dir: string; readonly cluster: { readonly enabled: boolean } },
	): void {
		if (!this.terminal.isTty) {
			if (node.adminKeyPath !== undefined) this.print(`operator's key: ${node.adminKeyPath}\n`);
			return;
		}
		const { enabled } = settings.cluster;
		this.print(`\nhive-vector ${this.config.version}\n\n`);
		this.printRecord([
			["mode", enabled ? "many tenants, with keys" : "single-tenant"],
			["url", node.url],
			["docs", `${node.url}/docs`],
			["data", settings.data_dir],
			...(node.adminKeyPath === undefined ? [] : [["operator's key", node.adminKeyPath] as const]),
		]);
		// The other commands look at the default address, and for the key in ./data, unless told otherwise.
		const elsewhere = [
			...(node.url === DEFAULT_URL ? [] : [`HIVE_VECTOR_URL=${node.url}`]),
			...(enabled && settings.data_dir !== resolve("data") ? [`HIVE_VECTOR_DATA_DIR=${settings.data_dir}`] : []),
		];
		const commands = enabled
			? ['hive-vector tenant create acme --name "Acme"', "hive-vector key create acme --permission READ_WRITE"]
			: ["hive-vector collection create docs --dimension 384", "hive-vector import docs vectors.ndjson"];
		const next = elsewhere.length === 0 ? commands : [`export ${elsewhere.join(" ")}`, ...commands];
		this.print(`\nnext\n${next.map((line) => `  ${line}\n`).join("")}\n`);
	}
}
