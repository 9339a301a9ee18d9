import { Flags } from "@oclif/core";

/** Which settings file a command reads. */
export const configFlag = {
	config: Flags.string({
		char: "c",
		description: "settings file; hive-vector.yml of the current folder if there is one",
		helpValue: "<file>",
	}),
};
