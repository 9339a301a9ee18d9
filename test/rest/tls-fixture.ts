import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type TLSSocket } from "node:tls";
import type { TlsPem } from "../../src/api/rest/renewable-listener.ts";

/** A certificate for localhost that signs itself, told apart from others by its name. */
export function makeCertificate(name: string): TlsPem {
	const folder = mkdtempSync(join(tmpdir(), "rest-tls-"));
	const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
	const made = Bun.spawnSync([
		...["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"],
		...["-keyout", key, "-out", cert, "-days", "2", "-subj", `/CN=${name}`, "-addext", "subjectAltName=DNS:localhost"],
	]);
	if (made.exitCode !== 0) throw new Error(made.stderr.toString());
	const pem = { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
	rmSync(folder, { recursive: true });
	return pem;
}

/** A TLS connection that trusts everyone. */
export class TlsClient {
	#text = "";
	#check: () => void = () => {};
	readonly closed: Promise<void>;

	private constructor(private readonly socket: TLSSocket) {
		socket.on("data", (bytes: Buffer) => {
			this.#text += bytes.toString("latin1");
			this.#check();
		});
		// A reset is a way of closing here.
		socket.on("error", () => {});
		this.closed = new Promise((resolve) => {
			socket.on("close", () => resolve());
		});
	}

	static async open(port: number): Promise<TlsClient> {
		const socket = connect({ port, host: "127.0.0.1", servername: "localhost", rejectUnauthorized: false });
		await new Promise((resolve, reject) => {
			socket.on("secureConnect", resolve);
			socket.on("error", reject);
		});
		return new TlsClient(socket);
	}

	/** The name in the certificate that the server showed. */
	get certificateName(): string {
		return String(this.socket.getPeerCertificate().subject.CN);
	}

	send(text: string): this {
		this.socket.write(text);
		return this;
	}

	/** All that came since the last time, once it passes the test. */
	async until(test: (text: string) => boolean): Promise<string> {
		await new Promise<void>((resolve) => {
			this.#check = () => {
				if (test(this.#text)) resolve();
			};
			this.#check();
		});
		const text = this.#text;
		this.#text = "";
		return text;
	}

	drop(): void {
		this.socket.destroy();
	}
}

/** What a new connection is shown. */
export async function certificateNameAt(port: number): Promise<string> {
	const client = await TlsClient.open(port);
	const name = client.certificateName;
	client.drop();
	return name;
}
