/** One line of a metric's export. */
export interface Sample {
	readonly metricName?: string;
	readonly labels: Readonly<Record<string, string | number>>;
	readonly value: number;
}

/** What the registry asks of a metric at each scrape. */
export interface Exported {
	readonly name: string;
	get(): Promise<{ readonly name: string; readonly help: string; readonly type: string; readonly values: Sample[] }>;
}

const SEPARATOR = "\0";

/**
 * A counter with labels. Counting is one map look-up; label objects are made only at a scrape, because the registry's
 * own counters build and check one for every count.
 */
export class LabelledCounter implements Exported {
	private readonly counts = new Map<string, { value: number }>();

	constructor(
		readonly name: string,
		private readonly help: string,
		private readonly labelNames: readonly string[],
	) {
		// One that has no labels is there from the start, at 0: what has yet to begin is no gap.
		if (labelNames.length === 0) this.counts.set("", { value: 0 });
	}

	/** @param labelValues one for each label name, in their order */
	increment(...labelValues: readonly string[]): void {
		this.add(1, ...labelValues);
	}

	/** @param labelValues one for each label name, in their order */
	add(amount: number, ...labelValues: readonly string[]): void {
		const key = labelValues.join(SEPARATOR);
		const count = this.counts.get(key);
		if (count === undefined) this.counts.set(key, { value: amount });
		else count.value += amount;
	}

	/** Removes every series whose first label has this value. */
	forget(firstLabelValue: string): void {
		for (const key of this.counts.keys()) {
			if (key === firstLabelValue || key.startsWith(`${firstLabelValue}${SEPARATOR}`)) this.counts.delete(key);
		}
	}

	async get() {
		const values = [...this.counts].map(([key, { value }]) => ({
			labels: labelled(this.labelNames, key.split(SEPARATOR)),
			value,
		}));
		return { name: this.name, help: this.help, type: "counter", values };
	}
}

/** Upper bounds in seconds, from the pipeline's microseconds to the slowest hub. */
const BUCKET_SECONDS = [
	0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30,
] as const;

interface Distribution {
	/** Not cumulative; the last is for what passes every bound. */
	readonly bucketCounts: Float64Array;
	sumSeconds: number;
}

/** A histogram of durations with labels. */
export class DurationHistogram implements Exported {
	private readonly distributions = new Map<string, Distribution>();

	constructor(
		readonly name: string,
		private readonly help: string,
		private readonly labelNames: readonly string[],
	) {}

	/** @param labelValues one for each label name, in their order */
	observe(seconds: number, ...labelValues: readonly string[]): void {
		const key = labelValues.length === 1 ? labelValues[0]! : labelValues.join(SEPARATOR);
		let distribution = this.distributions.get(key);
		if (distribution === undefined) {
			distribution = { bucketCounts: new Float64Array(BUCKET_SECONDS.length + 1), sumSeconds: 0 };
			this.distributions.set(key, distribution);
		}
		let bucket = 0;
		while (bucket < BUCKET_SECONDS.length && seconds > BUCKET_SECONDS[bucket]!) bucket++;
		distribution.bucketCounts[bucket]!++;
		distribution.sumSeconds += seconds;
	}

	async get() {
		const values: Sample[] = [];
		for (const [key, { bucketCounts, sumSeconds }] of this.distributions) {
			const labels = labelled(this.labelNames, key.split(SEPARATOR));
			let count = 0;
			for (const [bucket, bucketCount] of bucketCounts.entries()) {
				count += bucketCount;
				const le = BUCKET_SECONDS[bucket] ?? "+Inf";
				values.push({ metricName: `${this.name}_bucket`, labels: { ...labels, le }, value: count });
			}
			values.push({ metricName: `${this.name}_sum`, labels, value: sumSeconds });
			values.push({ metricName: `${this.name}_count`, labels, value: count });
		}
		return { name: this.name, help: this.help, type: "histogram", values };
	}
}

/** A gauge that is read at the scrape. */
export class ProbedGauge implements Exported {
	constructor(
		readonly name: string,
		private readonly help: string,
		private readonly probe: () => Iterable<Sample>,
	) {}

	async get() {
		return { name: this.name, help: this.help, type: "gauge", values: [...this.probe()] };
	}
}

function labelled(names: readonly string[], values: readonly string[]): Record<string, string> {
	return Object.fromEntries(names.map((name, index) => [name, values[index]!]));
}
