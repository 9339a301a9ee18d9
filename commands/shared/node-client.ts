import { CommandFailure, EXIT, failureFromAnswer, usageFailure } from "./failure.ts";

export interface NodeTarget {
	readonly url: URL;
	readonly apiKey: string | undefined;
	/** The tenant an admin acts in. */
	readonly tenant: string | undefined;
	/** For an ordinary call, from sending to the whole answer. Streams are not timed. */
	readonly timeoutMs: number;
	readonly userAgent: string;
}

type Method = "GET" | "POST" | "PUT" | "PATCH" | "DELETE";

export interface CallOptions {
	readonly query?: Readonly<Record<string, string | number | boolean | undefined>>;
	readonly body?: unknown;
}

/** Each value becomes one path segment, whatever characters it holds. */
export function apiPath(parts: TemplateStringsArray, ...values: readonly (string | number)[]): string {
	return parts.reduce((path, part, index) => {
		const value = String(values[index - 1] ?? "");
		// A URL parser would fold these away, and the call would reach another resource.
		if (value === "" || value === "." || value === "..") throw usageFailure(`"${value}" is not a name`);
		return path + encodeURIComponent(value) + part;
	});
}

/** A node's REST API (CONTRACT section 3), as any client sees it. Every failure is a `CommandFailure` with its exit code. */
export class NodeClient {
	constructor(
		private readonly target: NodeTarget,
		private readonly transport: (url: URL, init: RequestInit) => Promise<Response> = fetch,
	) {}

	/** `path` is under `/api/v1`. @returns the answer's JSON, undefined when it has no body */
	async call<T>(method: Method, path: string, options: CallOptions = {}): Promise<T> {
		const response = await this.send(method, this.locate(`/api/v1${path}`, options.query), {
			...(options.body === undefined
				? {}
				: { body: JSON.stringify(options.body), headers: { "content-type": "application/json" } }),
			signal: AbortSignal.timeout(this.target.timeoutMs),
		});
		return (await this.readJson(response)) as T;
	}

	/** `/health`, `/ready`: with the status, whatever it is, and the node's clock. */
	async probe(path: "/health" | "/ready"): Promise<{ status: number; body: unknown; date: string | null }> {
		const init = { signal: AbortSignal.timeout(this.target.timeoutMs) };
		const response = await this.exchange("GET", this.locate(path, undefined), init);
		return { status: response.status, body: await this.readJson(response), date: response.headers.get("date") };
	}

	/** A streamed answer, a streamed request body, or both. @returns a response with status 2xx */
	async stream(
		method: Method,
		path: string,
		options: Pick<CallOptions, "query"> & {
			readonly body?: ReadableStream<Uint8Array>;
			readonly signal?: AbortSignal;
		} = {},
	): Promise<Response> {
		return await this.send(method, this.locate(`/api/v1${path}`, options.query), {
			headers: { accept: "application/x-ndjson", ...(options.body ? { "content-type": "application/x-ndjson" } : {}) },
			...(options.body === undefined ? {} : { body: options.body }),
			...(options.signal === undefined ? {} : { signal: options.signal }),
		});
	}

	private locate(path: string, query: CallOptions["query"]): URL {
		const url = new URL(this.target.url);
		url.pathname = url.pathname.replace(/\/+$/, "") + path;
		for (const [name, value] of Object.entries(query ?? {})) {
			if (value !== undefined) url.searchParams.set(name, String(value));
		}
		return url;
	}

	private async send(method: Method, url: URL, init: RequestInit): Promise<Response> {
		const response = await this.exchange(method, url, init);
		if (response.ok) return response;
		throw failureFromAnswer(response.status, await this.readJson(response).catch(() => undefined));
	}

	private async exchange(method: Method, url: URL, init: RequestInit): Promise<Response> {
		const headers = new Headers(init.headers);
		headers.set("user-agent", this.target.userAgent);
		if (!headers.has("accept")) headers.set("accept", "application/json");
		if (this.target.apiKey !== undefined) headers.set("authorization", `Bearer ${this.target.apiKey}`);
		if (this.target.tenant !== undefined) headers.set("x-tenant-id", this.target.tenant);
		try {
			// A redirect would carry the key to wherever it points.
			return await this.transport(url, { ...init, method, headers, redirect: "manual" });
		} catch (cause) {
			throw this.unreachable(cause);
		}
	}

	private async readJson(response: Response): Promise<unknown> {
		let text: string;
		try {
			text = await response.text();
		} catch (cause) {
			throw this.unreachable(cause);
		}
		if (text === "") return undefined;
		try {
			return JSON.parse(text);
		} catch (cause) {
			if (!response.ok) throw failureFromAnswer(response.status, undefined);
			const advice = "is --url the address of a hive-vector node?";
			throw new CommandFailure(
				"NOT_A_NODE",
				EXIT.failed,
				`${this.target.url.origin} did not answer with JSON`,
				{ advice },
				{ cause },
			);
		}
	}

	/** The connection failed, broke or took too long. */
	unreachable(cause: unknown): CommandFailure {
		if (cause instanceof CommandFailure) return cause;
		const origin = this.target.url.origin;
		const slow = cause instanceof Error && cause.name === "TimeoutError";
		const reason = slow ? `did not answer within ${this.target.timeoutMs / 1000} s` : "can't be reached";
		const advice = slow
			? "a longer wait: --timeout 5m"
			: "is a node running there? `hive-vector serve` starts one, `hive-vector doctor` looks closer";
		return new CommandFailure("UNREACHABLE", EXIT.unreachable, `${origin} ${reason}`, { advice }, { cause });
	}
}
