import { Elysia } from "elysia";
import { HiveError } from "../../base/errors.ts";
import type { RandomBytes } from "../../base/ids.ts";
import { isLoopback } from "../../base/loopback.ts";
import type { Log } from "../../observe/log.ts";
import type { Pipeline } from "../../operations/pipeline-types.ts";
import { acceptedFormat } from "./accept-header.ts";
import { securityHeaders } from "./answer-headers.ts";
import { type Exchange, RestAdapter } from "./rest-adapter.ts";
import { REST_LIMITS } from "./rest-limits.ts";
import { compileRoutes, elysiaPath, PathIndex, type RestOperation, type RestRoute } from "./rest-route.ts";

export interface RestSettings {
	readonly host: string;
	/** 0: any that is free. */
	readonly port: number;
	/** Certificate chain and private key, as PEM text. */
	readonly tls?: { readonly cert: string; readonly key: string };
	/** Of bodies other than imports. */
	readonly maxBodyBytes: number;
	/** Default: REST_LIMITS.bodyStallMs. */
	readonly bodyStallMs?: number;
	/** Default: REST_LIMITS.connectionIdleSeconds. 8 to 255: Bun counts in steps of four, and one step may end at once. */
	readonly connectionIdleSeconds?: number;
	/** Default: REST_LIMITS.stopWaitMs. */
	readonly stopWaitMs?: number;
}

export interface RestServerParts {
	readonly operations: readonly RestOperation[];
	readonly pipeline: Pipeline;
	readonly settings: RestSettings;
	readonly log: Log;
	readonly random: RandomBytes;
	/** Of the product, shown in the OpenAPI document. */
	readonly version: string;
}

export interface RestServer {
	/**
	 * Begins to listen.
	 *
	 * @throws what the system says when it can't: `EADDRINUSE`, `EACCES`, a TLS error
	 */
	start(): RestAddress;
	/**
	 * Stops listening, closes idle connections, waits for answers under way (at most `stopWaitMs`), then closes the rest.
	 * Idempotent.
	 */
	stop(): Promise<void>;
}

export interface RestAddress {
	readonly host: string;
	readonly port: number;
	/** `http://127.0.0.1:7801` */
	readonly url: string;
}

type BunServer = NonNullable<Elysia["server"]>;

/** REST over the operation table (CONTRACT section 3), with its OpenAPI document and a page to try it. */
export function createRestServer(parts: RestServerParts): RestServer {
	return new ElysiaRestServer(parts);
}

class ElysiaRestServer implements RestServer {
	readonly #parts: RestServerParts;
	readonly #adapter: RestAdapter;
	readonly #routes: readonly RestRoute[];
	readonly #paths: PathIndex;
	readonly #pages: readonly Page[];
	readonly #underWay = new Set<Exchange>();
	#server: BunServer | undefined;
	#keepAliveTimer: Timer | undefined;
	#stopping: Promise<void> | undefined;

