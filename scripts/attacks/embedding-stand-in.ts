/** An embeddings endpoint as the node asks it. To it all texts mean the same, so no answer depends on whose words were looked for. */
export class EmbeddingStandIn {
	readonly #server: Bun.Server<undefined>;

	constructor(vector: readonly number[]) {
		this.#server = Bun.serve({
			hostname: "127.0.0.1",
			port: 0,
			fetch: async (request) => {
				const { input, model } = (await request.json()) as { input: readonly string[]; model: string };
				const data = input.map((_, index) => ({ object: "embedding", index, embedding: vector }));
				return Response.json({ object: "list", data, model, usage: { prompt_tokens: 1, total_tokens: 1 } });
			},
		});
	}

	/** What makes it a node's provider. */
	get env(): Readonly<Record<string, string>> {
		return {
			HIVE_VECTOR_EMBEDDING_PROVIDER: "openai",
			HIVE_VECTOR_EMBEDDING_URL: `http://127.0.0.1:${this.#server.port}/v1`,
			HIVE_VECTOR_EMBEDDING_MODEL: "stand-in",
		};
	}

	async stop(): Promise<void> {
		await this.#server.stop(true);
	}
}
