import type { Topology } from "../../hub/models.ts";
import { topologyAnswer } from "../../hub/response-schemas.ts";
import { readSealedLine, writeSealedLine } from "../../storage/durable-file.ts";

/** The topology a node knew last, so that after a restart it finds its peers, and the hub among them, before it can ask. */
export class TopologyFile {
	constructor(
		private readonly path: string,
		private readonly onDamage: (why: string) => void,
	) {}

	/** undefined: there is none, or it can't be read. */
	load(): Topology | undefined {
		try {
			const content = readSealedLine(this.path);
			if (content === undefined) return undefined;
			if (content !== "damaged") return topologyAnswer.parse(JSON.parse(content.line));
			this.onDamage("its checksum does not fit");
		} catch (error) {
			this.onDamage(String(error));
		}
		return undefined;
	}

	/** On disk when it returns. Errors are the file system's own. */
	save(topology: Topology): void {
		writeSealedLine(this.path, JSON.stringify(topology));
	}
}
