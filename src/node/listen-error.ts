import { HiveError } from "../base/errors.ts";

/** Says in words why a server could not listen where the settings want it to; anything else comes back as it is. */
export function explainListenError(cause: unknown, host: string, port: number): unknown {
	const code = String((cause as { code?: unknown } | undefined)?.code);
	const refuse = (field: string, why: string) =>
		new HiveError("CONFLICT", `cannot listen: ${why}`, { field }, { cause });
	if (code === "EADDRINUSE") return refuse("server.port", `port ${port} of ${host} is in use`);
	if (code === "EACCES") return refuse("server.port", `this user may not use port ${port}`);
	if (code === "EADDRNOTAVAIL") return refuse("server.host", `${host} is no address of this machine`);
	if (code.startsWith("ERR_OSSL_") || code.startsWith("ERR_SSL_")) {
		return refuse("server.tls", "the TLS certificate and key are not a matching pair of PEM files");
	}
	return cause;
}
