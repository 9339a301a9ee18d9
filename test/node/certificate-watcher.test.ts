import { afterAll, beforeEach, expect, test } from "bun:test";
import { EventEmitter } from "node:events";
import { mkdtempSync, renameSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TlsPem } from "../../src/api/rest/renewable-listener.ts";
import { CertificateWatcher } from "../../src/node/certificate-watcher.ts";
import { startHub } from "../../src/node/hub-process.ts";
import { reloadOnHangup } from "../../src/node/reload-signal.ts";
import { tlsPaths } from "../../src/node/tls-files.ts";
import { certificateNameAt, makeCertificate } from "../rest/tls-fixture.ts";
import { until, Workshop } from "./node-fixture.ts";

const workshop = new Workshop();
const folder = mkdtempSync(join(tmpdir(), "hive-tls-"));
afterAll(async () => {
	await workshop.clear();
	rmSync(folder, { recursive: true });
});

const OLD = makeCertificate("old");
const NEW = makeCertificate("new");
const paths = { cert: join(folder, "cert.pem"), key: join(folder, "key.pem") };
const write = (pem: Partial<TlsPem>) => {
	if (pem.cert !== undefined) writeFileSync(paths.cert, pem.cert);
	if (pem.key !== undefined) writeFileSync(paths.key, pem.key);
};

let applied: TlsPem[] = [];
let log: { level: string; facts: Record<string, unknown>; message: string }[] = [];
let apply: (pem: TlsPem) => Promise<void>;
beforeEach(() => {
	applied = [];
	log = [];
	apply = async (pem) => void applied.push(pem);
	rmSync(paths.cert, { force: true });
	rmSync(paths.key, { force: true });
	write(OLD);
});

function watch(): {
	readonly watcher: CertificateWatcher;
	readonly tick: () => void;
	readonly isStopped: () => boolean;
} {
	let tick = () => {};
	let isStopped = false;
	const write = (level: string) => (facts: unknown, message?: unknown) =>
		void log.push({ level, facts: facts as Record<string, unknown>, message: String(message) });
	const watcher = new CertificateWatcher({
		paths,
		current: OLD,
		apply: (pem) => apply(pem),
		log: { info: write("info"), error: write("error") } as never,
		every: (_, task) => {
			tick = task;
			return () => {
				isStopped = true;
			};
		},
	});
	return { watcher, tick: () => tick(), isStopped: () => isStopped };
}

test("a pair that is as it was is left alone, however often it is looked at and asked for", async () => {
	const { watcher } = watch();
	for (let round = 0; round < 3; round++) await watcher.look();
	write(OLD);
	await watcher.reload();
	for (let round = 0; round < 3; round++) await watcher.look();
	expect([applied, log]).toEqual([[], []]);
});

test("a renewed pair is taken once it has stayed as it is from one look to the next", async () => {
	const { watcher } = watch();
	await watcher.look();
	await watcher.look();
	write({ cert: NEW.cert });
	await watcher.look();
	write({ key: NEW.key });
	await watcher.look();
	expect(applied).toEqual([]);
	await watcher.look();
	expect(applied).toEqual([NEW]);
	await watcher.look();
	expect(applied).toHaveLength(1);
	expect(log).toEqual([
		{ level: "info", facts: { valid_to: expect.stringContaining("GMT") }, message: "the TLS certificate was replaced" },
	]);
});

test("the looks come by themselves", async () => {
	const { tick } = watch();
	write(NEW);
	tick();
	await until(() => {
		tick();
		return applied.length > 0;
	});
	expect(applied).toEqual([NEW]);
});

test("a file that takes another's place is noticed, also behind a link", async () => {
	const { watcher } = watch();
	const [first, second] = [join(folder, "first.pem"), join(folder, "second.pem")];
	writeFileSync(first, OLD.cert);
	writeFileSync(second, NEW.cert);
	unlinkSync(paths.cert);
	symlinkSync(first, paths.cert);
	await watcher.look();
	await watcher.look();
	const link = join(folder, "link.pem");
	symlinkSync(second, link);
	renameSync(link, paths.cert);
	write({ key: NEW.key });
	await watcher.look();
	await watcher.look();
	expect(applied).toEqual([NEW]);
});

