import { writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { parseArgs } from "node:util";
import { benchPipeline } from "./pipeline-cost.ts";
import { printTable, whole } from "./table.ts";

/**
 * What access costs a request: authenticate, authorise, limits, turn, meter, with few and with many tenants in turn. Keys
 * are cached, as they are for nearly every request.
 */
const { values } = parseArgs({
	args: Bun.argv.slice(2),
	options: {
		tenants: { type: "string", multiple: true, default: ["10", "10000"] },
		calls: { type: "string", default: "200000" },
		json: { type: "string" },
	},
});

const results = [];
for (const tenantCount of values.tenants.map(Number)) {
	results.push({ tenantCount, ...(await benchPipeline(tenantCount, Number(values.calls))) });
}
console.log("\nThe pipeline alone, one call after another, tenants in turn");
printTable(
	["tenants", "per second", "p50 µs", "p99 µs"],
	results.map(({ tenantCount, perSecond, p50Ms, p99Ms }) => [
		whole(tenantCount),
		whole(perSecond),
		(1000 * p50Ms).toFixed(1),
		(1000 * p99Ms).toFixed(1),
	]),
);
if (values.json !== undefined) {
	const machine = { cpu: cpus()[0]?.model, cores: cpus().length };
	writeFileSync(values.json, `${JSON.stringify({ machine, bun: Bun.version, results }, undefined, "\t")}\n`);
}
