/** One finding of `doctor`. */
export interface Finding {
	readonly check: string;
	readonly state: "ok" | "warn" | "fail";
	readonly detail: string;
	/** What to do about it; given where the state is not `ok`. */
	readonly advice?: string;
}

const MIB = 2 ** 20;

export function judgeDisk(freeBytes: number, totalBytes: number, show: (bytes: number) => string): Finding {
	const share = totalBytes === 0 ? 0 : freeBytes / totalBytes;
	const check = "free disk";
	const detail = `${show(freeBytes)} free (${(share * 100).toFixed(0)} %)`;
	if (freeBytes < 64 * MIB)
		return { check, state: "fail", detail, advice: "make room: a full disk refuses every write" };
	if (freeBytes < 1024 * MIB || share < 0.05)
		return { check, state: "warn", detail, advice: "make room before it runs out" };
	return { check, state: "ok", detail };
}

/** Each open shard takes a few file descriptors, each connection one. */
export function judgeOpenFiles(limit: number): Finding {
	const check = "open files";
	const detail = limit === Number.POSITIVE_INFINITY ? "no limit" : `limit ${limit}`;
	const advice = "raise it: ulimit -n 65536, or LimitNOFILE=65536 in a systemd unit";
	if (limit < 256) return { check, state: "fail", detail, advice };
	return limit < 4096 ? { check, state: "warn", detail, advice } : { check, state: "ok", detail };
}

/**
 * @param nodeMs     the node's time by its answer, whole seconds
 * @param localMs    ours in the middle of the exchange
 * @param exchangeMs how long the exchange took
 */
export function judgeClock(nodeMs: number, localMs: number, exchangeMs: number): Finding {
	// The header has whole seconds, and the answer was on its way for up to the whole exchange.
	const skewMs = Math.max(0, Math.abs(nodeMs + 500 - localMs) - 500 - exchangeMs);
	const check = "clocks";
	if (skewMs < 2_000) return { check, state: "ok", detail: "the node's clock agrees with this machine's" };
	const detail = `the node's clock is ${(skewMs / 1000).toFixed(0)} s ${nodeMs > localMs ? "ahead" : "behind"}`;
	return {
		check,
		state: skewMs < 60_000 ? "warn" : "fail",
		detail,
		advice: "run NTP on both: expiry and rate limits go by the clock",
	};
}

/** @param leftOut tenants that were not asked for their collections; none if not above 0 */
export function judgeCollections(
	collections: readonly { readonly full_name: string; readonly index_state: string; readonly damage?: string }[],
	leftOut: number,
): Finding {
	const check = "collections";
	const damaged = collections.filter(({ index_state: state }) => state === "damaged");
	const unreachable = collections.filter(({ index_state: state }) => state === "unreachable");
	const rest = leftOut > 0 ? `; ${leftOut} tenants were not looked at` : "";
	if (damaged.length === 0 && unreachable.length > 0) {
		return {
			check,
			state: "fail",
			detail: `${unreachable.length} of ${collections.length} can't be reached: ${unreachable.map(({ full_name: name }) => name).join(", ")}${rest}`,
			advice: "the nodes that hold them are down: see `hive-vector cluster status`",
		};
	}
	if (damaged.length === 0) return { check, state: "ok", detail: `${collections.length} can be used${rest}` };
	const named = damaged.map(({ full_name: name, damage }) => (damage === undefined ? name : `${name} (${damage})`));
	return {
		check,
		state: "fail",
		detail: `${damaged.length} of ${collections.length} damaged: ${named.join(", ")}${rest}`,
		advice: "the others go on working; see the node's log, then restore its folder or delete it and import again",
	};
}

/** @param versions of all nodes that were heard of */
export function judgeCluster(problems: readonly string[], versions: readonly string[]): Finding {
	const check = "cluster";
	if (problems.length > 0) {
		return {
			check,
			state: "warn",
			detail: problems.join("; "),
			advice: "`hive-vector cluster nodes` shows more; docs/runbooks.md says what to do",
		};
	}
	const different = [...new Set(versions)].sort();
	if (different.length > 1) {
		const advice = "finish the upgrade: nodes of two versions may run together for its duration";
		return { check, state: "warn", detail: `nodes run versions ${different.join(" and ")}`, advice };
	}
	return { check, state: "ok", detail: `${versions.length} ${versions.length === 1 ? "node" : "nodes"}, healthy` };
}

/** @param mode of a secret's file */
export function judgeSecretMode(check: string, path: string, mode: number): Finding {
	const bits = (mode & 0o777).toString(8).padStart(4, "0");
	if ((mode & 0o077) === 0) return { check, state: "ok", detail: `${path}, mode ${bits}` };
	return { check, state: "warn", detail: `${path} has mode ${bits}`, advice: `others can read it: chmod 600 ${path}` };
}
