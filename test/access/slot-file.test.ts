import { afterAll, beforeEach, expect, test } from "bun:test";
import {
	closeSync,
	existsSync,
	ftruncateSync,
	mkdtempSync,
	openSync,
	readFileSync,
	rmSync,
	statSync,
	writeFileSync,
	writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CHECKSUM_BYTES, SLOT_BYTES, type SlotDisk, SlotFile } from "../../src/access/slot-file.ts";

const root = mkdtempSync(join(tmpdir(), "hive-slots-"));
/** What a promise is rejected with. */
const failureOf = (promise: Promise<unknown>): Promise<string> =>
	promise.then(
		() => "nothing",
		(error: Error) => error.message,
	);

let path = "";
let count = 0;
let damage: string[] = [];
beforeEach(() => {
	path = join(root, `slots-${count++}`);
	damage = [];
});
afterAll(() => rmSync(root, { recursive: true, force: true }));

function slotOf(text: string): Uint8Array {
	const slot = new Uint8Array(SLOT_BYTES);
	slot.set(Buffer.from(text), CHECKSUM_BYTES);
	return slot;
}
const textOf = (slot: Uint8Array): string => Buffer.from(slot.subarray(CHECKSUM_BYTES)).toString().replaceAll("\0", "");

function open(disk?: SlotDisk): { file: SlotFile; found: Map<number, string> } {
	const found = new Map<number, string>();
	const file = SlotFile.open(path, (position, slot) => found.set(position, textOf(slot)), {
		onDamage: (message, { slot }) => damage.push(`${message} ${slot}`),
		...(disk !== undefined && { disk }),
	});
	return { file, found };
}

/** Writes bytes over the file, as a failing disk would. */
function overwrite(bytes: Uint8Array, position: number): void {
	const file = openSync(path, "r+");
	writeSync(file, bytes, 0, bytes.length, position);
	closeSync(file);
}

/** A disk with a fault that is switched on and off. */
function faultyDisk() {
	const disk = {
		isFull: false,
		writes: 0,
		syncs: 0,
		write: (file: number, bytes: Uint8Array, offset: number, length: number, position: number): number => {
			disk.writes++;
			if (disk.isFull && length > SLOT_BYTES) throw new Error("ENOSPC");
			// As little at a time as a system may.
			return writeSync(file, bytes, offset, Math.min(length, 100_000), position);
		},
		sync: async () => {
			disk.syncs++;
		},
	};
	return disk;
}

test("what was written is found by whoever opens the file next, without a close or a sync", () => {
	const { file } = open();
	const [first, second, third] = [file.allocate()!, file.allocate()!, file.allocate()!];
	file.write(first, slotOf("one"));
	file.write(second, slotOf("two"));
	file.write(third, slotOf("three"));
	file.write(second, slotOf("deux"));
	file.release(third);
	expect(open().found).toEqual(
		new Map([
			[first, "one"],
			[second, "deux"],
		]),
	);
	expect(damage).toEqual([]);
	expect((statSync(path).mode & 0o777).toString(8)).toBe("600");
});

test("no two owners get one slot, before and after a restart", () => {
	const { file } = open();
	const positions = Array.from({ length: 3_000 }, () => file.allocate()!);
	expect(new Set(positions).size).toBe(3_000);
	for (const position of positions) file.write(position, slotOf(`at ${position}`));
	const again = open();
	expect(again.found.size).toBe(3_000);
	for (const [position, text] of again.found) expect(text).toBe(`at ${position}`);
	for (let more = 0; more < 2_000; more++) expect(again.found.has(again.file.allocate()!)).toBe(false);
});

test("a slot given back is given out again", () => {
	const { file } = open();
	const position = file.allocate()!;
	file.write(position, slotOf("gone"));
	file.release(position);
	expect(file.allocate()).toBe(position);
});

test("no slot lies across two pages", () => {
	expect(4_096 % SLOT_BYTES).toBe(0);
});

