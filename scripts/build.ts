import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import type { BunPlugin } from "bun";

/**
 * Builds the binary. Node's native addons are embedded as plain files and unpacked by `src/storage/native-addons.ts`,
 * because the bundler leaves them at their path on the build machine; only the packages' own loaders are replaced.
 */
const ROOT = resolve(import.meta.dir, "..");

/** Prebuilt addons by `<platform>-<arch>`; Linux: glibc. */
const PREBUILDS: Readonly<Record<string, { readonly level: string; readonly usearch: string }>> = {
	"linux-x64": { level: "linux-x64/classic-level.node", usearch: "linux-x64/usearch.node" },
	"linux-arm64": { level: "linux-arm64/classic-level.armv8.node", usearch: "linux-arm64/usearch.node" },
	"darwin-x64": { level: "darwin-x64+arm64/classic-level.node", usearch: "darwin-arm64+x64/usearch.node" },
	"darwin-arm64": { level: "darwin-x64+arm64/classic-level.node", usearch: "darwin-arm64+x64/usearch.node" },
};

const { values: options } = parseArgs({
	args: Bun.argv.slice(2),
	options: { outfile: { type: "string", default: join(ROOT, "dist", "hive-vector") } },
});

const host = `${process.platform}-${process.arch}`;
const prebuilds = PREBUILDS[host];
if (prebuilds === undefined)
	throw new Error(`there are no prebuilt addons for ${host}; known are ${Object.keys(PREBUILDS).join(", ")}`);

const outfile = resolve(options.outfile);
mkdirSync(dirname(outfile), { recursive: true });
// Built beside its place and renamed into it: a running binary can't be overwritten, and nobody sees half of one. In a folder
// of its own, because the file's name stands in every stack trace of the binary.
const folder = mkdtempSync(join(dirname(outfile), ".build-"));
const temporary = join(folder, "hive-vector");
try {
	await Bun.build({
		// The workers are entries of their own, so that they lie beside the main one, where the binary looks for them.
		entrypoints: ["hive-vector.ts", "shard-worker.ts", "body-worker.ts"].map((name) => join(ROOT, "bin", name)),
		root: join(ROOT, "bin"),
		target: "bun",
		// The command framework asks for the compiler only to run commands from TypeScript sources: a tenth of the binary.
		external: ["typescript"],
		format: "esm",
		minify: true,
		bytecode: true,
		loader: { ".node": "file" },
		compile: { outfile: temporary, autoloadDotenv: false, autoloadBunfig: false },
		plugins: [nativeAddons(prebuilds)],
	});
	renameSync(temporary, outfile);
} finally {
	rmSync(folder, { recursive: true, force: true });
}
console.log(`${outfile}  ${(statSync(outfile).size / 1e6).toFixed(1)} MB`);

function nativeAddons(addons: { readonly level: string; readonly usearch: string }): BunPlugin {
	return {
		name: "native-addons",
		setup(build) {
			build.onLoad({ filter: /\/node_modules\/classic-level\/binding\.js$/ }, ({ path }) => ({
				loader: "js",
				contents: replaced(path, [["require('node-gyp-build')(__dirname)", embedded("classic-level", addons.level)]]),
			}));
			build.onLoad({ filter: /\/node_modules\/usearch\/javascript\/dist\/esm\/usearch\.js$/ }, ({ path }) => ({
				loader: "js",
				contents: replaced(path, [
					['import build from "node-gyp-build";', ""],
					['import * as path from "path";', ""],
					['import { existsSync } from "fs";', ""],
					['import { getFileName, getRoot } from "bindings";', ""],
					["build(getBuildDir(getDirName()))", embedded("usearch", addons.usearch)],
					// From here to the end the file only looks for the addon on disk.
					[/\n\/\/ utility functions to help find native builds\n[\s\S]*$/, "\n"],
				]),
			}));
		},
	};
}

/** An expression that is the addon's exports. */
function embedded(packageName: string, file: string): string {
	const addon = join(ROOT, "node_modules", packageName, "prebuilds", file);
	const sha256 = new Bun.CryptoHasher("sha256").update(readFileSync(addon)).digest("hex");
	const loader = JSON.stringify(join(ROOT, "src/storage/native-addons.ts"));
	return `require(${loader}).loadEmbeddedAddon(require(${JSON.stringify(addon)}), "${sha256}")`;
}

/** A build that goes on without a replacement works on this machine and fails on every other: better none. */
function replaced(path: string, replacements: readonly (readonly [from: string | RegExp, to: string])[]): string {
	return replacements.reduce(
		(text, [from, to]) => {
			const parts = text.split(from);
			if (parts.length !== 2)
				throw new Error(`${path} is not what the build expects: ${from} is there ${parts.length - 1} times`);
			return parts.join(to);
		},
		readFileSync(path, "utf8"),
	);
}
