import { splitLines } from "../src/api/rest/ndjson-lines.ts";
import { McpBridge } from "./shared/mcp-bridge.ts";
import { NodeCommand, parseUrl, tenantFlag } from "./shared/node-command.ts";
import { writeStdout } from "./shared/output.ts";

/** Longer than any message that a node takes. */
const LINE_BYTES_MAX = 64 * 1024 * 1024;

export class Mcp extends NodeCommand {
	static override summary = "Connect an MCP client that speaks stdio, such as a desktop client, to a node.";
	static override description =
		"Reads MCP messages from stdin, one a line, and writes the node's to stdout, where nothing else is written. Ends with stdin, or with the node.";
	static override examples = [
		"HIVE_VECTOR_API_KEY=… <%= config.bin %> <%= command.id %> --url https://vectors.example.com",
		"<%= config.bin %> <%= command.id %> --api-key @key.txt",
	];
	// stdout belongs to the protocol.
	static override enableJsonFlag = false;
	static override flags = { ...tenantFlag };

	override async run(): Promise<void> {
		const { flags } = await this.parse(Mcp);
		this.claimStdin("mcp");
		const url = parseUrl(flags.url);
		const node = {
			url,
			apiKey: await this.findKey(flags, url),
			tenant: flags.tenant,
			userAgent: `${this.config.bin}/${this.config.version}`,
			timeoutMs: flags.timeout,
		};
		const bridge = new McpBridge(node, writeStdout, (message) => this.note(message));
		await bridge.carry(splitLines(Bun.stdin.stream(), LINE_BYTES_MAX));
	}
}
