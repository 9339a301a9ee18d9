import { afterEach, expect, test } from "bun:test";
import { HiveError } from "../../src/base/errors.ts";
import { systemRandom } from "../../src/base/ids.ts";
import { ChangeFeed, type ChangeFeedOptions } from "../../src/hub/change-feed.ts";
import type { ChangePage } from "../../src/hub/models.ts";

const WAIT_SECONDS = 30;

/** One question of the feed, answered by the test. */
interface Poll {
	readonly waitSeconds: number;
	answer(page: ChangePage): void;
	fail(error: Error): void;
}

/** A hub whose every poll the test answers, by hand or by `onPoll`. */
class ScriptedHub {
	readonly polls: Poll[] = [];
	#arrived = Promise.withResolvers<void>();
	onPoll: (poll: Poll) => void = () => {};

	readonly changes: ChangeFeedOptions["hub"]["changes"] = (_cursor, waitSeconds, signal) => {
		const { promise, resolve, reject } = Promise.withResolvers<ChangePage>();
		signal.addEventListener("abort", () => reject(signal.reason));
		const poll = { waitSeconds, answer: resolve, fail: reject };
		this.polls.push(poll);
		this.onPoll(poll);
		this.#arrived.resolve();
		this.#arrived = Promise.withResolvers();
		return promise;
	};

	async poll(index: number): Promise<Poll> {
		while (this.polls[index] === undefined) await this.#arrived.promise;
		return this.polls[index];
	}
}

const page = (version: number): ChangePage => ({
	changes: [{ cursor: version, kind: "topology", version }],
	cursor: version,
	reset: false,
});

let feed: ChangeFeed;
afterEach(() => feed.stop());

async function follow(hub: ScriptedHub, onFailure: (error: unknown) => void = () => {}) {
	const applied: number[] = [];
	feed = new ChangeFeed({
		hub,
		directory: { apply: (change) => void applied.push(change.cursor), clear: () => {} },
		cursors: { load: async () => 0, save: async () => {} },
		subscribers: [],
		waitSeconds: WAIT_SECONDS,
		random: systemRandom,
		onFailure,
	});
	await feed.start();
	return applied;
}

test("a nudge ends the poll that waits, and the hub is asked without waiting, then with", async () => {
	const hub = new ScriptedHub();
	const failures: unknown[] = [];
	const applied = await follow(hub, (error) => failures.push(error));
	await hub.poll(0);
	feed.nudge();
	(await hub.poll(1)).answer(page(1));
	await hub.poll(2);
	expect(hub.polls.map((poll) => poll.waitSeconds)).toEqual([WAIT_SECONDS, 0, WAIT_SECONDS]);
	expect([applied, failures]).toEqual([[1], []]);
});

test("nudges upon nudges do not cut off the question that they led to, and lead to one more", async () => {
	const hub = new ScriptedHub();
	const applied = await follow(hub);
	await hub.poll(0);
	feed.nudge();
	const asked = await hub.poll(1);
	for (let count = 0; count < 100; count++) feed.nudge();
	asked.answer(page(1));
	(await hub.poll(2)).answer(page(2));
	await hub.poll(3);
	expect(hub.polls.map((poll) => poll.waitSeconds)).toEqual([WAIT_SECONDS, 0, 0, WAIT_SECONDS]);
	expect(applied).toEqual([1, 2]);
});

test("a nudge ends the pause after a failure, however long the hub has been away", async () => {
	const hub = new ScriptedHub();
	// The pauses of so many failures would take minutes.
	const failureCount = 60;
	hub.onPoll = (poll) => {
		if (hub.polls.length <= failureCount) poll.fail(new HiveError("HUB_UNAVAILABLE", "away"));
	};
	let toldCount = 0;
	await follow(hub, () => {
		toldCount += 1;
		feed.nudge();
	});
	await hub.poll(failureCount);
	expect(toldCount).toBe(failureCount);
});

test("stopping ends a question that a nudge led to", async () => {
	const hub = new ScriptedHub();
	await follow(hub);
	await hub.poll(0);
	feed.nudge();
	await hub.poll(1);
	await feed.stop();
	expect(hub.polls).toHaveLength(2);
});
