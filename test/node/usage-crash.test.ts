import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HiveError } from "../../src/base/errors.ts";
import type { TenantId } from "../../src/base/ids.ts";
import { FakeClock } from "../access/access-fixture.ts";
import { type HubRig, openHub } from "../hub/hub-rig.ts";
import { seededRandom } from "../system/random.ts";
import { CountingProcess, type Moments } from "./usage-rig.ts";

const root = mkdtempSync(join(tmpdir(), "hive-usage-crash-"));
const hubs: HubRig[] = [];
afterAll(async () => {
	for (const hub of hubs) await hub.server.close();
	rmSync(root, { recursive: true, force: true });
});

const TENANTS = ["acme", "beta", "gamma"] as TenantId[];

/** Lets so many moments pass and then ends the process. */
class Fuse implements Moments {
	isDead = false;
	passed = 0;

	constructor(private readonly length: number) {}

	pass(): void {
		if (this.isDead || this.passed >= this.length) {
			this.isDead = true;
			throw new HiveError("HUB_UNAVAILABLE", "the process is dead");
		}
		this.passed++;
	}
}

/** A node's counting parts, killed again and again, beside a real hub. */
class World {
	readonly clock = new FakeClock();
	readonly createdAt = new Map<TenantId, string>();
	/** What was answered. */
	readonly answered = new Map<TenantId, { requests: number; searches: number; vectors_written: number }>();
	/** Answers of the hub that get lost, and calls that never reach it. */
	loseAnswer = false;
	loseCall = false;

	private constructor(
		readonly hub: HubRig,
		readonly folder: string,
	) {}

	static async make(name: string): Promise<World> {
		const folder = join(root, name);
		mkdirSync(folder, { recursive: true });
		const hub = await openHub({ sqlitePath: join(folder, "hub.db") });
		hubs.push(hub);
		const world = new World(hub, folder);
		for (const id of TENANTS) await world.makeTenant(id);
		return world;
	}

	async makeTenant(id: TenantId): Promise<void> {
		this.hub.clock.advanceSeconds(1);
		const { body } = await this.hub.ask("POST", "/tenants", { id, name: id });
		this.createdAt.set(id, body.created_at);
		this.answered.set(id, { requests: 0, searches: 0, vectors_written: 0 });
	}

	start(moments?: Moments): CountingProcess {
		const client = this.hub.client();
		return new CountingProcess({
			folder: this.folder,
			clock: this.clock,
			send: async (report) => {
				if (this.loseCall) throw new HiveError("HUB_UNAVAILABLE", "the call was lost");
				await client.reportUsage(report);
				if (this.loseAnswer) throw new HiveError("HUB_UNAVAILABLE", "the answer was lost");
			},
			tenant: (tenantId) => client.getTenant(tenantId),
			...(moments !== undefined && { moments }),
		});
	}

	/** One request: counted, settled, answered; not answered when the process dies on the way. */
	request({ meter }: CountingProcess, fuse: Fuse | undefined, id: TenantId, searches: number, vectors: number): void {
		meter.countRequest(id, undefined, this.createdAt.get(id)!);
		meter.countSearches(id, searches);
		if (vectors > 0) meter.countVectorsWritten(id, vectors);
		meter.settle(id);
		if (fuse?.isDead === true) return;
		const counts = this.answered.get(id)!;
		counts.requests++;
		counts.searches += searches;
		counts.vectors_written += vectors;
	}

	async expectAgreement(process: CountingProcess): Promise<void> {
		await process.reporter.report();
		for (const id of TENANTS) {
			const { body } = await this.hub.ask("GET", `/usage?tenant_id=${id}`);
			const { requests, searches, vectors_written } = body.usage[0];
			expect({ id, requests, searches, vectors_written }).toEqual({ id, ...this.answered.get(id)! });
			const own = process.meter.activity(id, this.createdAt.get(id)!);
			expect([own.requests, own.searches, own.vectorsWritten]).toEqual([requests, searches, vectors_written]);
		}
	}
}

test("a process that dies at any moment of a report neither loses a count nor doubles one", async () => {
	const world = await World.make("every-moment");
	let hasFinished = false;
	for (let length = 0; !hasFinished; length++) {
		expect(length).toBeLessThan(60);
		const before = world.start();
		for (const [index, id] of TENANTS.entries()) world.request(before, undefined, id, index, 2 * index);
		const fuse = new Fuse(length);
		const dying = world.start(fuse);
		await dying.reporter.report().catch(() => undefined);
		hasFinished = !fuse.isDead;
		// The next process has work of its own before it reports.
		const next = world.start();
		world.request(next, undefined, TENANTS[0]!, 1, 1);
		await world.expectAgreement(next);
	}
});

test("random requests, reports, kills, lost calls and lost answers add up exactly", async () => {
	for (let seed = 1; seed <= 12; seed++) {
		const random = seededRandom(seed);
		const world = await World.make(`seed-${seed}`);
		for (let run = 0; run < 12; run++) {
			const fuse = new Fuse(5 + Math.floor(random() * 60));
			let process: CountingProcess;
			try {
				process = world.start(fuse);
			} catch {
				continue;
			}
			while (!fuse.isDead) {
				const id = TENANTS[Math.floor(random() * TENANTS.length)]!;
				if (random() < 0.8) world.request(process, fuse, id, Math.floor(random() * 3), Math.floor(random() * 3));
				else {
					world.loseCall = random() < 0.2;
					world.loseAnswer = random() < 0.3;
					world.clock.advance(1_000);
					await process.reporter.report().catch(() => undefined);
				}
			}
			// Dead in the middle of a request, it may have counted what it did not answer: the next looks what is there.
			const next = world.start();
			for (const id of TENANTS) {
				const { requests, searches, vectorsWritten } = next.meter.activity(id, world.createdAt.get(id)!);
				const counts = world.answered.get(id)!;
				expect(requests - counts.requests).toBeOneOf([0, 1]);
				Object.assign(counts, { requests, searches, vectors_written: vectorsWritten });
			}
		}
		world.loseCall = false;
		world.loseAnswer = false;
		await world.expectAgreement(world.start());
	}
});

test("a tenant deleted and made again inherits nothing, wherever the report was", async () => {
	for (const isLost of ["call", "answer", "nothing"] as const) {
		const world = await World.make(`again-${isLost}`);
		const [acme, beta] = TENANTS as [TenantId, TenantId, TenantId];
		const process = world.start();
		for (const id of TENANTS) world.request(process, undefined, id, 3, 3);
		world.loseCall = isLost === "call";
		world.loseAnswer = isLost === "answer";
		await process.reporter.report().catch(() => undefined);
		await world.hub.ask("DELETE", `/tenants/${acme}`);
		await world.makeTenant(acme);
		world.loseCall = false;
		world.loseAnswer = false;
		// Nobody has told this node of the deletion yet.
		await process.reporter.report();
		world.request(process, undefined, acme, 1, 0);
		world.request(process, undefined, beta, 1, 0);
		await world.expectAgreement(process);
		expect(world.answered.get(acme)).toEqual({ requests: 1, searches: 1, vectors_written: 0 });
		await world.expectAgreement(world.start());
	}
});
