import { expect, test } from "bun:test";
import { HubAge } from "../../src/hub/hub-age.ts";
import type { Topology } from "../../src/hub/models.ts";
import { rejectionOf } from "./hub-rig.ts";

const at = (version: number) => async (): Promise<Topology> => ({ version, members: [], retired: [] });

test("a hub that knows less of the cluster than the node is followed only once it knows as much", async () => {
	const age = new HubAge(() => 5);
	await age.check(at(5));
	expect(age.refusal).toBeUndefined();
	const refusal = await rejectionOf(age.check(at(4)));
	expect(refusal).toMatchObject({ code: "HUB_UNAVAILABLE", details: { hub_version: 4, known_version: 5 } });
	expect(age.refusal).toBe(refusal);
	await age.check(at(6));
	expect(age.refusal).toBeUndefined();
});

test("a hub that does not answer changes nothing of that, and a node without a topology asks for none", async () => {
	const away = async (): Promise<Topology> => {
		throw new Error("away");
	};
	const age = new HubAge(() => 5);
	await rejectionOf(age.check(at(0)));
	expect((await rejectionOf(age.check(away))).message).toBe("away");
	expect(age.refusal).toBeDefined();
	await new HubAge(() => 0).check(away);
});
