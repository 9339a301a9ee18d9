import type { Log } from "../../observe/log.ts";
import type { Pipeline } from "../../operations/pipeline-types.ts";
import type { Mount, SocketEndpoint } from "../wire/mount.ts";
import { ChangeWatch, type TenantMark } from "./change-watch.ts";
import type { DocumentRules } from "./documents.ts";
import { GraphqlEngine } from "./graphql-engine.ts";
import { GraphqlHttp } from "./graphql-http.ts";
import { GRAPHQL_LIMITS } from "./graphql-limits.ts";
import { GraphqlSockets } from "./graphql-sockets.ts";
import type { GraphqlOperation } from "./schema.ts";

export interface GraphqlParts {
	readonly operations: readonly GraphqlOperation[];
	readonly pipeline: Pick<Pipeline, "admit">;
	readonly rules: DocumentRules;
	readonly mark: TenantMark;
	readonly timeoutSeconds: number;
	readonly log: Log;
}

/** What answers once somebody asks. */
export interface GraphqlService {
	readonly answer: NonNullable<Mount["answer"]>;
	readonly open: SocketEndpoint["open"];
}

export function createGraphqlService(parts: GraphqlParts): GraphqlService {
	const { operations, pipeline, rules, mark, timeoutSeconds, log } = parts;
	const engine = new GraphqlEngine({
		operations,
		rules,
		subscriptions: new ChangeWatch({ mark, nextLook: (signal) => later(GRAPHQL_LIMITS.lookIntervalMs, signal) }),
	});
	const http = new GraphqlHttp({ pipeline, engine, log, timeoutSeconds });
	const sockets = new GraphqlSockets({ pipeline, engine, log });
	return { answer: (call) => http.answer(call), open: (call) => sockets.open(call) };
}

function later(delayMs: number, signal: AbortSignal): Promise<void> {
	return new Promise((resolve) => {
		const end = (): void => {
			clearTimeout(timer);
			signal.removeEventListener("abort", end);
			resolve();
		};
		const timer = setTimeout(end, delayMs);
		signal.addEventListener("abort", end);
		if (signal.aborted) end();
	});
}
