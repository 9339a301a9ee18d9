/** A server that answers what a test tells it: for answers that a healthy node does not give. */
export class ScriptedNode {
	readonly requests: { readonly method: string; readonly path: string; readonly headers: Headers }[] = [];
	answer: (request: Request) => Response | Promise<Response> = () => Response.json({});

	private readonly server = Bun.serve({
		hostname: "127.0.0.1",
		port: 0,
		fetch: (request) => {
			this.requests.push({ method: request.method, path: new URL(request.url).pathname, headers: request.headers });
			return this.answer(request);
		},
	});

	get url(): string {
		return this.server.url.origin;
	}

	async stop(): Promise<void> {
		await this.server.stop(true);
	}
}
