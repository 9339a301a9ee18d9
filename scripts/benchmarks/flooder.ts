import { setPriority } from "node:os";

/** What the flooding tenant is to do; handed over as JSON in the first argument. */
export interface FloodOrder {
	readonly kind: FloodKind;
	/** `http://127.0.0.1:7801` */
	readonly url: string;
	readonly key: string;
	readonly collection: string;
	readonly dimension: number;
	readonly seconds: number;
	/** Calls a second it tries to begin; none begins while all connections are busy. */
	readonly perSecond: number;
	readonly connections: number;
}

/** `inserts`: ten vectors a call. `bulk inserts`: two megabytes a call, some eight hundred vectors. `imports`: streams of four times that. */
export const FLOOD_KINDS = ["searches", "inserts", "bulk inserts", "imports"] as const;
export type FloodKind = (typeof FLOOD_KINDS)[number];

/** What came of it, printed as JSON. */
export interface FloodResult {
	readonly perSecond: number;
	readonly bytesPerSecond: number;
	/** Answers by status. */
	readonly statuses: Readonly<Record<string, number>>;
	/** Of those refused: how many named a time to come back, and how long the refusal took. */
	readonly refusedWithRetryAfter: number;
	readonly refusalP99Ms: number;
}

const BODY_BYTES = { inserts: 26 * 1024, "bulk inserts": 2 * 1024 * 1024, imports: 8 * 1024 * 1024 } as const;
/** Bodies differ, up to so many bytes of them. */
const BODIES_BYTES_MAX = 48 * 1024 * 1024;
const BODY_COUNT_MAX = 200;

async function flood(order: FloodOrder): Promise<FloodResult> {
	const bodies = order.kind === "searches" ? searchBodies(order) : vectorBodies(order.kind, order.dimension);
	const path = { searches: "search", inserts: "vectors", "bulk inserts": "vectors", imports: "import" }[order.kind];
	const address = `${order.url}/api/v1/collections/${order.collection}/${path}`;
	const contentType = order.kind === "imports" ? "application/x-ndjson" : "application/json";
	const statuses: Record<string, number> = {};
	const refusalsMs: number[] = [];
	let refusedWithRetryAfter = 0;
	let sentBytes = 0;
	const startedAt = performance.now();
	const endAt = startedAt + order.seconds * 1000;
	let begun = 0;

	const call = async (index: number): Promise<void> => {
		const body = bodies[index % bodies.length] as Uint8Array<ArrayBuffer>;
		const callAt = performance.now();
		let status = "broken";
		try {
			const answer = await fetch(address, {
				method: "POST",
				headers: { "x-api-key": order.key, "content-type": contentType },
				body,
				signal: AbortSignal.timeout(60_000),
			});
			const text = await answer.text();
			// An import answers 200 before it has read anything; what stopped it stands in its last line.
			status = /"code":"OVERLOADED"/.test(text) ? "503" : String(answer.status);
			if (status === "503") {
				refusalsMs.push(performance.now() - callAt);
				if (answer.headers.has("retry-after") || text.includes("retry_after_seconds")) refusedWithRetryAfter++;
			} else if (answer.ok) sentBytes += body.byteLength;
		} catch {
			await Bun.sleep(10);
		}
		statuses[status] = (statuses[status] ?? 0) + 1;
	};
	await Promise.all(
		Array.from({ length: order.connections }, async () => {
			for (;;) {
				const index = begun++;
				const dueAt = startedAt + (1000 * index) / order.perSecond;
				if (dueAt > endAt) return;
				const early = dueAt - performance.now();
				if (early > 0) await Bun.sleep(early);
				if (performance.now() > endAt) return;
				await call(index);
			}
		}),
	);
	const seconds = (performance.now() - startedAt) / 1000;
	const served = statuses["200"] ?? 0;
	refusalsMs.sort((a, b) => a - b);
	return {
		perSecond: served / seconds,
		bytesPerSecond: sentBytes / seconds,
		statuses,
		refusedWithRetryAfter,
		refusalP99Ms: refusalsMs[Math.floor(0.99 * refusalsMs.length)] ?? 0,
	};
}

function searchBodies({ dimension }: FloodOrder): Uint8Array[] {
	return Array.from({ length: 200 }, () => Buffer.from(`{"vector":${vectorJson(dimension)},"limit":10}`));
}

function vectorBodies(kind: keyof typeof BODY_BYTES, dimension: number): Uint8Array[] {
	let id = 0;
	const count = Math.min(BODY_COUNT_MAX, BODIES_BYTES_MAX / BODY_BYTES[kind]);
	return Array.from({ length: count }, () => {
		const rows: string[] = [];
		for (let bytes = 0; bytes < BODY_BYTES[kind]; bytes += (rows.at(-1) as string).length + 1) {
			rows.push(`{"id":${id},"vector":${vectorJson(dimension)},"payload":{"number":${id},"text":"vector ${id}"}}`);
			id++;
		}
		return Buffer.from(kind === "imports" ? rows.join("\n") : `{"vectors":[${rows.join(",")}]}`);
	});
}

export const vectorJson = (dimension: number): string =>
	`[${Array.from({ length: dimension }, () => Math.fround(Math.random() * 2 - 1)).join(",")}]`;

if (import.meta.main) {
	// It stands for other machines: it must not take the processor from the node.
	setPriority(19);
	const result = await flood(JSON.parse(Bun.argv[2] as string) as FloodOrder);
	console.log(JSON.stringify(result));
}
