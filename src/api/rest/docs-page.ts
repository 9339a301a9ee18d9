// As files, not as text: in the binary they lie beside the program instead of within it, and cost nothing until asked for.

import swaggerStylePath from "swagger-ui-dist/swagger-ui.css" with { type: "file" };
import swaggerScriptPath from "swagger-ui-dist/swagger-ui-bundle.js" with { type: "file" };

export const DOCS_HTML = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>hive-vector API</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="docs"></div>
<noscript>This page needs JavaScript. The API is described in <a href="/openapi.json">openapi.json</a>.</noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
`;

/** A file of its own: the page's policy allows no script within the page. Keys live in the page's memory only. */
export const DOCS_SCRIPT = `SwaggerUIBundle({
	url: "/openapi.json",
	dom_id: "#docs",
	presets: [SwaggerUIBundle.presets.apis],
	deepLinking: true,
	docExpansion: "list",
	defaultModelsExpandDepth: 0,
	displayRequestDuration: true,
	filter: true,
	persistAuthorization: false,
	validatorUrl: null,
});
`;

export const swaggerScript = (): Blob => Bun.file(swaggerScriptPath);
export const swaggerStyle = (): Blob => Bun.file(swaggerStylePath);
