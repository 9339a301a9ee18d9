import { z } from "zod";
import { HiveError } from "../base/errors.ts";
import { type AnyOperation, defineOperation } from "./node-services.ts";

const live = defineOperation({
	name: "health.live",
	summary: "Tell that the process answers",
	scope: "public",
	permissions: [],
	input: z.strictObject({}),
	output: z.strictObject({ status: z.literal("ok"), version: z.string(), uptime_seconds: z.int() }),
	rest: { method: "GET", path: "/health", root: true },
	async run({ services }) {
		const uptimeMs = services.clock.nowMs() - services.startedAtMs;
		return { status: "ok", version: services.version, uptime_seconds: Math.floor(uptimeMs / 1000) };
	},
});

const ready = defineOperation({
	name: "health.ready",
	summary: "Tell whether the node takes requests: 200, or 503 while it starts or drains",
	scope: "public",
	permissions: [],
	input: z.strictObject({}),
	output: z.strictObject({
		ready: z.literal(true),
		state: z.literal("ready"),
		checks: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
	}),
	rest: { method: "GET", path: "/ready", root: true },
	async run({ services }) {
		const { state, checks } = services.readiness();
		if (state !== "ready") {
			throw new HiveError(
				state === "draining" ? "NODE_DRAINING" : "OVERLOADED",
				state === "draining" ? "the node is draining" : "the node is starting",
				{ ready: false, state, checks },
			);
		}
		return { ready: true, state, checks };
	},
});

const metrics = defineOperation({
	name: "metrics.read",
	summary: "Prometheus metrics, for an ADMIN key or the metrics token",
	scope: "admin",
	permissions: ["ADMIN"],
	input: z.strictObject({}),
	output: z.string(),
	rest: { method: "GET", path: "/metrics", root: true, answer: "text" },
	admits: (services, authorization) => services.metricsAdmits(authorization),
	run: ({ services }) => services.metricsText(),
});

export const HEALTH_OPERATIONS: readonly AnyOperation[] = [live, ready, metrics];
