import type { NodeId } from "../../../src/base/ids.ts";
import type { HintStorage } from "../../../src/cluster/repair/hint-storage.ts";

/** Logs of hints in memory, which outlive the book that wrote them, on a disk that may be full. */
export class MemoryHints implements HintStorage {
	readonly texts = new Map<NodeId, string>();
	appendCount = 0;
	failing = false;

	async nodes(): Promise<readonly NodeId[]> {
		return [...this.texts.keys()];
	}

	async read(nodeId: NodeId): Promise<string> {
		return this.texts.get(nodeId) ?? "";
	}

	async append(nodeId: NodeId, text: string): Promise<void> {
		this.appendCount++;
		const kept = this.failing ? text.slice(0, text.length / 2) : text;
		this.texts.set(nodeId, (this.texts.get(nodeId) ?? "") + kept);
		this.#check();
	}

	async replace(nodeId: NodeId, text: string): Promise<void> {
		this.#check();
		this.texts.set(nodeId, text);
	}

	async remove(nodeId: NodeId): Promise<void> {
		this.#check();
		this.texts.delete(nodeId);
	}

	async close(): Promise<void> {}

	#check(): void {
		if (this.failing) throw new Error("no space left on the device");
	}
}
