import { readFileSync } from "node:fs";
import type { EffectiveSettings } from "./settings.ts";

/** Certificate chain and private key as PEM text; undefined where the server speaks plain HTTP. */
export function readTlsFiles(tls: EffectiveSettings["server"]["tls"]): { cert: string; key: string } | undefined {
	if (tls.cert === undefined || tls.key === undefined) return undefined;
	return { cert: readFileSync(tls.cert, "utf8"), key: readFileSync(tls.key, "utf8") };
}
