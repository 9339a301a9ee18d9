import { expect, test } from "bun:test";
import { systemTimers } from "../../src/base/timers.ts";

test("a task runs once, unless it is called off", async () => {
	const ran: string[] = [];
	const callOff = systemTimers.after(1, () => ran.push("called off"));
	callOff();
	const { promise, resolve } = Promise.withResolvers<void>();
	systemTimers.after(5, () => {
		ran.push("ran");
		resolve();
	});
	// Its timer alone would not keep the process alive.
	const alive = setInterval(() => {}, 1_000);
	await promise;
	clearInterval(alive);
	expect(ran).toEqual(["ran"]);
});
