import { Args, Flags } from "@oclif/core";
import { collectionFlags, newCollectionBody } from "../shared/collection-flags.ts";
import { type CollectionInfo, collectionFields } from "../shared/collection-view.ts";
import { NodeCommand, tenantFlag } from "../shared/node-command.ts";

export class CollectionCreate extends NodeCommand {
	static override summary = "Create a collection.";
	static override examples = [
		"<%= config.bin %> collection create docs --dimension 768",
		"<%= config.bin %> collection create faces --dimension 128 --metric euclidean --quantization f32",
		"<%= config.bin %> collection create docs --dimension 768 --text-field title --text-field body --text-language german",
	];
	static override args = {
		collection: Args.string({ required: true, description: "name: letters, digits, '.', '_' and '-'" }),
	};
	static override flags = {
		dimension: Flags.integer({ char: "d", required: true, description: "numbers a vector", min: 1, helpValue: "<n>" }),
		...collectionFlags,
		...tenantFlag,
	};

	override async run(): Promise<CollectionInfo> {
		const { args, flags } = await this.parse(CollectionCreate);
		const node = await this.connect(flags);
		const body = newCollectionBody(args.collection, flags.dimension, flags);
		const collection = await node.call<CollectionInfo>("POST", "/collections", { body });
		this.printRecord(collectionFields(collection));
		return collection;
	}
}
