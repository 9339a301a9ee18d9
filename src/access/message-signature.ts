/** What of a request a signature can cover, as the client sent it. */
export interface RequestMessage {
	readonly method: string;
	/** Absolute, with the authority that the client named; percent signs and query as sent. */
	readonly url: string;
	readonly headers: Headers;
}

/** Holds a whole body against what was signed. @throws AUTH_SIGNATURE_INVALID */
export type BodyCheck = (body: Uint8Array) => void;
