import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, rmSync } from "node:fs";
import { join } from "node:path";
import { builtBinary, ROOT } from "./binary.ts";

// As root plainly, otherwise as root of a user namespace, where the system allows one.
const WAYS = [
	["unshare", "--mount"],
	["unshare", "--map-root-user", "--mount"],
] as const;
const mountNamespace =
	process.platform === "linux" && Bun.which("unshare") !== null
		? WAYS.find((way) => Bun.spawnSync([...way, "mount", "-t", "tmpfs", "none", "/tmp"], { stderr: "ignore" }).success)
		: undefined;

// In a mount namespace of its own: the work tree with its sources and node_modules is hidden under an empty file system, and
// so is the home; /tmp is read-only, and no program may be run from it. Only the copied binary is left, and its data folder.
const SCRIPT = `
set -eu
mount -t tmpfs -o ro,noexec none "$ROOT"
mount -t tmpfs -o ro,noexec none /tmp
mount -t tmpfs -o ro,noexec none "$HOME_FOLDER"
[ ! -e "$ROOT/node_modules" ] && [ ! -e "$ROOT/src" ]
! touch /tmp/x 2>/dev/null
cd "$PLACE"
hive() { env -i HOME="$HOME_FOLDER" PATH=/usr/bin:/bin HIVE_VECTOR_URL="$url" ./hive-vector "$@"; }
start() {
	: >log
	env -i HOME="$HOME_FOLDER" PATH=/usr/bin:/bin ./hive-vector serve --port 0 --data-dir "$PLACE/data" 2>log >/dev/null &
	node=$!
	trap 'kill -9 $node 2>/dev/null || true' EXIT
	url=
	while [ -z "$url" ]; do
		kill -0 $node || { cat log >&2; exit 1; }
		url=$(grep -o 'http://127.0.0.1:[0-9]*' log | head -1 || true)
		[ -n "$url" ] || sleep 0.02
	done
}
stop() {
	kill -TERM $node
	wait $node
	trap - EXIT
}
start
# One collection that is searched exactly and one with a graph: both addons are at work.
hive collection create plain --dimension 2 --json >&2
hive collection create graph --dimension 2 --index hnsw --json >&2
for name in plain graph; do
	printf '%s\\n' '{"id":1,"vector":[1,0]}' '{"id":2,"vector":[0,1]}' '{"id":3,"vector":[0.9,0.1]}' | hive import "$name" - --json >&2
	hive search "$name" --vector '[1,0]' --limit 2 --json
done
stop
start
for name in plain graph; do
	hive search "$name" --vector '[1,0]' --limit 2 --json
done
grep -o "$PLACE/data/native/[0-9a-f]*.node" /proc/$node/maps | sort -u | wc -l
stop
`;

describe("the binary alone", () => {
	let place = "";
	beforeAll(async () => {
		const binary = await builtBinary();
		place = mkdtempSync("/var/tmp/hive-alone-");
		copyFileSync(binary, join(place, "hive-vector"));
	}, 120_000);
	afterAll(() => rmSync(place, { recursive: true, force: true }));

	const title = mountNamespace
		? "starts, stores, restarts and searches with node_modules, sources and home hidden and /tmp read-only"
		: "starts with everything else hidden (skipped: this user may not make a mount namespace)";
	test.skipIf(mountNamespace === undefined)(title, async () => {
		const child = Bun.spawn([...mountNamespace!, "bash", "-c", SCRIPT], {
			env: { PATH: process.env.PATH ?? "/usr/bin:/bin", ROOT, PLACE: place, HOME_FOLDER: process.env.HOME ?? "/root" },
			stdout: "pipe",
			stderr: "pipe",
		});
		const [stdout, stderr, code] = await Promise.all([
			new Response(child.stdout).text(),
			new Response(child.stderr).text(),
			child.exited,
		]);
		if (code !== 0) throw new Error(stderr);
		const printed = stdout.trimEnd().split("\n");
		const addonCount = printed.pop();
		expect(printed.map((answer) => JSON.parse(answer).results.map((hit: { id: number }) => hit.id))).toEqual(
			Array(4).fill([1, 3]),
		);
		expect(addonCount).toBe("2");
	});
});
