import type { Identity } from "../access/authenticator.ts";
import type { AnyOperation } from "./node-services.ts";
import type { AnswerFacts, Arrival } from "./pipeline-types.ts";

/** What became known of a call on its way. */
export interface Passage {
	readonly arrival: Arrival;
	readonly operation: AnyOperation | undefined;
	/** The operation's name, or what else was asked for: for metrics and the audit log. */
	readonly label: string;
	readonly facts: { -readonly [K in keyof AnswerFacts]: AnswerFacts[K] };
	identity: Identity | undefined;
	/** Once it is validated. */
	input: unknown;
	/** Whether it got as far as running: before that it may cost next to nothing. */
	isAdmitted: boolean;
}

export function newPassage(arrival: Arrival, operation: AnyOperation | undefined, label: string): Passage {
	return {
		arrival,
		operation,
		label,
		facts: { requestId: arrival.requestId },
		identity: undefined,
		input: undefined,
		isAdmitted: false,
	};
}

/** Notes who it is, and with it what every answer to them says. */
export function learn(passage: Passage, identity: Identity): void {
	passage.identity = identity;
	passage.facts.tenantId = identity.tenant.id;
	if (identity.keyDeprecatedUntil !== undefined) passage.facts.keyDeprecatedUntil = identity.keyDeprecatedUntil;
}
