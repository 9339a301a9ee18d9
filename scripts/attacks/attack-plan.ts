import type { ApiDocument } from "./api-operations.ts";
import type { AttackWorld, Inhabitant } from "./attack-world.ts";
import type { Belongings } from "./belongings.ts";
import { Dice } from "./dice.ts";
import { GraphqlAttack, type GraphqlSurface } from "./graphql-attack.ts";
import { McpAttack } from "./mcp-attack.ts";
import type { RawRequest } from "./raw-http.ts";
import type { RawDialogue } from "./raw-websocket.ts";
import { RestAttack } from "./rest-attack.ts";

/** Sent with every call, so that answers can be compared byte for byte. */
export const REQUEST_ID = "attack-request";

/** One generated call in one protocol: the same in all but whose things it names. */
export interface AttackChoices {
	readonly protocol: "rest" | "graphql" | "mcp";
	/** Of what is attacked: an operation, a field, a tool or a method. */
	readonly name: string;
	/** Whether anybody may call it, so often a minute from one address. */
	readonly isOfPublic: boolean;
	/** Whether it names the victim's things where they are expected, and nothing else is odd about the call. */
	readonly isPlain: boolean;
	/** Operations that may have written into the attacker's own tenant. */
	readonly undoes: readonly string[];
	requestFor(target: Belongings): RawRequest | RawDialogue;
}

export interface Attack {
	readonly choices: AttackChoices;
	/** Makes the same call again. */
	readonly seed: number;
	readonly victim: { readonly owns: Belongings; readonly shadow: Belongings };
}

/** What an attack knows of the node before it begins. */
export interface AttackPlan {
	readonly world: AttackWorld;
	readonly document: ApiDocument;
	readonly graphql: GraphqlSurface;
}

/** Decides all about one call but whose things it names. The same seed decides the same. */
export function planAttack(plan: AttackPlan, attacker: Inhabitant, seed: number): Attack {
	const { world, document, graphql } = plan;
	const dice = new Dice(seed);
	const others: { owns: Belongings; shadow: Belongings }[] = world.inhabitants.filter((each) => each !== attacker);
	const victim = dice.chance(0.03) ? world.system : dice.pick(others);
	const roll = dice.next();
	const choices =
		roll < 0.5
			? new RestAttack(world, document, attacker, dice)
			: roll < 0.75
				? new GraphqlAttack(world, document, graphql, attacker, dice)
				: new McpAttack(world, document, attacker, dice);
	return { choices, seed, victim };
}
