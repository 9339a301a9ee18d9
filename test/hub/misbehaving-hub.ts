import type { HubTransport } from "../../src/hub/hub-http-client.ts";

/** What becomes of a call on its way to the hub. undefined: nothing, the hub answers it. */
export type Misdeed = (request: Request) => Promise<Response> | Response | undefined;

/** What stands between nodes and a hub, on a socket, and does to calls what a test wants. */
export class MisbehavingHub {
	/** `METHOD /path` of each call, the feed's left out. */
	readonly asked: string[] = [];
	/** Cursors that the feed was asked with. */
	readonly cursors: number[] = [];
	/** Ports that calls came from: one a connection. */
	readonly connections = new Set<number>();
	misdeed: Misdeed = () => undefined;
	readonly url: string;
	#socket: Bun.Server<undefined>;
	readonly #hub: HubTransport;

	constructor(hub: HubTransport) {
		this.#hub = hub;
		this.#socket = this.#listen(0);
		this.url = this.#socket.url.origin;
	}

	/** Nobody listens any more, and what was connected is cut off. */
	async leave(): Promise<void> {
		await this.#socket.stop(true);
	}

	/** Listens again where it did. */
	comeBack(): void {
		this.#socket = this.#listen(Number(new URL(this.url).port));
	}

	#listen(port: number): Bun.Server<undefined> {
		return Bun.serve({
			hostname: "127.0.0.1",
			port,
			idleTimeout: 120,
			fetch: async (request, server) => {
				const { pathname, searchParams } = new URL(request.url);
				const path = pathname.slice("/api/v1".length);
				if (path === "/changes") this.cursors.push(Number(searchParams.get("cursor")));
				else {
					this.asked.push(`${request.method} ${path}`);
					this.connections.add(server.requestIP(request)!.port);
				}
				return (await this.misdeed(request)) ?? (await this.#hub(request));
			},
		});
	}
}

const never = (): Promise<Response> => new Promise(() => {});

/** Ways of a hub to be of no use, by name. None of them lets anybody in. */
export const MISDEEDS: Readonly<Record<string, Misdeed>> = {
	"hangs before the answer": never,
	"hangs within the answer": () =>
		new Response(new ReadableStream({ start: (controller) => controller.enqueue(Buffer.from('{"key":')) })),
	"answers broken JSON": () => new Response('{"key": {"api_key_id": "key_', { status: 200 }),
	"answers nothing": () => new Response(null, { status: 204 }),
	"answers a page for people": () => new Response("<html>Welcome to the Wi-Fi of this airport</html>"),
	"answers JSON of another kind": () => Response.json({ ok: true, key: null, tenant: [] }),
	"fails with 500": () => Response.json({ error: "boom", code: "INTERNAL" }, { status: 500 }),
	"fails with 502 and no JSON": () => new Response("Bad Gateway", { status: 502 }),
	"is overloaded": () => Response.json({ error: "later", code: "OVERLOADED" }, { status: 503 }),
	"refuses the service key": () => Response.json({ error: "no", code: "AUTH_INVALID" }, { status: 401 }),
	"has lost its paths": () => Response.json({ error: "no such path", code: "NOT_FOUND" }, { status: 404 }),
	"sends elsewhere": () => Response.redirect("http://127.0.0.1:9/api/v1/keys/validate"),
};
