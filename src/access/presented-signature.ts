import { httpbis } from "http-message-signatures";
import {
	type InnerList,
	isInnerList,
	type Parameters,
	parseDictionary,
	serializeItem,
	serializeList,
} from "structured-headers";
import { HiveError } from "../base/errors.ts";
import type { RequestMessage } from "./message-signature.ts";

const HEADER_LENGTH_MAX = 4_096;
const COMPONENT_COUNT_MAX = 32;
const ECHO_LENGTH_MAX = 64;

const DERIVED_COMPONENTS: ReadonlySet<string> = new Set([
	"@method",
	"@target-uri",
	"@authority",
	"@scheme",
	"@request-target",
	"@path",
	"@query",
]);
const FIELD_NAME = /^[a-z0-9!#$%&'*+.^_`|~-]+$/;

/** A request's only signature, as its headers have it. */
export interface PresentedSignature {
	readonly components: readonly string[];
	readonly parameters: Parameters;
	/** `Signature-Input`'s value for it, in the canonical form. */
	readonly serializedInput: string;
	readonly bytes: Uint8Array;
}

type SignatureField = "Signature" | "Signature-Input";

export const signatureRefusal = (field: SignatureField, message: string, cause?: unknown): HiveError =>
	new HiveError("AUTH_SIGNATURE_INVALID", message, { field }, { cause });

/**
 * The request's signature, its labels and form checked, nothing of it verified.
 *
 * @throws AUTH_SIGNATURE_INVALID
 */
export function readSignature(headers: Headers): PresentedSignature {
	const [inputLabel, input] = onlyMember(headers, "Signature-Input");
	const [label, signature] = onlyMember(headers, "Signature");
	if (label !== inputLabel)
		throw signatureRefusal("Signature", "Signature and Signature-Input name different signatures");
	if (!isInnerList(input)) throw signatureRefusal("Signature-Input", "Signature-Input lists no components");
	const [bytes] = signature;
	if (!(bytes instanceof ArrayBuffer))
		throw signatureRefusal("Signature", "the signature is not of the form :<base64>:");
	return {
		components: componentsOf(input),
		parameters: input[1],
		serializedInput: serializeList([input]),
		bytes: new Uint8Array(bytes),
	};
}

/** Several signatures would leave it open which of them counts. */
function onlyMember(headers: Headers, field: SignatureField) {
	const text = headers.get(field);
	if (text === null) {
		throw signatureRefusal(field, `the key demands signed requests (RFC 9421), and the header ${field} is missing`);
	}
	if (text.length > HEADER_LENGTH_MAX)
		throw signatureRefusal(field, `${field} is longer than ${HEADER_LENGTH_MAX} characters`);
	let members: ReturnType<typeof parseDictionary>;
	try {
		members = parseDictionary(text);
	} catch (cause) {
		throw signatureRefusal(field, `${field} is no dictionary of structured fields`, cause);
	}
	const [member] = members;
	if (member === undefined || members.size !== 1)
		throw signatureRefusal(field, `${field} must hold exactly one signature`);
	return member;
}

function componentsOf([items]: InnerList): readonly string[] {
	if (items.length > COMPONENT_COUNT_MAX) {
		throw signatureRefusal("Signature-Input", `a signature covers at most ${COMPONENT_COUNT_MAX} components`);
	}
	const names = new Set<string>();
	for (const [name, parameters] of items) {
		if (typeof name !== "string" || !(DERIVED_COMPONENTS.has(name) || FIELD_NAME.test(name))) {
			throw signatureRefusal(
				"Signature-Input",
				"a covered component is neither a header in lower case nor one of a request",
			);
		}
		if (parameters.size > 0) {
			throw signatureRefusal("Signature-Input", "covered components with parameters are not taken");
		}
		if (names.has(name)) throw signatureRefusal("Signature-Input", "a component is covered twice");
		names.add(name);
	}
	return [...names];
}

/**
 * The text that was signed (RFC 9421, section 2.5).
 *
 * @throws AUTH_SIGNATURE_INVALID where the request lacks what is covered
 */
export function signatureBase(signature: PresentedSignature, message: RequestMessage): Buffer {
	const names = signature.components.filter((name) => !name.startsWith("@"));
	const headers = Object.fromEntries(names.map((name) => [name, coveredHeader(name, message.headers)]));
	const fields = signature.components.map((name) => serializeItem([name, new Map()]));
	try {
		const base = httpbis.createSignatureBase({ fields }, { method: message.method, url: message.url, headers });
		base.push(['"@signature-params"', [signature.serializedInput]]);
		return Buffer.from(httpbis.formatSignatureBase(base), "utf8");
	} catch (cause) {
		throw signatureRefusal("Signature-Input", "what the signature covers can't be derived from the request", cause);
	}
}

function coveredHeader(name: string, headers: Headers): string {
	const value = headers.get(name);
	if (value !== null) return value;
	const shown = name.slice(0, ECHO_LENGTH_MAX);
	throw signatureRefusal("Signature-Input", `the signature covers ${shown}, a header that the request does not have`);
}
