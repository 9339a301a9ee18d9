import { Flags } from "@oclif/core";

/** Which settings file a command reads. */
export const configFlag = {
	config: Flags.string({
		char: "c",
		description: "settings file; hive-vector.yml of the current folder if there is one",
		helpValue: "<file>",
	}),
};

/** Where a server keeps its data and listens: each stands above the file and the environment. */
export const serverFlags = {
	...configFlag,
	"data-dir": Flags.string({ description: "folder for all data [default: ./data]", helpValue: "<folder>" }),
	host: Flags.string({ description: "address to listen on [default: 127.0.0.1]", helpValue: "<address>" }),
	port: Flags.string({ description: "port to listen on, 0 for any free one [default: 7801]", helpValue: "<port>" }),
};
