import { Args } from "@oclif/core";
import { apiPath } from "../shared/node-client.ts";
import { NodeCommand, tenantFlag, yesFlag } from "../shared/node-command.ts";

export class CollectionDelete extends NodeCommand {
	static override summary = "Delete a collection with all its vectors.";
	static override examples = [
		"<%= config.bin %> collection delete docs",
		"<%= config.bin %> collection delete docs --yes",
	];
	static override args = { collection: Args.string({ required: true, description: "name of the collection" }) };
	static override flags = { ...yesFlag, ...tenantFlag };

	override async run(): Promise<unknown> {
		const { args, flags } = await this.parse(CollectionDelete);
		const path = apiPath`/collections/${args.collection}`;
		await this.confirmed(`This deletes ${args.collection} with all its vectors.`, args.collection, flags);
		const node = await this.connect(flags);
		const answer = await node.call("DELETE", path);
		this.print(`${args.collection} is deleted\n`);
		return answer ?? { deleted: true };
	}
}
