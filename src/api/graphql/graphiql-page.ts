// As files, not as text: in the binary they lie beside the program instead of within it, and cost nothing until asked for.

// React's packages offer their builds for browsers as files alone, not as modules that could be imported by name.

import graphiqlStylePath from "graphiql/graphiql.min.css" with { type: "file" };
import graphiqlScriptPath from "graphiql/graphiql.min.js" with { type: "file" };
import reactScriptPath from "../../../node_modules/react/umd/react.production.min.js" with { type: "file" };
import reactDomScriptPath from "../../../node_modules/react-dom/umd/react-dom.production.min.js" with { type: "file" };

export const GRAPHIQL_HTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>hive-vector GraphQL</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/graphql/graphiql.css">
<link rel="stylesheet" href="/graphql/page.css">
</head>
<body>
<div id="graphiql"></div>
<noscript>This page needs JavaScript. Queries are sent to this address by POST.</noscript>
<script src="/graphql/react.js"></script>
<script src="/graphql/react-dom.js"></script>
<script src="/graphql/graphiql.js"></script>
<script src="/graphql/start.js"></script>
</body>
</html>
`;

/** Files of their own: the page's policy allows no script or style within the page. */
export const GRAPHIQL_STYLE = "html, body, #graphiql { height: 100%; margin: 0; }\n";

/** Keys are typed into the tab Headers, live in the page's memory only, and go along with `connection_init` as well. */
export const GRAPHIQL_SCRIPT = `const address = location.origin + "/graphql";
const fetcher = (params, options = {}) => {
	const headers = options.headers ?? {};
	return GraphiQL.createFetcher({
		url: address,
		headers,
		subscriptionUrl: address.replace(/^http/, "ws"),
		wsConnectionParams: headers,
	})(params, options);
};
ReactDOM.createRoot(document.getElementById("graphiql")).render(
	React.createElement(GraphiQL, {
		fetcher,
		shouldPersistHeaders: false,
		isHeadersEditorEnabled: true,
		defaultHeaders: '{\\n  "authorization": "Bearer "\\n}',
		defaultQuery: "# The key goes into the tab Headers, below.\\n\\nquery Collections {\\n  collections {\\n    name\\n    dimension\\n    vectors\\n  }\\n}\\n",
	}),
);
`;

export const graphiqlScript = (): Blob => Bun.file(graphiqlScriptPath);
export const graphiqlStyle = (): Blob => Bun.file(graphiqlStylePath);
export const reactScript = (): Blob => Bun.file(reactScriptPath);
export const reactDomScript = (): Blob => Bun.file(reactDomScriptPath);
