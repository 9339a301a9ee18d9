import { Args } from "@oclif/core";
import { type CollectionInfo, collectionFields } from "../shared/collection-view.ts";
import { apiPath } from "../shared/node-client.ts";
import { NodeCommand, tenantFlag } from "../shared/node-command.ts";

export class CollectionShow extends NodeCommand {
	static override summary = "Show a collection with its counts and index.";
	static override examples = ["<%= config.bin %> collection show docs"];
	static override args = { collection: Args.string({ required: true, description: "name of the collection" }) };
	static override flags = { ...tenantFlag };

	override async run(): Promise<CollectionInfo> {
		const { args, flags } = await this.parse(CollectionShow);
		const path = apiPath`/collections/${args.collection}`;
		const node = await this.connect(flags);
		const collection = await node.call<CollectionInfo>("GET", path);
		this.printRecord(collectionFields(collection));
		return collection;
	}
}
