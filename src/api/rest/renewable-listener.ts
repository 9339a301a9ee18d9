/** Certificate chain and private key, as PEM text. */
export interface TlsPem {
	readonly cert: string;
	readonly key: string;
}

/** What a listener tells `open` about its socket. */
export interface ListenerSocket {
	readonly hostname: string;
	readonly port: number;
	readonly reusePort: boolean;
	readonly tls?: TlsPem;
}

/** What of Bun's server is used here. */
export type ListeningServer = Pick<Bun.Server<undefined>, "port" | "stop" | "pendingRequests">;

export interface RenewableListenerParts<S extends ListeningServer> {
	readonly host: string;
	/** 0: any that is free. */
	readonly port: number;
	readonly tls: TlsPem | undefined;
	/** How long an old listener goes on beside the new one. */
	readonly retireMs: number;
	/** Opens the socket; called again for each new certificate. @throws what the system says when it can't */
	open(socket: ListenerSocket): S;
	/** Told when a listener that was stopped did not end cleanly. */
	onError(cause: unknown): void;
}

/**
 * A listening socket whose certificate can be replaced. Bun fixes a socket's certificate when it is opened, so a second socket is
 * opened on the same port and the first one retires: it answers what it has, and is to tell clients with each answer to connect
 * anew (`isRetiring`); then it stops listening. No answer under way is cut off.
 */
export class RenewableListener<S extends ListeningServer> {
	readonly #parts: RenewableListenerParts<S>;
	readonly #retiring = new Set<S>();
	#current: S | undefined;
	#renewal: Promise<void> = Promise.resolve();
	#isStopping = false;
	#endRetirement: (() => void) | undefined;

	constructor(parts: RenewableListenerParts<S>) {
		this.#parts = parts;
	}

	/** @throws what the system says when it can't listen: `EADDRINUSE`, `EACCES`, a TLS error */
	start(): S {
		const { host, port, tls } = this.#parts;
		if (tls !== undefined) requireFreePort(host, port);
		this.#current = this.#open(port, tls);
		return this.#current;
	}

	/** Whether clients of this one should connect anew. */
	isRetiring(server: S | null): boolean {
		return this.#retiring.size > 0 && server !== null && this.#retiring.has(server);
	}

	/** Requests not answered yet, whichever certificate they came under. */
	get pendingRequests(): number {
		let pending = this.#current?.pendingRequests ?? 0;
		for (const server of this.#retiring) pending += server.pendingRequests;
		return pending;
	}

	/**
	 * Goes on with another certificate. Settles when no new connection gets the old one; that may be used until then.
	 *
	 * @throws what the TLS library says of the pair; the old one then stays
	 */
	renew(tls: TlsPem): Promise<void> {
		const renewed = this.#renewal.then(() => this.#renew(tls));
		this.#renewal = renewed.catch(() => {});
		return renewed;
	}

	async #renew(tls: TlsPem): Promise<void> {
		const old = this.#current;
		if (old === undefined || this.#isStopping) return;
		this.#current = this.#open(old.port!, tls);
		this.#retiring.add(old);
		const { promise, resolve } = Promise.withResolvers<void>();
		const timer = setTimeout(resolve, this.#parts.retireMs);
		this.#endRetirement = resolve;
		await promise;
		clearTimeout(timer);
		// Long streams may take their time: nobody waits for them here.
		void old
			.stop(false)
			.catch((cause: unknown) => this.#parts.onError(cause))
			.finally(() => this.#retiring.delete(old));
	}

	/** Stops listening and closes idle connections at once. Settles when everything under way is answered. */
	async close(): Promise<void> {
		this.#isStopping = true;
		this.#endRetirement?.();
		await Promise.all(this.#servers().map((server) => server.stop(false)));
	}

	/** Closes every connection. */
	async destroy(): Promise<void> {
		await Promise.all(this.#servers().map((server) => server.stop(true)));
	}

	#servers(): S[] {
		return this.#current === undefined ? [] : [this.#current, ...this.#retiring];
	}

	#open(port: number, tls: TlsPem | undefined): S {
		return this.#parts.open({
			hostname: this.#parts.host,
			port,
			// Two sockets can share a port only if both say so. Without TLS there is never a second one.
			reusePort: tls !== undefined,
			...(tls !== undefined && { tls }),
		});
	}
}

/**
 * A port that may be shared is not refused to a second process, which would then take half of the connections. One that may not
 * be shared is. (Two processes that start in the same instant can both pass.)
 */
function requireFreePort(hostname: string, port: number): void {
	if (port === 0) return;
	const probe = Bun.serve({ hostname, port, reusePort: false, fetch: () => new Response(null, { status: 503 }) });
	void probe.stop(true);
}
