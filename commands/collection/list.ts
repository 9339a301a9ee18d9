import { type CollectionInfo, storageText, vectorsText } from "../shared/collection-view.ts";
import { NodeCommand, tenantFlag } from "../shared/node-command.ts";
import { formatCount } from "../shared/units.ts";

export class CollectionList extends NodeCommand {
	static override summary = "List a tenant's collections.";
	static override examples = ["<%= config.bin %> collection list", "<%= config.bin %> collection list --tenant acme"];
	static override flags = { ...tenantFlag };

	override async run(): Promise<{ collections: readonly CollectionInfo[] }> {
		const { flags } = await this.parse(CollectionList);
		const node = await this.connect(flags);
		const answer = await node.call<{ collections: readonly CollectionInfo[] }>("GET", "/collections");
		this.printTable(
			[
				{ title: "NAME" },
				{ title: "DIMENSION", align: "right" },
				{ title: "METRIC" },
				{ title: "VECTORS", align: "right" },
				{ title: "STORAGE", align: "right" },
				{ title: "INDEX" },
			],
			answer.collections.map((info) => [
				info.name,
				formatCount(info.dimension),
				info.metric,
				vectorsText(info),
				storageText(info),
				info.index_state,
			]),
		);
		return answer;
	}
}
