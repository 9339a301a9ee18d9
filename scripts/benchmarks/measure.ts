/** What a run of many equal calls showed. Times in milliseconds. */
export interface Timing {
	readonly callCount: number;
	readonly perSecond: number;
	readonly p50Ms: number;
	readonly p99Ms: number;
}

export function summarise(latenciesMs: readonly number[], wallMs: number): Timing {
	const sorted = [...latenciesMs].sort((a, b) => a - b);
	const at = (share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;
	return { callCount: sorted.length, perSecond: (1000 * sorted.length) / wallMs, p50Ms: at(0.5), p99Ms: at(0.99) };
}

/** Calls one after another, on this thread. */
export function timeCalls(callCount: number, call: (index: number) => void): Timing {
	const latencies: number[] = [];
	const startedAt = performance.now();
	for (let index = 0; index < callCount; index++) {
		const callAt = performance.now();
		call(index);
		latencies.push(performance.now() - callAt);
	}
	return summarise(latencies, performance.now() - startedAt);
}

/** Keeps `concurrency` calls under way until `callCount` have been made, or `until` says stop. */
export async function timeConcurrentCalls(
	callCount: number,
	concurrency: number,
	call: (index: number) => Promise<void>,
	until: () => boolean = () => false,
): Promise<Timing> {
	const latencies: number[] = [];
	let next = 0;
	const startedAt = performance.now();
	await Promise.all(
		Array.from({ length: concurrency }, async () => {
			while (next < callCount && !until()) {
				const index = next++;
				const callAt = performance.now();
				await call(index);
				latencies.push(performance.now() - callAt);
			}
		}),
	);
	return summarise(latencies, performance.now() - startedAt);
}

export function recallOf(found: readonly number[], wanted: ReadonlySet<number>): number {
	return wanted.size === 0 ? 1 : found.filter((row) => wanted.has(row)).length / wanted.size;
}

export const mean = (numbers: readonly number[]): number =>
	numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
