import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { serverAudits } from "graphql-http";
import type { RunningNode } from "../../src/node/node.ts";
import { Workshop } from "../node/node-fixture.ts";

const workshop = new Workshop();
let node: RunningNode;

beforeAll(async () => {
	node = await workshop.node(workshop.newDataDir());
});
afterAll(() => workshop.clear());

describe("GraphQL over HTTP", () => {
	for (const audit of serverAudits({ url: () => `${node.url}/graphql`, fetchFn: fetch })) {
		test(`${audit.id}: ${audit.name}`, async () => {
			const result = await audit.fn();
			expect(result.status === "ok" ? "ok" : `${result.status}: ${result.reason}`).toBe("ok");
		});
	}
});
