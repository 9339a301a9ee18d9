import { decode } from "@msgpack/msgpack";
import { camelCase } from "../../src/api/graphql/names.ts";
import type { Inhabitant } from "./attack-world.ts";
import { type Belongings, tellTales } from "./belongings.ts";
import { SPELLINGS } from "./name-tricks.ts";
import { headerOf, type RawAnswer, type RawRequest } from "./raw-http.ts";
import type { RawDialogue } from "./raw-websocket.ts";

/** Differ between any two answers, whatever was asked. */
const VOLATILE_HEADERS = new Set(["date", "x-ratelimit-remaining", "x-ratelimit-reset"]);
/** Of successes alone: times, what counts requests, and marks of a version. */
const VOLATILE_NAMES = [
	...["took_ms", "created_at", "updated_at", "last_request_at", "uptime_seconds", "used", "reset_in_seconds"],
	...["disk_bytes", "index_state", "indexed_vectors", "activity", "checks", "rate_limit", "version"],
];
/** Whether what a success says under this name differs between any two answers. */
export const isVolatile = (name: string): boolean => VOLATILE_SPELLINGS.has(name);

const VOLATILE_SPELLINGS = new Set(VOLATILE_NAMES.flatMap((name) => [name, camelCase(name)]));
/** In JSON, in JSON within a text of JSON, and as GraphQL spells them. */
const VOLATILE_FIELDS = new RegExp(
	`\\\\?"(${[...VOLATILE_SPELLINGS].join("|")})\\\\?":(\\\\?"[^"\\\\]*\\\\?"|[^"\\\\,}\\]{[]+|\\{[^}]*\\})`,
	"g",
);

/** The body as text: msgpack as the JSON it stands for. */
export function bodyText(answer: RawAnswer): string {
	if (headerOf(answer, "content-type") !== "application/msgpack") return answer.body.toString("utf8");
	return JSON.stringify(decode(answer.body));
}

/** All that an attacker sees. */
export const wholeText = (answer: RawAnswer): string =>
	`${answer.status}\n${answer.headers.map(([name, value]) => `${name}: ${value}`).join("\n")}\n\n${bodyText(answer)}`;

/** What of an answer may not depend on whether a foreign thing exists. */
export function comparable(answer: RawAnswer): string {
	const headers = answer.headers.filter(([name]) => !VOLATILE_HEADERS.has(name));
	const lines = headers.map(([name, value]) => `${name}: ${value}`);
	if (answer.status >= 300) return `${answer.status}\n${lines.join("\n")}\n\n${bodyText(answer)}`;
	const steady = lines.filter((line) => !line.startsWith("content-length:"));
	return `${answer.status}\n${steady.join("\n")}\n\n${bodyText(answer).replace(VOLATILE_FIELDS, '"$1":0')}`;
}

/** Says what was said of the owner's things as if the shadow's had been named. */
export class Renaming {
	readonly #pairs: readonly (readonly [string, string])[];

	constructor(owner: Belongings, shadow: Belongings) {
		const standIns = tellTales(shadow);
		this.#pairs = tellTales(owner).flatMap((own, index) =>
			SPELLINGS.map((spelled) => [spelled(own), spelled(standIns[index]!)] as const),
		);
	}

	of(text: string): string {
		let changed = text;
		for (const [own, standIn] of this.#pairs) changed = changed.replaceAll(own, standIn);
		return changed;
	}
}

/** Finds what is another's in what one tenant is answered. */
export class LeakDetector {
	readonly #pattern: RegExp;

	constructor(attacker: Inhabitant, all: readonly Inhabitant[]) {
		const texts = all.filter((each) => each !== attacker).flatMap((each) => [...tellTales(each.owns)]);
		this.#pattern = new RegExp(texts.map((text) => RegExp.escape(text)).join("|"), "gi");
	}

	/** @returns what the answer tells of others and the request did not itself carry */
	leaks(request: RawRequest | RawDialogue, answer: RawAnswer): readonly string[] {
		const found = wholeText(answer).match(this.#pattern);
		if (found === null) return [];
		const carried = carriedBy(request).toLowerCase();
		return found.filter((text) => !carried.includes(text.toLowerCase()));
	}
}

function carriedBy(request: RawRequest | RawDialogue): string {
	const target = request.target.replace(/(?:%[0-9a-f]{2})+/gi, (bytes) =>
		Buffer.from(bytes.replaceAll("%", ""), "hex").toString("utf8"),
	);
	const body = request.body === undefined ? "" : Buffer.from(request.body);
	const numbers = headerTypeOf(request) === "application/msgpack" ? JSON.stringify(decode(request.body!)) : "";
	const frames = "frames" in request ? request.frames.map(({ text }) => text) : [];
	return [target, ...request.headers.map(([, value]) => value), body.toString(), numbers, ...frames].join("\n");
}

const headerTypeOf = (request: RawRequest): string | undefined =>
	request.headers.find(([name]) => name === "content-type")?.[1];
