import { Args, Flags } from "@oclif/core";
import { usageFailure } from "../shared/failure.ts";
import { readTextFile } from "../shared/json-input.ts";
import { type MintedKeyAnswer, mintedKeyText } from "../shared/key-view.ts";
import { apiPath } from "../shared/node-client.ts";
import { NodeCommand } from "../shared/node-command.ts";
import { parseDurationMs } from "../shared/units.ts";

export class KeyCreate extends NodeCommand {
	static override summary = "Make an API key for a tenant and show it, this once.";
	static override description = [
		"The node keeps only the key's SHA-256: nobody can show it again. READ_ONLY searches and reads, READ_WRITE also inserts,",
		"deletes and manages collections, MCP is for AI agents over MCP, ADMIN is for operators and held by keys of tenant system",
		"alone.",
	].join(" ");
	static override examples = [
		"<%= config.bin %> key create acme --permission READ_WRITE --expires 90d",
		"<%= config.bin %> key create acme --permission READ_ONLY --permission MCP --name agent",
		"<%= config.bin %> key create acme --json | jq -r .api_key",
		"<%= config.bin %> key create acme --allow-ip 203.0.113.0/24 --allow-ip 2001:db8::/32",
		"<%= config.bin %> key create acme --signing-public-key-file client.pub.pem",
	];
	static override args = { tenant: Args.string({ required: true, description: "id of the tenant" }) };
	static override flags = {
		permission: Flags.string({
			char: "p",
			multiple: true,
			multipleNonGreedy: true,
			options: ["READ_WRITE", "READ_ONLY", "MCP", "ADMIN"],
			default: ["READ_WRITE"],
			description: "what the key may do; repeat for several",
		}),
		name: Flags.string({ description: "what the key is for", helpValue: "<name>" }),
		expires: Flags.string({
			description: "when it stops working: 90d from now, or a time such as 2030-01-31T00:00:00Z; never if not given",
			helpValue: "<duration>|<time>",
		}),
		"allow-ip": Flags.string({
			multiple: true,
			multipleNonGreedy: true,
			description: "an address or a network the key may be used from; repeat for several; any if not given",
			helpValue: "<cidr>",
		}),
		sign: Flags.boolean({
			description:
				"every request must be signed (RFC 9421): with HMAC over the key, or as --signing-public-key-file says",
		}),
		"signing-public-key-file": Flags.string({
			description: "every request must be signed with this Ed25519 key: PEM, or base64 of its 32 bytes",
			helpValue: "<file>",
		}),
		test: Flags.boolean({ description: "a test key: hh_test_… instead of hh_live_…" }),
	};

	override async run(): Promise<MintedKeyAnswer> {
		const { args, flags } = await this.parse(KeyCreate);
		const publicKeyFile = flags["signing-public-key-file"];
		const publicKey =
			publicKeyFile === undefined ? undefined : (await readTextFile("--signing-public-key-file", publicKeyFile)).trim();
		const body = {
			permissions: [...new Set(flags.permission)],
			...(flags.name === undefined ? {} : { name: flags.name }),
			...(flags.expires === undefined ? {} : { expires_at: parseExpiry(flags.expires, Date.now()) }),
			...(flags["allow-ip"] === undefined ? {} : { allowed_ips: [...new Set(flags["allow-ip"])] }),
			...(flags.sign || publicKey !== undefined ? { signing_required: true } : {}),
			...(publicKey === undefined ? {} : { signing_public_key: publicKey }),
			...(flags.test ? { environment: "test" } : {}),
		};
		const path = apiPath`/tenants/${args.tenant}/keys`;
		const node = await this.connect(flags);
		const minted = await node.call<MintedKeyAnswer>("POST", path, { body });
		this.print(mintedKeyText(minted, this.terminal));
		return minted;
	}
}

/** A duration from `nowMs` on, or a time. @returns ISO 8601, UTC */
function parseExpiry(text: string, nowMs: number): string {
	if (/^\d+(\.\d+)?[a-z]+$/.test(text)) return new Date(nowMs + parseDurationMs(text)).toISOString();
	// `Date.parse` takes "90" for the year 1990.
	const timeMs = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
	if (Number.isNaN(timeMs))
		throw usageFailure(`--expires: "${text}" is neither a duration (90d) nor a time (2030-01-31T00:00:00Z)`);
	if (timeMs <= nowMs) throw usageFailure(`--expires: ${text} has passed`);
	return new Date(timeMs).toISOString();
}
