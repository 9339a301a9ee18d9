import { describe, expect, test } from "bun:test";
import { newApiKey, newServiceKey, systemRandom } from "../../src/base/ids.ts";
import { createLog, type Log, type LogOptions, maskSecrets } from "../../src/observe/log.ts";

async function logged(options: Partial<LogOptions>, write: (log: Log) => void): Promise<readonly string[]> {
	const lines: string[] = [];
	write(
		await createLog({ level: "info", format: "json", colors: false, write: (line) => lines.push(line), ...options }),
	);
	return lines;
}

describe("a log line never holds a key, wherever it stood:", () => {
	const secrets = [newApiKey(systemRandom, "live"), newApiKey(systemRandom, "test"), newServiceKey(systemRandom)];
	for (const format of ["json", "pretty"] as const) {
		test(format, async () => {
			for (const secret of secrets) {
				const lines = await logged({ format }, (log) => {
					log.info(`key ${secret} was used`);
					log.warn({ authorization: `Bearer ${secret}`, deep: { list: [secret] } }, "refused");
					log.error({ err: new Error(`no ${secret}`, { cause: new Error(secret) }) }, "failed");
					log.info({ [secret]: 1 }, "as a name");
				});
				expect(lines).toHaveLength(4);
				expect(lines.join("")).not.toContain(secret);
				expect(lines.join("")).not.toContain(secret.slice(-24));
			}
		});
	}
	test("a shortened one and a password in an address", () => {
		expect(maskSecrets("hh_live_abc svc_x key_0123456789abcdef")).toBe(
			"hh_live_******** svc_******** key_0123456789abcdef",
		);
		expect(maskSecrets("postgres://hive:secret@db/x")).toBe("postgres://hive:********@db/x");
		expect(maskSecrets("http://127.0.0.1:7801/a@b")).toBe("http://127.0.0.1:7801/a@b");
	});
});

test("a JSON line has level, time, facts and message", async () => {
	const [line] = await logged({}, (log) => log.info({ tenant_id: "acme" }, "created"));
	const { time, ...rest } = JSON.parse(line!);
	expect(rest).toEqual({ level: "info", tenant_id: "acme", msg: "created" });
	expect(new Date(time).toISOString()).toBe(time);
});

test("a pretty line is one line for people", async () => {
	const lines = await logged({ format: "pretty" }, (log) => log.warn({ tenant_id: "acme" }, "suspended"));
	expect(lines).toHaveLength(1);
	expect(lines[0]).toMatch(/^\[\d\d:\d\d:\d\d\.\d{3}\] WARN: suspended \{"tenant_id":"acme"\}\n$/);
});

test("what is below the level is not written", async () => {
	expect(await logged({ level: "error" }, (log) => log.warn("no"))).toHaveLength(0);
});
