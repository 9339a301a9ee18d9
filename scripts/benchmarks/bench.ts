import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { loadGlove } from "./dataset.ts";
import { benchPipeline } from "./pipeline-cost.ts";
import { benchRawUsearch } from "./raw-usearch.ts";
import { benchManyTenants, benchServed, SEARCH_BATCH } from "./served.ts";
import { benchStartUp } from "./start-up.ts";
import { mebibytes, ms, percent, printTable, whole } from "./table.ts";

/**
 * Measures the compiled binary against raw USearch in the same run and prints tables; `--json FILE` keeps the figures.
 * Client and server share the machine's cores, so absolute figures are low; the ratios are what counts.
 */
const { values } = parseArgs({
	args: Bun.argv.slice(2),
	options: {
		vectors: { type: "string", multiple: true, default: ["19500"] },
		json: { type: "string" },
		quick: { type: "boolean", default: false },
	},
});

const EF_SEARCHES = [32, 64, 128, 256];
/** Recall@10 of 0.95 needs about this on the larger set. */
const EF_SEARCH = 128;
const results: Record<string, unknown> = { machine: { cpu: cpus()[0]?.model, cores: cpus().length }, bun: Bun.version };

for (const count of values.vectors.map(Number)) {
	const data = loadGlove(count);
	console.log(
		`\n${data.name}: ${whole(count)} vectors, ${data.dimension} dimensions, cosine, f16, M 16, ef_construction 128`,
	);
	const raw = benchRawUsearch(data, EF_SEARCHES);
	const served = await benchServed(data, EF_SEARCHES, EF_SEARCH);
	results[data.name] = { raw, served };

	printTable(
		["search, k 10", "recall@10", "per second", "p50 ms", "p99 ms", "CPU ms", "served / raw"],
		EF_SEARCHES.flatMap((efSearch, at) => {
			const bare = raw.searches[at]!;
			const overRest = served.searches[at]!;
			return [
				[
					`ef ${efSearch}  raw USearch, 1 thread`,
					bare.recall.toFixed(3),
					whole(bare.perSecond),
					ms(bare.p50Ms),
					ms(bare.p99Ms),
					ms(1000 / bare.perSecond),
					"",
				],
				[
					`ef ${efSearch}  REST, 1 worker, 16 connections`,
					overRest.recall.toFixed(3),
					whole(overRest.perSecond),
					ms(overRest.p50Ms),
					ms(overRest.p99Ms),
					ms(overRest.processorMsPerSearch),
					percent(overRest.perSecond / bare.perSecond),
				],
			];
		}).concat([
			[
				`ef ${EF_SEARCH}  REST, batches of ${SEARCH_BATCH}, 2 connections`,
				served.batched.recall.toFixed(3),
				whole(served.batched.perSecond),
				ms(served.batched.p50Ms),
				ms(served.batched.p99Ms),
				"",
				percent(served.batched.perSecond / raw.searches[EF_SEARCHES.indexOf(EF_SEARCH)]!.perSecond),
			],
		]),
	);
	printTable(
		["insert, 1,000 a request", "per second", "of raw"],
		[
			["raw USearch add, 1 thread", whole(raw.addsPerSecond), ""],
			[
				"REST, acknowledged: synced and searchable",
				whole(served.acknowledgedPerSecond),
				percent(served.acknowledgedPerSecond / raw.addsPerSecond),
			],
			[
				"REST, until the graph holds all",
				whole(served.indexedPerSecond),
				percent(served.indexedPerSecond / raw.addsPerSecond),
			],
		],
	);
	const idle = served.single;
	printTable(
		["search, 1 connection, ef 128", "recall@10", "per second", "p50 ms", "p99 ms", "p99 / idle p99"],
		[
			["idle", "", whole(idle.perSecond), ms(idle.p50Ms), ms(idle.p99Ms), ""],
			[
				`while ${whole(served.whileInserting.insertedPerSecond)} vectors/s go into another collection`,
				"",
				whole(served.whileInserting.perSecond),
				ms(served.whileInserting.p50Ms),
				ms(served.whileInserting.p99Ms),
				(served.whileInserting.p99Ms / idle.p99Ms).toFixed(1),
			],
			...served.filtered.map((row) => [
				`filter admits ${100 * row.selectivity} %, ${row.indexed ? "indexed" : "not indexed"}`,
				row.recall.toFixed(3),
				whole(row.perSecond),
				ms(row.p50Ms),
				ms(row.p99Ms),
				(row.p99Ms / idle.p99Ms).toFixed(1),
			]),
		],
	);
	printTable(
		["one node", ""],
		[
			["memory after all of this", mebibytes(served.residentBytes)],
			["start to ready with this data", `${served.restartMs.toFixed(0)} ms`],
			["first search after it", `${served.firstSearchMs.toFixed(0)} ms`],
		],
	);
}

const manyTenants = await benchManyTenants(values.quick ? 20 : 100, values.quick ? 3 : 10);
const startUp = await benchStartUp(values.quick ? 3 : 10);
const pipelines = [];
for (const tenantCount of values.quick ? [10] : [10, 1_000])
	pipelines.push({ tenantCount, ...(await benchPipeline(tenantCount)) });
Object.assign(results, { manyTenants, startUp, pipelines });
console.log("\nWithout a data set");
printTable(
	["", "per second", "p50 ms", "p99 ms"],
	[
		[
			`${values.quick ? 20 : 100} tenants, each inserting one vector at a time, durably`,
			whole(manyTenants.perSecond),
			ms(manyTenants.p50Ms),
			ms(manyTenants.p99Ms),
		],
		[
			`start to ready, empty (${mebibytes(startUp.residentBytes)} resident)`,
			"",
			ms(startUp.empty.p50Ms),
			ms(startUp.empty.p99Ms),
		],
		...pipelines.map((row) => [
			`the pipeline alone, ${whole(row.tenantCount)} tenants in turn`,
			whole(row.perSecond),
			row.p50Ms.toFixed(4),
			row.p99Ms.toFixed(4),
		]),
	],
);
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(results, undefined, "\t")}\n`);
