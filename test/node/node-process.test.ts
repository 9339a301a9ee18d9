import { afterAll, expect, test } from "bun:test";
import { clientOf, refusal, Workshop } from "./node-fixture.ts";

const workshop = new Workshop();
const children: Bun.Subprocess[] = [];
afterAll(async () => {
	for (const child of children) child.kill("SIGKILL");
	await workshop.clear();
});

async function nodeProcess(dataDir: string) {
	const child = Bun.spawn([process.execPath, Bun.fileURLToPath(import.meta.resolve("./run-node.ts")), dataDir], {
		stdout: "pipe",
		stderr: "inherit",
	});
	children.push(child);
	const { value } = await child.stdout.getReader().read();
	return { child, ask: clientOf(new TextDecoder().decode(value).trim()) };
}

/** Writes one vector after the other until the node no longer takes them. @returns ids that were acknowledged */
function writeOnAndOn(ask: ReturnType<typeof clientOf>) {
	const acknowledged: number[] = [];
	const begun = Promise.withResolvers<void>();
	const writer = async (): Promise<void> => {
		for (let id = 0; ; id++) {
			const vectors = [{ id, vector: [1, id] }];
			const answer = await ask("POST", "/api/v1/collections/docs/vectors", { vectors }).catch(() => undefined);
			if (answer?.status !== 200) return;
			acknowledged.push(id);
			if (id === 20) begun.resolve();
		}
	};
	return { acknowledged, begun: begun.promise, ended: writer() };
}

test("SIGTERM under load ends the process with 0, kill -9 frees the folder, and neither loses what was acknowledged", async () => {
	const dataDir = workshop.newDataDir();
	let { child, ask } = await nodeProcess(dataDir);
	await ask("POST", "/api/v1/collections", { name: "docs", dimension: 2 });
	for (const signal of ["SIGTERM", "SIGKILL"] as const) {
		const writes = writeOnAndOn(ask);
		await writes.begun;
		const taken = await refusal(workshop.node(dataDir));
		expect(taken.message).toContain(`in use by process ${child.pid};`);
		child.kill(signal);
		await Promise.all([child.exited, writes.ended]);
		if (signal === "SIGTERM") expect(child.exitCode).toBe(0);

		({ child, ask } = await nodeProcess(dataDir));
		const { body } = await ask("POST", "/api/v1/collections/docs/vectors/get", { ids: writes.acknowledged });
		expect(body.vectors.map((vector: { id: number }) => vector.id)).toEqual(writes.acknowledged);
	}
	child.kill("SIGTERM");
	expect(await child.exited).toBe(0);
});
