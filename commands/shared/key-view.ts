import type { KeyRecord } from "../../src/hub/models.ts";
import { renderRecord } from "./table.ts";
import type { Terminal } from "./terminal.ts";

/** A key as the API shows it. */
export type KeyAnswer = Omit<KeyRecord, "revision">;

/** The answer of creating and of rotating a key: its record, and the key itself for the only time. */
export type MintedKeyAnswer = KeyAnswer & { readonly api_key: string };

/** What a request must meet besides holding the key; empty: nothing. */
export function demandsOf(key: KeyAnswer): string {
	const demands: string[] = [];
	if (key.allowed_ips !== null) demands.push(`address in ${key.allowed_ips.join(", ")}`);
	if (key.signing_required) {
		demands.push(key.signing_public_key === null ? "hmac-sha256 signature" : "ed25519 signature");
	}
	return demands.join("; ");
}

export function mintedKeyText(minted: MintedKeyAnswer, terminal: Terminal): string {
	const demands = demandsOf(minted);
	const fields = renderRecord(
		[
			["key", minted.api_key],
			["id", minted.api_key_id],
			["tenant", minted.tenant_id],
			["permissions", minted.permissions.join(", ")],
			["expires", minted.expires_at ?? "never"],
			...(demands === "" ? [] : [["demands", demands] as const]),
		],
		terminal,
	);
	return `${fields}\nStore the key now: it is shown this once. To use it here: export HIVE_VECTOR_API_KEY=<the key>\n`;
}
