import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { generateKeyPair, privateKeyToProtobuf } from "@libp2p/crypto/keys";
import { loadPeerIdentity } from "../../../src/cluster/peer/peer-identity.ts";
import { failureOf } from "./peer-rig.ts";

let folder: string;
beforeEach(() => {
	folder = mkdtempSync(join(tmpdir(), "hive-identity-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

describe("the identity of a node", () => {
	test("is made once and stays with its data folder, readable by nobody else", async () => {
		const path = join(folder, "node.key");
		const first = await loadPeerIdentity(path);
		const again = await loadPeerIdentity(path);
		expect(again.peerId).toBe(first.peerId);
		expect(first.peerId).toStartWith("12D3KooW");
		expect(statSync(path).mode & 0o777).toBe(0o600);
		expect((await loadPeerIdentity(join(folder, "other.key"))).peerId).not.toBe(first.peerId);
	});

	test("that is damaged is never replaced by another", async () => {
		const path = join(folder, "node.key");
		await loadPeerIdentity(path);
		const whole = readFileSync(path, "utf8");
		const otherKind = Buffer.from(privateKeyToProtobuf(await generateKeyPair("secp256k1"))).toString("base64");
		for (const text of ["", "garbage", whole.slice(0, 40), otherKind]) {
			writeFileSync(path, text);
			expect(await failureOf(loadPeerIdentity(path))).toMatchObject({ code: "VALIDATION_FAILED" });
			expect(readFileSync(path, "utf8")).toBe(text);
		}
	});

	test("that can't be read is not taken for one that is missing", async () => {
		expect(await failureOf(loadPeerIdentity(folder))).toMatchObject({ code: "EISDIR" });
	});
});
