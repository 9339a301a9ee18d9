import type { CollectionId, NodeId } from "../../../src/base/ids.ts";
import type { MemberState, Topology, TopologyMember } from "../../../src/hub/models.ts";

/** `node_` and sixteen times the letter. */
export const node = (letter: string): NodeId => `node_${letter.repeat(16)}` as NodeId;

export const member = (letter: string, state: MemberState = "active"): TopologyMember => ({
	node_id: node(letter),
	peer_id: `peer-${letter}`,
	state,
	addresses: [`/dns/${letter}/tcp/7802`],
	serves_hub: letter === "a",
});

const STATES: Readonly<Record<string, MemberState>> = { j: "joining", d: "draining", x: "removed" };

/** Members by a letter each, and perhaps a state's: `"a b:j c:d e:x"`, of which a is active. */
export function topology(text: string, version = 7): Topology {
	const members = text.split(" ").filter((word) => word !== "");
	return {
		version,
		members: members.map((word) => {
			const [letter = "", state = ""] = word.split(":");
			return member(letter, STATES[state]);
		}),
		retired: [],
	};
}

/** As `topology` takes it. */
export const textOf = ({ members }: Topology): string =>
	members
		.map(({ node_id, state }) => {
			const mark = Object.entries(STATES).find(([, each]) => each === state)?.[0];
			return `${node_id.at(-1)}${mark === undefined ? "" : `:${mark}`}`;
		})
		.join(" ");

export const COLLECTION = "c".repeat(20) as CollectionId;

/** Subjects enough for shares to show. */
export const SUBJECTS = Array.from({ length: 2_000 }, (_, index) => `collection-${index}/${index % 4}`);
