import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import type { TlsPem } from "../api/rest/renewable-listener.ts";
import type { EffectiveSettings } from "./settings.ts";

/** Where certificate chain and private key lie. */
export interface TlsPaths {
	readonly cert: string;
	readonly key: string;
}

/** Undefined where the server speaks plain HTTP. */
export function tlsPaths({ cert, key }: EffectiveSettings["server"]["tls"]): TlsPaths | undefined {
	return cert === undefined || key === undefined ? undefined : { cert, key };
}

/** Certificate chain and private key as PEM text; undefined where the server speaks plain HTTP. */
export function readTlsFiles(tls: EffectiveSettings["server"]["tls"]): TlsPem | undefined {
	const paths = tlsPaths(tls);
	return paths && { cert: readFileSync(paths.cert, "utf8"), key: readFileSync(paths.key, "utf8") };
}

/**
 * The pair as it lies on disk now. A renewal writes two files, so what is read may be half of each.
 *
 * @returns the pair, and when its certificate ends, as OpenSSL writes it
 * @throws an Error when a file can't be read, is no PEM, or the two do not belong together
 */
export async function readTlsPair(paths: TlsPaths): Promise<{ readonly pem: TlsPem; readonly validTo: string }> {
	const [cert, key] = await Promise.all([readFile(paths.cert, "utf8"), readFile(paths.key, "utf8")]);
	const certificate = new X509Certificate(cert);
	if (!certificate.checkPrivateKey(createPrivateKey(key))) throw new Error("the key is not the certificate's");
	// Reads the whole chain, as the server will.
	createSecureContext({ cert, key });
	return { pem: { cert, key }, validTo: certificate.validTo };
}