test("when asked to, it takes what lies there at once", async () => {
	const { watcher } = watch();
	write(NEW);
	await watcher.reload();
	expect(applied).toEqual([NEW]);
});

test.each([
	["half renewed", { cert: NEW.cert }, "the key is not the certificate's"],
	["no PEM", { cert: "nonsense" }, ""],
	["a chain that breaks off", { cert: `${NEW.cert}-----BEGIN CERTIFICATE-----\nMIIB`, key: NEW.key }, ""],
	["a key that is none", { key: "nonsense" }, ""],
] as const)("a pair that is %s is logged once, and taken when it is mended", async (_, broken, reason) => {
	const { watcher } = watch();
	write(broken);
	for (let round = 0; round < 5; round++) await watcher.look();
	expect(applied).toEqual([]);
	expect(log).toMatchObject([
		{ level: "error", message: "the TLS certificate on disk can't be used; the one in use stays" },
	]);
	expect(String(log[0]!.facts.err)).toContain(reason);
	expect(JSON.stringify(log)).not.toContain("PRIVATE KEY");
	write(NEW);
	await watcher.look();
	await watcher.look();
	expect(applied).toEqual([NEW]);
});

test("files that are gone are logged once", async () => {
	const { watcher } = watch();
	unlinkSync(paths.key);
	for (let round = 0; round < 4; round++) await watcher.look();
	expect(log).toMatchObject([{ level: "error", facts: { err: { code: "ENOENT" } } }]);
	expect(applied).toEqual([]);
});

test("a pair that the server refuses is logged, and tried again when asked for", async () => {
	const { watcher } = watch();
	apply = async () => {
		throw new Error("no socket left");
	};
	write(NEW);
	await watcher.reload();
	expect(log).toMatchObject([{ level: "error", facts: { err: { message: "no socket left" } } }]);
	apply = async (pem) => void applied.push(pem);
	await watcher.reload();
	expect(applied).toEqual([NEW]);
});

test("once stopped it takes nothing, whoever asks", async () => {
	const { watcher, isStopped } = watch();
	write(NEW);
	const asked = watcher.reload();
	watcher.stop();
	await asked;
	await watcher.reload();
	await watcher.look();
	expect([applied, isStopped()]).toEqual([[], true]);
});

test("SIGHUP asks for a reload until the listener is taken away", () => {
	const source = new EventEmitter();
	let asked = 0;
	const leave = reloadOnHangup(source as never, async () => void asked++);
	source.emit("SIGHUP");
	source.emit("SIGHUP");
	leave();
	source.emit("SIGHUP");
	expect(asked).toBe(2);
});

test("TLS needs both files", () => {
	expect(tlsPaths({ cert: undefined, key: undefined })).toBeUndefined();
	expect(tlsPaths({ cert: "a", key: "b" })).toEqual({ cert: "a", key: "b" });
});

test("a hub of its own goes on with a renewed certificate, and answers who waits under the old one", async () => {
	const env = { HIVE_VECTOR_SERVER_TLS_CERT: paths.cert, HIVE_VECTOR_SERVER_TLS_KEY: paths.key };
	const hub = await startHub(workshop.settings(workshop.newDataDir(), env, "hub"), await workshop.parts());
	const port = Number(new URL(hub.url).port);
	expect(hub.url).toStartWith("https://");
	expect(await certificateNameAt(port)).toBe("old");
	write(NEW);
	const reloaded = hub.reloadTls!();
	const health = () =>
		fetch(`${hub.url}/api/v1/health`, { tls: { rejectUnauthorized: false }, keepalive: false } as RequestInit);
	const statuses: number[] = [];
	let isOver = false;
	const asking = (async () => {
		while (!isOver) statuses.push((await health()).status);
	})();
	await reloaded;
	isOver = true;
	await asking;
	expect(await certificateNameAt(port)).toBe("new");
	expect(new Set(statuses)).toEqual(new Set([200]));
	await hub.stop();
	expect(await health().catch((cause: unknown) => cause)).toBeInstanceOf(Error);
});

test("a hub without TLS has nothing to reload", async () => {
	const hub = await startHub(workshop.settings(workshop.newDataDir(), {}, "hub"), await workshop.parts());
	expect(hub.reloadTls).toBeUndefined();
	await hub.stop();
});
