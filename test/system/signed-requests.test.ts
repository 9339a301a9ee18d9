import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { hmacKey, type SigningOptions, signedMessage } from "../access/signing-fixture.ts";
import { OperationsNode } from "../operations/operations-fixture.ts";

const ROOT = resolve(import.meta.dir, "../..");
const GUIDE = readFileSync(join(ROOT, "docs/keys.md"), "utf8");
const folder = mkdtempSync(join(tmpdir(), "hive-signed-"));
let node: OperationsNode;
beforeAll(async () => {
	node = await OperationsNode.start();
	await node.asAdmin("tenants.create", { id: "acme" });
});
afterAll(async () => {
	await node.stop();
	rmSync(folder, { recursive: true });
});

async function signingKey(more = {}): Promise<string> {
	return (await node.newKey("acme", ["READ_WRITE"], { signing_required: true, ...more })).api_key;
}

interface SignedRequest {
	readonly method: string;
	readonly url: string;
	readonly headers: Headers;
	readonly body?: string;
}

async function signed(apiKey: string, path: string, options: SigningOptions = {}): Promise<SignedRequest> {
	const { body, method = body === undefined ? "GET" : "POST" } = options;
	const url = `${node.node.url}/api/v1${path}`;
	const created = Math.floor(Date.now() / 1000);
	const { headers } = await signedMessage(hmacKey(apiKey), created, { ...options, method, url });
	headers.delete("content-length");
	headers.set("authorization", `Bearer ${apiKey}`);
	return { method, url, headers, ...(body !== undefined && { body }) };
}

async function codeOf({ url, ...request }: SignedRequest): Promise<string | number> {
	const answer = await fetch(url, request);
	// biome-ignore lint/suspicious/noExplicitAny: an answer as it came
	const body = (await answer.json()) as any;
	return answer.ok ? answer.status : body.code;
}

describe("over a socket, a key that demands signatures", () => {
	test("is served when its requests are signed, once each", async () => {
		const key = await signingKey();
		const create = await signed(key, "/collections", { body: '{"name":"signed","dimension":2}' });
		expect(await codeOf(create)).toBe(201);
		expect(await codeOf(create)).toBe("AUTH_SIGNATURE_INVALID");
		expect(await codeOf(await signed(key, "/collections/signed"))).toBe(200);
		const parts = { fields: ["@method", "@authority", "@path", "@query"] };
		expect(await codeOf(await signed(key, "/collections/signed/vectors/1?with_vector=true", parts))).toBe(
			"VECTOR_NOT_FOUND",
		);
		const unsigned = { method: "GET", url: create.url, headers: new Headers({ authorization: `Bearer ${key}` }) };
		expect(await codeOf(unsigned)).toBe("AUTH_SIGNATURE_INVALID");
	});

	test("is not served another body, query, path or method than was signed", async () => {
		const key = await signingKey();
		const body = '{"name":"forged","dimension":2}';
		expect(await codeOf({ ...(await signed(key, "/collections", { body })), body: body.replace("2", "3") })).toBe(
			"AUTH_SIGNATURE_INVALID",
		);
		const read = await signed(key, "/collections/signed/vectors/1");
		for (const forged of [
			{ ...read, url: `${read.url}?with_vector=true` },
			{ ...read, url: read.url.replace("vectors/1", "vectors/2") },
			{ ...read, method: "DELETE" },
			// A body that was not announced when it was signed.
			{ ...(await signed(key, "/collections", { method: "POST" })), body },
		]) {
			expect(await codeOf(forged)).toBe("AUTH_SIGNATURE_INVALID");
		}
		const { collections } = await node.asAdmin("collections.list", {}, "acme");
		expect(collections.map(({ name }: { name: string }) => name)).not.toContain("forged");
	});
});

describe("the guide's clients", () => {
	const blocks = (language: string, section: string): string[] =>
		[...GUIDE.slice(GUIDE.indexOf(section)).matchAll(new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``, "g"))].map(
			([, code]) => code!,
		);
	const run = async (command: string[], input: string, cwd: string, apiKey: string) => {
		const child = Bun.spawn(command, {
			cwd,
			stdin: new Blob([input]),
			stdout: "pipe",
			stderr: "pipe",
			env: { ...process.env, HIVE_VECTOR_URL: node.node.url, HIVE_VECTOR_API_KEY: apiKey },
		});
		const [stdout, stderr, code] = await Promise.all([
			new Response(child.stdout).text(),
			new Response(child.stderr).text(),
			child.exited,
		]);
		expect({ stderr, code }).toEqual({ stderr: expect.any(String), code: 0 });
		return stdout;
	};

	test("in TypeScript is served", async () => {
		const output = await run(
			[process.execPath, "run", "-"],
			blocks("ts", "### In TypeScript")[0]!,
			ROOT,
			await signingKey(),
		);
		expect(output).toMatch(/^201 .*"full_name":"acme:docs".*\n200 /);
	});

	test("with openssl and curl is served", async () => {
		const [makeKeys, script] = blocks("sh", "### With openssl and curl");
		await run(["sh", "-eu"], makeKeys!, folder, "");
		const signing_public_key = readFileSync(join(folder, "client.pub.pem"), "utf8");
		const key = await signingKey({ signing_public_key });
		// A script of its own: its here-document needs the shell's standard input.
		writeFileSync(join(folder, "signed.sh"), script!);
		const output = await run(["sh", "-eu", "signed.sh"], "", folder, key);
		expect(JSON.parse(output)).toMatchObject({ full_name: "acme:notes" });
	});
});
