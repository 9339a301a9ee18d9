import type { Mount, MountedCall } from "../wire/mount.ts";
import { GRAPHQL_LIMITS } from "./graphql-limits.ts";
import type { GraphqlParts, GraphqlService } from "./graphql-service.ts";

/** By the protocol of the library graphql-ws. */
const SUBPROTOCOL = "graphql-transport-ws";

/** Where GraphQL is spoken (CONTRACT section 5): queries, subscriptions, and a page to try both. */
export function graphqlMounts(parts: GraphqlParts): readonly Mount[] {
	let loading: Promise<GraphqlService> | undefined;
	// Loaded on first use: a node that nobody asks in GraphQL pays nothing for it.
	const service = (): Promise<GraphqlService> => {
		loading ??= import("./graphql-service.ts").then(({ createGraphqlService }) => createGraphqlService(parts));
		return loading;
	};
	return [
		{
			path: "/graphql",
			methods: ["GET", "POST"],
			answer: async (call) => (asksForPage(call) ? await pageAnswer(MAIN_PAGE) : await (await service()).answer(call)),
			socket: {
				subprotocols: [SUBPROTOCOL],
				needsSubprotocol: true,
				messageBytesMax: GRAPHQL_LIMITS.messageBytesMax,
				open: async (call, subprotocol) => await (await service()).open(call, subprotocol),
			},
		},
		...PARTS.map((page): Mount => ({ path: page.path, methods: ["GET"], answer: () => pageAnswer(page) })),
	];
}

/** A browser that looks, not a client that asks. */
function asksForPage({ request }: MountedCall): boolean {
	if (request.method === "POST" || /[?&]query=/.test(request.url)) return false;
	return request.headers.get("accept")?.toLowerCase().includes("text/html") === true;
}

interface Page {
	readonly path: string;
	readonly contentType: string;
	load(page: typeof import("./graphiql-page.ts")): string | Blob;
}

const HTML = "text/html; charset=utf-8";
const SCRIPT = "text/javascript; charset=utf-8";
const STYLE = "text/css; charset=utf-8";

/** Scripts, styles and connections from this server only; fonts and icons are data addresses. */
const PAGE_POLICY =
	"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self' data:; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const MAIN_PAGE: Page = { path: "/graphql", contentType: HTML, load: (page) => page.GRAPHIQL_HTML };

/** What it loads. */
const PARTS: readonly Page[] = [
	{ path: "/graphql/page.css", contentType: STYLE, load: (page) => page.GRAPHIQL_STYLE },
	{ path: "/graphql/start.js", contentType: SCRIPT, load: (page) => page.GRAPHIQL_SCRIPT },
	{ path: "/graphql/graphiql.js", contentType: SCRIPT, load: (page) => page.graphiqlScript() },
	{ path: "/graphql/graphiql.css", contentType: STYLE, load: (page) => page.graphiqlStyle() },
	{ path: "/graphql/react.js", contentType: SCRIPT, load: (page) => page.reactScript() },
	{ path: "/graphql/react-dom.js", contentType: SCRIPT, load: (page) => page.reactDomScript() },
];

/** Loaded on first use: a node that nobody asks pays nothing for them. */
async function pageAnswer({ contentType, load }: Page): Promise<{ readonly response: Response }> {
	const content = load(await import("./graphiql-page.ts"));
	const headers = { "Content-Type": contentType, "Content-Security-Policy": PAGE_POLICY };
	return { response: new Response(content, { headers }) };
}
