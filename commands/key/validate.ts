import { EXIT, usageFailure } from "../shared/failure.ts";
import { readTextFile } from "../shared/json-input.ts";
import { NodeClient } from "../shared/node-client.ts";
import { NodeCommand, parseUrl } from "../shared/node-command.ts";
import { askSecret } from "../shared/prompt.ts";

interface ValidAnswer {
	readonly valid: true;
	readonly tenant_id: string;
	readonly permissions: readonly string[];
	readonly expires_at: string | null;
}
type Answer = ValidAnswer | { readonly valid: false; readonly error: string };

/** The node answers with a code alone. */
const REASONS: Readonly<Record<string, string>> = {
	AUTH_INVALID_FORMAT: "this is no key: hh_live_ or hh_test_ and 32 letters or digits are expected",
	AUTH_INVALID: "no such key, or it was revoked",
	AUTH_KEY_EXPIRED: "the key has expired",
	TENANT_SUSPENDED: "the key's tenant is suspended",
};

export class KeyValidate extends NodeCommand {
	static override summary = "Ask a node whether a key is good, and for what.";
	static override description =
		"The key comes from --api-key @file, stdin or HIVE_VECTOR_API_KEY, or is asked for; never from the command line, where ps shows it. Exit code 0: the key works; 3: it does not.";
	static override examples = [
		"<%= config.bin %> key validate < key.txt",
		"<%= config.bin %> key validate --api-key @key.txt --url http://10.0.0.5:7801",
	];

	override async run(): Promise<Answer> {
		const { flags } = await this.parse(KeyValidate);
		const url = parseUrl(flags.url);
		const key = await this.readKey(flags["api-key"]);
		const node = new NodeClient({
			url,
			apiKey: undefined,
			tenant: undefined,
			timeoutMs: flags.timeout,
			userAgent: `${this.config.bin}/${this.config.version}`,
		});
		const answer = await node.call<Answer>("POST", "/cluster/keys/validate", { body: { api_key: key } });
		if (!answer.valid) {
			this.note(`${REASONS[answer.error] ?? "the key is refused"} (${answer.error})`);
			process.exitCode = EXIT.notAllowed;
			return answer;
		}
		this.printRecord([
			["valid", "yes"],
			["tenant", answer.tenant_id],
			["permissions", answer.permissions.join(", ")],
			["expires", answer.expires_at ?? "never"],
		]);
		return answer;
	}

	private async readKey(flag: string | undefined): Promise<string> {
		if (flag !== undefined && flag !== "-" && !flag.startsWith("@")) {
			throw usageFailure(
				"a key is not taken from the command line here",
				"give it on stdin, or in HIVE_VECTOR_API_KEY",
			);
		}
		const environment = process.env.HIVE_VECTOR_API_KEY ?? "";
		const key = flag?.startsWith("@")
			? await readTextFile("--api-key", flag.slice(1))
			: process.stdin.isTTY
				? environment || (await askSecret("API key: ", { input: process.stdin, output: process.stderr }))
				: (await Bun.stdin.text()).trim() || environment;
		if (key.trim() === "") throw usageFailure("no key was given", "give it on stdin, or in HIVE_VECTOR_API_KEY");
		return key.trim();
	}
}
