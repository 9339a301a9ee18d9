import { HiveError } from "../base/errors.ts";
import type { Permission } from "../base/schemas.ts";

/** What an operation asks of its caller. */
export interface Requirement {
	readonly scope: "public" | "tenant" | "admin";
	/** Any one of these suffices. */
	readonly permissions: readonly Permission[];
}

/**
 * Holds what a caller was granted against what an operation requires (CONTRACT section 2).
 *
 * @throws FORBIDDEN with `{required, granted}`. A key whose only permission is MCP enters through MCP alone.
 */
export function requirePermission(
	granted: ReadonlySet<Permission>,
	requirement: Requirement,
	protocol: "rest" | "graphql" | "mcp",
): void {
	requireWayIn(granted, requirement.permissions, protocol);
	for (const permission of requirement.permissions) {
		if (granted.has(permission)) return;
	}
	throw forbidden(
		`this needs the permission ${requirement.permissions.join(" or ")}`,
		requirement.permissions,
		granted,
	);
}

/** @param sufficient permissions one of which would do. @throws FORBIDDEN to a key whose only permission is MCP, anywhere else */
export function requireWayIn(
	granted: ReadonlySet<Permission>,
	sufficient: readonly Permission[],
	protocol: "rest" | "graphql" | "mcp",
): void {
	if (protocol === "mcp" || granted.size !== 1 || !granted.has("MCP")) return;
	const required = sufficient.filter((permission) => permission !== "MCP");
	throw forbidden("a key with the permission MCP alone works over MCP only", required, granted);
}

/** Whether an operation exists for a protocol at all: no admin tool exists in MCP. */
export function isOffered(requirement: Requirement, protocol: "rest" | "graphql" | "mcp"): boolean {
	return protocol !== "mcp" || requirement.scope !== "admin";
}

const forbidden = (message: string, required: readonly Permission[], granted: ReadonlySet<Permission>): HiveError =>
	new HiveError("FORBIDDEN", message, { required: [...required], granted: [...granted] });
