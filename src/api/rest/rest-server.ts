import { Elysia } from "elysia";
import { ClientAddress } from "../../access/client-address.ts";
import { HiveError } from "../../base/errors.ts";
import type { RandomBytes } from "../../base/ids.ts";
import { isLoopback } from "../../base/loopback.ts";
import type { Log } from "../../observe/log.ts";
import type { Pipeline } from "../../operations/pipeline-types.ts";
import type { Mount } from "../wire/mount.ts";
import { acceptedFormat } from "./accept-header.ts";
import { BodyParser } from "./body-parser.ts";
import { startBodyThread } from "./body-thread.ts";
import { CrossOrigin } from "./cross-origin.ts";
import { MountAdapter } from "./mount-adapter.ts";
import { OverdueWatch } from "./overdue-watch.ts";
import { type ListenerSocket, RenewableListener, type TlsPem } from "./renewable-listener.ts";
import { type Exchange, RestAdapter } from "./rest-adapter.ts";
import { REST_LIMITS } from "./rest-limits.ts";
import { compileRoutes, elysiaPath, PathIndex, pathOf, type RestOperation, type RestRoute } from "./rest-route.ts";
import { asksForSocket, SocketDoor } from "./socket-door.ts";

export interface RestSettings {
	readonly host: string;
	/** 0: any that is free. */
	readonly port: number;
	readonly tls?: TlsPem;
	/** Of bodies other than imports. */
	readonly maxBodyBytes: number;
	/** Addresses and networks whose `X-Forwarded-For` is believed. Default: none. */
	readonly trustedProxies?: readonly string[];
	/** Origins whose web pages may ask, as browsers write them. Default: none. */
	readonly corsOrigins?: readonly string[];
	/** For an operation that is no stream. Default: REST_LIMITS.requestTimeoutSeconds. */
	readonly requestTimeoutSeconds?: number;
	/** Default: REST_LIMITS.bodyStallMs. */
	readonly bodyStallMs?: number;
	/** Default: REST_LIMITS.connectionIdleSeconds. 8 to 255: Bun counts in steps of four, and one step may end at once. */
	readonly connectionIdleSeconds?: number;
	/** Default: REST_LIMITS.stopWaitMs. */
	readonly stopWaitMs?: number;
	/** Default: REST_LIMITS.tlsRetireMs. */
	readonly tlsRetireMs?: number;
}

export interface RestServerParts {
	readonly operations: readonly RestOperation[];
	/** Other protocols on the same listener. */
	readonly mounts?: readonly Mount[];
	readonly pipeline: Pick<Pipeline, "execute">;
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
	 * Speaks TLS with another certificate from now on. Answers under way are finished. Settles when no new connection gets the
	 * old one.
	 *
	 * @throws what the TLS library says of the pair; the old one then stays
	 */
	reloadTls(tls: TlsPem): Promise<void>;
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

interface ServedExchange extends Exchange {
	readonly server: BunServer | null;
}

class ElysiaRestServer implements RestServer {
	readonly #parts: RestServerParts;
	readonly #adapter: RestAdapter;
	readonly #routes: readonly RestRoute[];
	readonly #mounts: readonly Mount[];
	readonly #mountAdapter: MountAdapter;
	readonly #socketDoor: SocketDoor;
	readonly #stopSignal = new AbortController();
	readonly #paths: PathIndex;
	readonly #pages: readonly Page[];
	readonly #hasProxies: boolean;
	readonly #clientAddress: ClientAddress;
	readonly #crossOrigin: CrossOrigin;
	readonly #overdueWatch: OverdueWatch;
	readonly #bodyParser: BodyParser;
	readonly #listener: RenewableListener<BunServer>;
	readonly #underWay = new Set<ServedExchange>();
	#keepAliveTimer: Timer | undefined;
	#isStarted = false;
	#stopping: Promise<void> | undefined;