	constructor(parts: RestServerParts) {
		const { settings } = parts;
		this.#parts = parts;
		this.#adapter = new RestAdapter({
			pipeline: parts.pipeline,
			log: parts.log,
			random: parts.random,
			isTls: settings.tls !== undefined,
			isLoopbackOnly: isLoopback(settings.host),
			maxBodyBytes: settings.maxBodyBytes,
			bodyDeadlines: {
				stallMs: settings.bodyStallMs ?? REST_LIMITS.bodyStallMs,
				totalMs: REST_LIMITS.bodyTotalMs,
			},
		});
		this.#routes = compileRoutes(parts.operations);
		this.#pages = documentPages(this.#routes, parts.version);
		this.#paths = new PathIndex([...this.#routes, ...this.#pages]);
	}

	get #idleSeconds(): number {
		return this.#parts.settings.connectionIdleSeconds ?? REST_LIMITS.connectionIdleSeconds;
	}

	start(): RestAddress {
		const { host, port, tls } = this.#parts.settings;
		const app = this.#buildApp();
		app.listen({
			hostname: host,
			port,
			...(tls === undefined ? undefined : { tls }),
			// Bodies are counted per route: an import has no limit.
			maxRequestBodySize: Number.MAX_SAFE_INTEGER,
			idleTimeout: this.#idleSeconds,
			// Or a second node on the same port would take half of the requests, instead of being told that it is taken.
			reusePort: false,
			development: false,
		});
		const server = app.server!;
		this.#server = server;
		// Bun hangs up on a connection on which nothing moves, also while an operation works on its answer.
		this.#keepAliveTimer = setInterval(
			() => {
				for (const exchange of this.#underWay) {
					if (exchange.isOurTurn) server.timeout(exchange.request, this.#idleSeconds);
				}
			},
			(this.#idleSeconds * 1000) / 3,
		);
		const shownHost = host.includes(":") ? `[${host}]` : host;
		const scheme = tls === undefined ? "http" : "https";
		return { host, port: server.port!, url: `${scheme}://${shownHost}:${server.port}` };
	}

	stop(): Promise<void> {
		this.#stopping ??= this.#stop();
		return this.#stopping;
	}

	async #stop(): Promise<void> {
		const server = this.#server;
		if (server === undefined) return;
		const { settings, log } = this.#parts;
		let timer: Timer | undefined;
		const deadline = new Promise<"late">((resolve) => {
			timer = setTimeout(() => resolve("late"), settings.stopWaitMs ?? REST_LIMITS.stopWaitMs);
		});
		// Closes idle connections at once and the others after their answers.
		const outcome = await Promise.race([server.stop(false), deadline]);
		clearTimeout(timer);
		if (outcome === "late") {
			log.warn({ requests: this.#underWay.size }, "stopped with requests unanswered");
			await server.stop(true);
		}
		clearInterval(this.#keepAliveTimer);
	}

	#buildApp(): Elysia {
		const app = new Elysia({ strictPath: true });
		for (const route of this.#routes) {
			// Elysia reads a handler's source to decide what to parse: one that passes the context on is left alone, and
			// "none" keeps the body unread.
			app.route(route.method, elysiaPath(route.path), (context) => this.#answer(route, context as ServerContext), {
				parse: "none",
			});
		}
		for (const page of this.#pages) {
			app.route(page.method, page.path, (context) => this.#answerPage(page, context as ServerContext), {
				parse: "none",
			});
		}
		app.all("/*", (context) => this.#answerNothing(context.request), { parse: "none" });
		app.onError((context) => {
			this.#parts.log.error({ err: context.error }, "the server failed before a request reached its route");
			return this.#refuse(context.request, new HiveError("INTERNAL", "something went wrong on our side"));
		});
		return app;
	}

	#answer(route: RestRoute, { request, params, server }: ServerContext): Response | Promise<Response> {
		// The server matches addresses as they were sent. What it could not match comes again through Elysia's own router,
		// with `..` resolved, and could then name something else than the client wrote.
		if ((request as { params?: unknown }).params === undefined) return this.#answerNothing(request);
		const exchange: Exchange = {
			request,
			pathValues: params,
			remoteAddress: server?.requestIP(request)?.address ?? "",
			isOurTurn: true,
			onEnd: () => {
				this.#underWay.delete(exchange);
			},
		};
		this.#underWay.add(exchange);
		return this.#adapter.answer(route, exchange);
	}

	async #answerPage(page: Page, { request }: ServerContext): Promise<Response> {
		const content = await page.load();
		const headers = {
			...securityHeaders(this.#parts.settings.tls !== undefined, page.policy),
			"X-Request-ID": this.#adapter.requestId(request),
			"Content-Type": page.contentType,
		};
		return new Response(content, { headers });
	}

	#answerNothing(request: Request): Response {
		const methods = this.#paths.methodsAt(pathOf(request.url));
		if (methods.length === 0 || methods.includes(request.method)) {
			return this.#refuse(request, new HiveError("NOT_FOUND", "there is nothing at this address"));
		}
		const allowed = methods.join(", ");
		const error = new HiveError("METHOD_NOT_ALLOWED", `this address takes ${allowed}`, { allowed: methods });
		return this.#refuse(request, error, { Allow: allowed });
	}

	#refuse(request: Request, error: HiveError, headers?: Record<string, string>): Response {
		const format = acceptedFormat(request.headers.get("accept")) ?? "json";
		return this.#adapter.refuse(error, this.#adapter.requestId(request), format, headers);
	}
}

/** What of Elysia's context is used. */
interface ServerContext {
	readonly request: Request;
	readonly params: Readonly<Record<string, string>>;
	readonly server: BunServer | null;
}

/** As it was sent, percent signs and all; without the query. */
function pathOf(url: string): string {
	const start = url.startsWith("/") ? 0 : url.indexOf("/", url.indexOf("://") + 3);
	const end = url.search(/[?#]/);
	return url.slice(start, end < 0 ? undefined : end);
}

/** Something to read besides the operations: the API's own description. */
interface Page {
	readonly method: "GET";
	readonly path: string;
	readonly contentType: string;
	/** Content-Security-Policy; absent: that of the API. */
	readonly policy?: string;
	load(): Promise<string | Blob>;
}

/** Loaded and made on first use: a node that nobody asks pays nothing for them. */
function documentPages(routes: readonly RestRoute[], version: string): readonly Page[] {
	let openApiText: string | undefined;
	const docs = () => import("./docs-page.ts");
	return [
		{
			method: "GET",
			path: "/openapi.json",
			contentType: "application/json; charset=utf-8",
			async load() {
				if (openApiText === undefined) {
					const { openApiDocument } = await import("./openapi-document.ts");
					openApiText = JSON.stringify(openApiDocument(routes, version));
				}
				return openApiText;
			},
		},
		{
			method: "GET",
			path: "/docs",
			contentType: "text/html; charset=utf-8",
			// Scripts and styles from this server only; the page's icons are data addresses.
			policy:
				"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
			load: async () => (await docs()).DOCS_HTML,
		},
		{
			method: "GET",
			path: "/docs/start.js",
			contentType: "text/javascript; charset=utf-8",
			load: async () => (await docs()).DOCS_SCRIPT,
		},
		{
			method: "GET",
			path: "/docs/swagger-ui-bundle.js",
			contentType: "text/javascript; charset=utf-8",
			load: async () => (await docs()).swaggerScript(),
		},
		{
			method: "GET",
			path: "/docs/swagger-ui.css",
			contentType: "text/css; charset=utf-8",
			load: async () => (await docs()).swaggerStyle(),
		},
	];
}
