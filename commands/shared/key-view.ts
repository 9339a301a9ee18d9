import type { KeyRecord } from "../../src/hub/models.ts";
import { renderRecord } from "./table.ts";
import type { Terminal } from "./terminal.ts";

/** A key as the API shows it. */
export type KeyAnswer = Omit<KeyRecord, "revision">;

/** The answer of creating and of rotating a key: its record, and the key itself for the only time. */
export type MintedKeyAnswer = KeyAnswer & { readonly api_key: string };

export function mintedKeyText(minted: MintedKeyAnswer, terminal: Terminal): string {
	const fields = renderRecord(
		[
			["key", minted.api_key],
			["id", minted.api_key_id],
			["tenant", minted.tenant_id],
			["permissions", minted.permissions.join(", ")],
			["expires", minted.expires_at ?? "never"],
		],
		terminal,
	);
	return `${fields}\nStore the key now: it is shown this once. To use it here: export HIVE_VECTOR_API_KEY=<the key>\n`;
}
