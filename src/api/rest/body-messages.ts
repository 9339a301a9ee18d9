import type { WireError } from "../../base/errors.ts";
import type { WireFormat } from "./body-format.ts";
import type { PackedBody } from "./body-packing.ts";

/** What passes between the body parser and its thread. Plain data only. */

export interface ToBodyThread {
	readonly id: number;
	/** Moved to the thread. */
	readonly bytes: Uint8Array;
	readonly format: WireFormat;
}

export type FromBodyThread =
	| { readonly id: number; readonly body: PackedBody }
	| { readonly id: number; readonly error: WireError };
