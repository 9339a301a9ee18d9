import { afterAll, beforeAll, expect, test } from "bun:test";
import { Webhook } from "standardwebhooks";
import { OperationsNode } from "./operations-fixture.ts";

const SECRET = `whsec_${Buffer.alloc(24, 7).toString("base64")}`;
let listening: OperationsNode;
let closed: OperationsNode;

beforeAll(async () => {
	listening = await OperationsNode.start({ HIVE_VECTOR_HUB_WEBHOOK_SECRET: SECRET });
	closed = await OperationsNode.start();
});

afterAll(async () => {
	await listening.stop();
	await closed.stop();
});

const push = (type: string, data: object): string =>
	JSON.stringify({ type, timestamp: new Date().toISOString(), data });

let sentCount = 0;
function signed(body: string, id = `msg_${sentCount++}`): Record<string, string> {
	const sent = new Date();
	return {
		"webhook-id": id,
		"webhook-timestamp": String(Math.floor(sent.getTime() / 1_000)),
		"webhook-signature": new Webhook(SECRET).sign(id, sent, body),
	};
}

async function post(
	node: OperationsNode,
	headers: Record<string, string>,
	body?: string,
	path = "/api/v1/hub/webhooks",
) {
	const response = await fetch(`${node.node.url}${path}`, {
		method: "POST",
		headers: { "x-request-id": "same", ...headers },
		...(body !== undefined && { body }),
	});
	return { status: response.status, headers: [...response.headers], text: await response.text() };
}

test("a signed push is taken over REST, whatever its content type says, and counts once", async () => {
	const body = push("quota.updated", { tenant_id: "system" });
	const headers = signed(body);
	const types = ["application/json", "text/plain", "application/cloudevents+json; charset=utf-8"];
	const answers = [];
	for (const type of types) answers.push(await post(listening, { ...headers, "content-type": type }, body));
	expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
	expect(answers.map(({ text }) => JSON.parse(text))).toEqual([
		{ accepted: true },
		{ accepted: true, duplicate: true },
		{ accepted: true, duplicate: true },
	]);
	const unknown = push("invoice.paid", {});
	expect(JSON.parse((await post(listening, signed(unknown), unknown)).text)).toEqual({ accepted: true, ignored: true });
});

test("a push that is not signed, or not so, is refused", async () => {
	const body = push("tenant.deleted", { tenant_id: "system" });
	const headers = signed(body);
	const refusals = [
		await post(listening, {}),
		await post(listening, {}, body),
		await post(listening, headers, `${body}\n`),
		await post(listening, { ...headers, "webhook-timestamp": "1700000000" }, body),
		await post(listening, { authorization: `Bearer ${listening.adminKey}` }, body),
	];
	expect(refusals.map(({ status }) => status)).toEqual(Array(refusals.length).fill(401));
	expect(refusals.map(({ text }) => JSON.parse(text).code)).toEqual(
		Array(refusals.length).fill("AUTH_SIGNATURE_INVALID"),
	);
	const tooLong = push("tenant.updated", { tenant_id: "system", pad: "x".repeat(64 * 1024) });
	expect((await post(listening, signed(tooLong), tooLong)).status).toBe(413);
});

test("without a secret the address answers like one that is not there", async () => {
	const body = push("tenant.updated", { tenant_id: "system" });
	const withoutDate = ({ headers, ...rest }: Awaited<ReturnType<typeof post>>) => ({
		...rest,
		headers: headers.filter(([name]) => name !== "date"),
	});
	const elsewhere = withoutDate(await post(closed, signed(body), body, "/api/v1/hub/webhook"));
	expect(elsewhere.status).toBe(404);
	expect(withoutDate(await post(closed, signed(body), body))).toEqual(elsewhere);
	expect(withoutDate(await post(closed, {}))).toEqual(elsewhere);
});

test("a push takes a key out of the cache, and what the hub says of it stands", async () => {
	const acme = await listening.newTenant("acme");
	const [{ api_key_id }] = (await listening.asAdmin("keys.list", { tenant_id: "acme" })).keys;
	await acme.ask("collections.list", {});
	for (const type of ["key.revoked", "key.rotated", "key.updated", "tenant.suspended", "tenant.deleted"]) {
		const body = push(type, { api_key_id, tenant_id: "acme" });
		expect((await post(listening, signed(body), body)).status).toBe(200);
		expect(await acme.ask("collections.list", {})).toEqual({ collections: [] });
	}
});

test("pushes from one address are limited, signed or not", async () => {
	const codes = new Set<string>();
	for (let count = 0; count < 650; count++) {
		const answer = await listening.call("hub.webhook", { body: "" }, { remoteAddress: "203.0.113.7" });
		codes.add(answer.ok ? "OK" : answer.error.code);
	}
	expect([...codes]).toEqual(["AUTH_SIGNATURE_INVALID", "RATE_LIMITED"]);
});