	constructor(parts: RestServerParts) {
		const { settings, log } = parts;
		this.#parts = parts;
		const trustedProxies = settings.trustedProxies ?? [];
		this.#hasProxies = trustedProxies.length > 0;
		this.#clientAddress = new ClientAddress(trustedProxies);
		this.#crossOrigin = new CrossOrigin(settings.corsOrigins ?? []);
		this.#overdueWatch = new OverdueWatch(settings.requestTimeoutSeconds ?? REST_LIMITS.requestTimeoutSeconds);
		this.#bodyParser = new BodyParser({
			offThreadBytesMin: REST_LIMITS.bodyOffThreadBytesMin,
			pendingMax: REST_LIMITS.bodiesParsingMax,
			start: startBodyThread,
			log,
		});
		const shared = {
			log,
			isLoopbackOnly: isLoopback(settings.host),
			maxBodyBytes: settings.maxBodyBytes,
			bodyDeadlines: {
				stallMs: settings.bodyStallMs ?? REST_LIMITS.bodyStallMs,
				totalMs: REST_LIMITS.bodyTotalMs,
			},
			bodyParser: this.#bodyParser,
			crossOrigin: this.#crossOrigin,
		};
		this.#adapter = new RestAdapter({
			...shared,
			pipeline: parts.pipeline,
			random: parts.random,
			isTls: settings.tls !== undefined,
			overdueWatch: this.#overdueWatch,
		});
		this.#mounts = parts.mounts ?? [];
		this.#mountAdapter = new MountAdapter({ ...shared, rest: this.#adapter, stopping: this.#stopSignal.signal });
		this.#socketDoor = new SocketDoor(this.#mountAdapter, log);
		this.#routes = compileRoutes(parts.operations);
		this.#pages = documentPages(this.#routes, parts.version);
		this.#paths = new PathIndex([...this.#routes, ...this.#pages, ...this.#mounts.flatMap(placesOf)]);
		this.#listener = new RenewableListener({
			host: settings.host,
			port: settings.port,
			tls: settings.tls,
			retireMs: settings.tlsRetireMs ?? REST_LIMITS.tlsRetireMs,
			open: (socket) => this.#listen(socket),
			onError: (err) => log.error({ err }, "a listener did not end cleanly"),
		});
	}

	get #idleSeconds(): number {
		return this.#parts.settings.connectionIdleSeconds ?? REST_LIMITS.connectionIdleSeconds;
	}

	start(): RestAddress {
		const { host, tls } = this.#parts.settings;
		const port = this.#listener.start().port!;
		this.#isStarted = true;
		this.#overdueWatch.start();
		// Bun hangs up on a connection on which nothing moves, also while an operation works on its answer.
		this.#keepAliveTimer = setInterval(
			() => {
				for (const { isOurTurn, server, request } of this.#underWay) {
					if (isOurTurn) server?.timeout(request, this.#idleSeconds);
				}
			},
			(this.#idleSeconds * 1000) / 3,
		);
		const shownHost = host.includes(":") ? `[${host}]` : host;
		const scheme = tls === undefined ? "http" : "https";
		return { host, port, url: `${scheme}://${shownHost}:${port}` };
	}

	reloadTls(tls: TlsPem): Promise<void> {
		return this.#listener.renew(tls);
	}

	stop(): Promise<void> {
		this.#stopping ??= this.#stop();
		return this.#stopping;
	}

	async #stop(): Promise<void> {
		if (!this.#isStarted) return;
		const { settings, log } = this.#parts;
		this.#stopSignal.abort();
		this.#socketDoor.stop();
		let timer: Timer | undefined;
		const deadline = new Promise<"late">((resolve) => {
			timer = setTimeout(() => resolve("late"), settings.stopWaitMs ?? REST_LIMITS.stopWaitMs);
		});
		const outcome = await Promise.race([this.#listener.close(), deadline]);
		clearTimeout(timer);
		if (outcome === "late") {
			const connections = this.#socketDoor.openCount;
			log.warn({ requests: this.#underWay.size, connections }, "stopped with requests unanswered");
			await this.#listener.destroy();
		}
		clearInterval(this.#keepAliveTimer);
		this.#overdueWatch.stop();
		this.#bodyParser.close();
	}

	#listen(socket: ListenerSocket): BunServer {
		const app = this.#buildApp();
		app.listen({
			...socket,
			// Bodies are counted per route: an import has no limit.
			maxRequestBodySize: Number.MAX_SAFE_INTEGER,
			idleTimeout: this.#idleSeconds,
			development: false,
			websocket: this.#socketDoor.handlers(this.#mounts.flatMap(({ socket }) => socket ?? [])) as never,
		});
		return app.server!;
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
		for (const mount of this.#mounts) {
			for (const { path, method } of placesOf(mount)) {
				app.route(method, path, (context) => this.#answerMount(mount, context as ServerContext), { parse: "none" });
			}
		}
		app.all("/*", (context) => this.#answerNothing(context as ServerContext), { parse: "none" });
		app.onError((context) => {
			this.#parts.log.error({ err: context.error }, "the server failed before a request reached its route");
			const error = new HiveError("INTERNAL", "something went wrong on our side");
			return this.#refuse(context as unknown as ServerContext, error);
		});
		return app;
	}

	#answer(route: RestRoute, context: ServerContext): Response | Promise<Response> {
		const exchange = this.#begin(context);
		return exchange === undefined ? this.#answerNothing(context) : this.#adapter.answer(route, exchange);
	}

	/** @returns undefined once a connection is upgraded. */
	#answerMount(mount: Mount, context: ServerContext): Response | Promise<Response | undefined> {
		const exchange = this.#begin(context);
		if (exchange === undefined) return this.#answerNothing(context);
		const { request, server } = exchange;
		const { path, answer, socket } = mount;
		if (socket !== undefined && server !== null && asksForSocket(request)) {
			return this.#socketDoor.admit(path, socket, exchange, server);
		}
		const isTaken = mount.methods.some(
			(method) => method === request.method || (method === "GET" && request.method === "HEAD"),
		);
		if (answer !== undefined && isTaken) return this.#mountAdapter.answer(mount, answer, exchange);
		exchange.onEnd();
		const error = new HiveError("VALIDATION_FAILED", "this address speaks WebSocket alone", { field: "Upgrade" });
		return this.#refuse(context, error, { Upgrade: "websocket" });
	}

	#begin({ request, params, server }: ServerContext): ServedExchange | undefined {
		// The server matches addresses as they were sent. What it could not match comes again through Elysia's own router,
		// with `..` resolved, and could then name something else than the client wrote.
		if ((request as { params?: unknown }).params === undefined) return undefined;
		const peer = server?.requestIP(request)?.address ?? "";
		const forwardedFor = this.#hasProxies ? request.headers.get("x-forwarded-for") : null;
		const exchange: ServedExchange = {
			request,
			server,
			pathValues: params,
			remoteAddress: this.#clientAddress.of(peer, forwardedFor),
			isLastOnConnection: this.#listener.isRetiring(server),
			isOurTurn: true,
			onEnd: () => {
				this.#underWay.delete(exchange);
			},
		};
		this.#underWay.add(exchange);
		return exchange;
	}

	async #answerPage(page: Page, context: ServerContext): Promise<Response> {
		const content = await page.load();
		const headers = this.#headersFor(context);
		if (page.policy !== undefined) headers["Content-Security-Policy"] = page.policy;
		headers["Content-Type"] = page.contentType;
		return new Response(content, { headers });
	}

	#answerNothing(context: ServerContext): Response {
		const { request } = context;
		const methods = this.#paths.methodsAt(pathOf(request.url));
		if (methods.length > 0 && this.#crossOrigin.isPreflight(request)) {
			const headers = this.#headersFor(context);
			this.#crossOrigin.addPreflightHeaders(headers, methods);
			return new Response(null, { status: 204, headers });
		}
		if (methods.length === 0 || methods.includes(request.method)) {
			return this.#refuse(context, new HiveError("NOT_FOUND", "there is nothing at this address"));
		}
		const allowed = methods.join(", ");
		const error = new HiveError("METHOD_NOT_ALLOWED", `this address takes ${allowed}`, { allowed: methods });
		return this.#refuse(context, error, { Allow: allowed });
	}

	#refuse(context: ServerContext, error: HiveError, more?: Record<string, string>): Response {
		const format = acceptedFormat(context.request.headers.get("accept")) ?? "json";
		const headers = { ...this.#headersFor(context), ...more };
		return this.#adapter.refuse(error, headers["X-Request-ID"]!, format, headers);
	}

	/** For what no operation answers. */
	#headersFor({ request, server }: ServerContext): Record<string, string> {
		// After CONNECT the runtime takes what follows for a tunnel, and nobody would ever answer it.
		const isLast = request.method === "CONNECT" || this.#listener.isRetiring(server);
		const headers = this.#adapter.headersFor(request, isLast);
		headers["X-Request-ID"] = this.#adapter.requestId(request);
		return headers;
	}
}

/** Where a mount stands. A mount that answers GET answers HEAD too, by the server's own doing. */
function placesOf({ path, methods, socket }: Mount): readonly { readonly path: string; readonly method: string }[] {
	const all = new Set<string>(methods);
	if (socket !== undefined) all.add("GET");
	return [...all].map((method) => ({ path, method }));
}

/** What of Elysia's context is used. */
interface ServerContext {
	readonly request: Request;
	readonly params: Readonly<Record<string, string>>;
	readonly server: BunServer | null;
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