test("every flipped bit of a slot is found out, and costs that slot alone", () => {
	const { file } = open();
	const positions = ["acme", "beta"].map((text) => {
		const position = file.allocate()!;
		file.write(position, slotOf(text));
		return position;
	});
	const sound = readFileSync(path);
	for (let byte = 0; byte < SLOT_BYTES; byte += 7) {
		const at = positions[0]! * SLOT_BYTES + byte;
		overwrite(new Uint8Array([sound[at]! ^ (1 << (byte % 8))]), at);
		damage = [];
		expect(open().found).toEqual(new Map([[positions[1]!, "beta"]]));
		expect(damage).toEqual([`a counter is damaged and starts anew ${positions[0]}`]);
		overwrite(sound.subarray(positions[0]! * SLOT_BYTES, (positions[0]! + 1) * SLOT_BYTES), positions[0]! * SLOT_BYTES);
	}
});

test("a slot that was written in part counts as damaged, and is free afterwards", () => {
	const { file } = open();
	const position = file.allocate()!;
	file.write(position, slotOf("x".repeat(200)));
	overwrite(slotOf("y".repeat(200)).subarray(0, 128), position * SLOT_BYTES);
	expect(open().found.size).toBe(0);
	expect(damage).toHaveLength(1);
	damage = [];
	open();
	expect(damage).toEqual([]);
});

test("a file that is none of ours is kept aside, and a new one made", () => {
	for (const content of ["", "something else", "z".repeat(5_000)]) {
		writeFileSync(path, content);
		damage = [];
		const { file, found } = open();
		expect(found.size).toBe(0);
		expect(damage).toHaveLength(1);
		expect(readFileSync(`${path}.damaged`, "utf8")).toBe(content);
		file.write(file.allocate()!, slotOf("here"));
		expect([...open().found.values()]).toEqual(["here"]);
		rmSync(path);
	}
});

test("what a full disk left of a chunk is no slot", () => {
	const { file } = open();
	const position = file.allocate()!;
	file.write(position, slotOf("here"));
	const handle = openSync(path, "r+");
	ftruncateSync(handle, (position + 1) * SLOT_BYTES + 17);
	closeSync(handle);
	const again = open();
	expect([...again.found.values()]).toEqual(["here"]);
	const next = again.file.allocate()!;
	again.file.write(next, slotOf("next"));
	expect([...open().found.values()].sort()).toEqual(["here", "next"]);
});

test("a full disk takes no slot from those that are there, and new ones come from the spare", () => {
	const disk = faultyDisk();
	const { file } = open(disk);
	const first = file.allocate()!;
	disk.isFull = true;
	let spare = 0;
	while (file.allocate() !== undefined) spare++;
	expect(spare).toBeGreaterThanOrEqual(127);
	file.write(first, slotOf("still"));
	expect([...open().found.values()]).toEqual(["still"]);
	disk.isFull = false;
	expect(file.allocate()).toBeDefined();
});

test("a file that can't be made whole is not there", () => {
	const disk = faultyDisk();
	disk.isFull = true;
	expect(() => open(disk)).toThrow("ENOSPC");
	expect([existsSync(path), existsSync(`${path}.new`)]).toEqual([false, false]);
});

test("whoever syncs while another does waits for a sync that began later", async () => {
	const begun: (() => void)[] = [];
	const disk = faultyDisk();
	disk.sync = () => {
		disk.syncs++;
		return new Promise<void>((resolve) => begun.push(resolve));
	};
	const { file } = open(disk);
	const first = file.sync();
	const others = [file.sync(), file.sync()];
	expect(disk.syncs).toBe(1);
	begun[0]!();
	await first;
	await Bun.sleep(0);
	expect(disk.syncs).toBe(2);
	const closing = file.close();
	begun[1]!();
	await Promise.all([...others, closing]);
	expect(await failureOf(file.sync())).toContain("closed");
	await file.close();
	expect(disk.syncs).toBe(2);
	expect(() => file.write(1, slotOf("late"))).toThrow("the slot file is closed");
});

test("the real disk syncs", async () => {
	const { file } = open();
	await file.sync();
	await file.close();
});
