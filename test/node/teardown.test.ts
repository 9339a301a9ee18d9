import { expect, test } from "bun:test";
import { Teardown } from "../../src/node/teardown.ts";

test("what was started last is stopped first, once", async () => {
	const taken: string[] = [];
	const teardown = new Teardown();
	for (const name of ["folder", "hub", "server"]) teardown.add(async () => void taken.push(name));
	await Promise.all([teardown.run(), teardown.run()]);
	await teardown.run();
	expect(taken).toEqual(["server", "hub", "folder"]);
});

test("a step that fails holds up no other, and is told of at the end", async () => {
	const taken: string[] = [];
	const teardown = new Teardown();
	teardown.add(() => void taken.push("folder"));
	teardown.add(() => {
		throw new Error("no hub");
	});
	teardown.add(() => Promise.reject(new Error("no server")));
	expect(teardown.run()).rejects.toThrow("no server");
	await teardown.run().catch(() => undefined);
	expect(taken).toEqual(["folder"]);
});
