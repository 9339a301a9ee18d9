import { expect, test } from "bun:test";
import { EventEmitter } from "node:events";
import { stopOnSignals } from "../../src/node/shutdown-signals.ts";

class FakeProcess extends EventEmitter {
	readonly exits: number[] = [];
	readonly exited: Promise<number>;
	private settle: (code: number) => void = () => {};

	constructor() {
		super();
		this.exited = new Promise((resolve) => {
			this.settle = resolve;
		});
	}

	exit(code: number): void {
		this.exits.push(code);
		this.settle(code);
	}
}

test("the process exits with 0 once everything has stopped, and not before", async () => {
	const source = new FakeProcess();
	const stopped = Promise.withResolvers<void>();
	let stopCount = 0;
	stopOnSignals(
		source,
		() => {
			stopCount++;
			return stopped.promise;
		},
		() => {},
	);
	source.emit("SIGTERM");
	expect(source.exits).toEqual([]);
	stopped.resolve();
	expect(await source.exited).toBe(0);
	expect(stopCount).toBe(1);
});

test("a second signal exits at once with 128 and its number", () => {
	for (const [signal, code] of [
		["SIGINT", 130],
		["SIGTERM", 143],
	] as const) {
		const source = new FakeProcess();
		stopOnSignals(
			source,
			() => new Promise(() => {}),
			() => {},
		);
		source.emit("SIGTERM");
		source.emit(signal);
		expect(source.exits).toEqual([code]);
	}
});

test("a stop that fails is told of and exits with 1", async () => {
	const source = new FakeProcess();
	const failures: unknown[] = [];
	stopOnSignals(
		source,
		() => Promise.reject("disk gone"),
		(cause) => failures.push(cause),
	);
	source.emit("SIGINT");
	expect(await source.exited).toBe(1);
	expect(failures).toEqual(["disk gone"]);
});

test("listeners go when they are taken away", () => {
	const source = new FakeProcess();
	const dispose = stopOnSignals(
		source,
		() => Promise.resolve(),
		() => {},
	);
	dispose();
	source.emit("SIGTERM");
	expect(source.listenerCount("SIGTERM") + source.listenerCount("SIGINT")).toBe(0);
	expect(source.exits).toEqual([]);
});
