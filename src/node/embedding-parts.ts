import { setTimeout as sleep } from "node:timers/promises";
import { EMBEDDING_LIMITS } from "../embedding/embedding-limits.ts";
import { OpenAiEmbedder } from "../embedding/openai-embedder.ts";
import type { TextEmbedder } from "../embedding/text-embedder.ts";
import type { ProcessParts } from "./process-parts.ts";
import type { Settings } from "./settings.ts";

/** What makes vectors of texts on this node; undefined: nothing does. No call is made yet. */
export function openEmbedder(settings: Settings, { clock, random, log }: ProcessParts): TextEmbedder | undefined {
	const { provider, url, model, api_key, dimension } = settings.values.embedding;
	// The settings have been held against each other: with the provider both are there.
	if (provider !== "openai" || url === undefined || model === undefined) return undefined;
	return new OpenAiEmbedder({
		url,
		apiKey: api_key,
		model,
		dimension,
		transport: (request) => fetch(request),
		attemptMs: EMBEDDING_LIMITS.attemptMs,
		clock,
		random,
		sleep: (ms, signal) => sleep(ms, undefined, { signal, ref: false }),
		log: (level, message, facts) => log[level](facts, message),
	});
}
