import {
	McpServer,
	MissingRequiredClientCapabilityError,
	ResourceTemplate,
	type Server,
} from "@modelcontextprotocol/server";
import { z } from "zod";
import type { McpSurface } from "../../src/api/mcp/mcp-surface.ts";

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA=";
const image = { type: "image" as const, data: PNG, mimeType: "image/png" };
const embedded = (uri: string, text: string) => ({
	type: "resource" as const,
	resource: { uri, mimeType: "text/plain", text },
});

/** What the conformance suite asks of a server, behind the product's own transports. */
export class ConformanceSurface implements McpSurface {
	runsOperation(): boolean {
		return false;
	}

	serverFor(): Server {
		const server = new McpServer(
			{ name: "conformance", version: "1" },
			{
				capabilities: {
					tools: { listChanged: false },
					resources: { listChanged: false },
					prompts: { listChanged: false },
				},
			},
		);
		const tool = (
			name: string,
			...content: (
				| typeof image
				| ReturnType<typeof embedded>
				| { type: "text"; text: string }
				| { type: "audio"; data: string; mimeType: string }
			)[]
		) => server.registerTool(name, { description: name }, async () => ({ content }));
		const text = (words: string) => ({ type: "text" as const, text: words });
		tool("test_simple_text", text("This is a simple text response for testing."));
		tool("test_streaming_elicitation", text("asks for nothing"));
		tool("test_logging_tool", text("logs nothing"));
		tool("test_image_content", image);
		tool("test_audio_content", { type: "audio", data: WAV, mimeType: "audio/wav" });
		tool("test_embedded_resource", embedded("test://embedded-resource", "This is an embedded resource content."));
		tool(
			"test_multiple_content_types",
			text("Multiple content types test:"),
			image,
			embedded("test://mixed-content-resource", "mixed"),
		);
		server.registerTool("test_error_handling", { description: "fails" }, async () => ({
			isError: true,
			content: [text("This tool intentionally returns an error for testing")],
		}));
		server.registerTool("test_missing_capability", { description: "needs sampling" }, async () => {
			if (server.server.getClientCapabilities()?.sampling !== undefined) return { content: [text("there")] };
			throw new MissingRequiredClientCapabilityError({ requiredCapabilities: { sampling: {} } });
		});
		server.registerTool("test_tool_with_progress", { description: "tells" }, async ({ mcpReq }) => {
			const progressToken = mcpReq._meta?.progressToken;
			for (const progress of [0, 50, 100]) {
				if (progressToken === undefined) break;
				await mcpReq.notify({ method: "notifications/progress", params: { progressToken, progress, total: 100 } });
				await Bun.sleep(20);
			}
			return { content: [text("done")] };
		});
		server.registerResource("text", "test://static-text", { mimeType: "text/plain" }, async (uri) => ({
			contents: [{ uri: uri.href, mimeType: "text/plain", text: "This is the content of the static text resource." }],
		}));
		server.registerResource("binary", "test://static-binary", { mimeType: "image/png" }, async (uri) => ({
			contents: [{ uri: uri.href, mimeType: "image/png", blob: PNG }],
		}));
		server.registerResource(
			"template",
			new ResourceTemplate("test://template/{id}/data", { list: undefined }),
			{ mimeType: "application/json" },
			async (uri, { id }) => ({
				contents: [
					{
						uri: uri.href,
						mimeType: "application/json",
						text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${String(id)}` }),
					},
				],
			}),
		);
		const said = (content: object) => ({
			messages: [{ role: "user" as const, content: content as ReturnType<typeof text> }],
		});
		server.registerPrompt("test_simple_prompt", { description: "simple" }, async () =>
			said(text("This is a simple prompt for testing.")),
		);
		server.registerPrompt(
			"test_prompt_with_arguments",
			{ description: "arguments", argsSchema: z.object({ arg1: z.string(), arg2: z.string() }) },
			async ({ arg1, arg2 }) => said(text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)),
		);
		server.registerPrompt(
			"test_prompt_with_embedded_resource",
			{ description: "resource", argsSchema: z.object({ resourceUri: z.string() }) },
			async ({ resourceUri }) => said(embedded(resourceUri, "Embedded resource content for testing.")),
		);
		server.registerPrompt("test_prompt_with_image", { description: "image" }, async () => said(image));
		return server.server;
	}
}
