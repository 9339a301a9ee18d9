import { auditFolder } from "../access/audit/audit-folder.ts";
import { AuditLog } from "../access/audit/audit-log.ts";
import { Authenticator } from "../access/authenticator.ts";
import { BruteForceGuard } from "../access/brute-force-guard.ts";
import { NonceBoard } from "../access/nonce-board.ts";
import { NonceJournal } from "../access/nonce-journal.ts";
import { NonceStore } from "../access/nonce-store.ts";
import { SignatureVerifier } from "../access/signature-verifier.ts";
import { DEFAULT_TENANT } from "../base/ids.ts";
import type { Membership } from "../cluster/membership/membership-types.ts";
import type { PeerCalls, PeerMethods } from "../cluster/peer/peer-types.ts";
import type { HubDirectory } from "../hub/hub-client-types.ts";
import { AuditTrail } from "../operations/audit-trail.ts";
import type { DataFolder } from "./data-folder.ts";
import type { ProcessParts } from "./process-parts.ts";
import type { Settings } from "./settings.ts";
import type { Teardown } from "./teardown.ts";

/** Who asks, and what is written down of it. */
export interface AccessParts {
	readonly authenticator: Authenticator;
	/** Both undefined where the audit log is switched off. */
	readonly auditLog: AuditLog | undefined;
	readonly auditTrail: AuditTrail | undefined;
}

/** Opens what of access lies on disk. To be called before the network starts. @throws what the file system says */
export async function openAccess(
	settings: Settings,
	folder: DataFolder,
	directory: HubDirectory,
	peers: { readonly membership: Membership; readonly calls: PeerCalls; readonly methods: PeerMethods },
	{ clock, log }: ProcessParts,
	teardown: Teardown,
): Promise<AccessParts> {
	const { auth, audit } = settings.values;
	const auditLog = audit.enabled
		? await AuditLog.open({
				folder: auditFolder(folder.path),
				clock,
				retentionDays: audit.retention_days,
				log: (message, facts) => log.error(facts, message),
			})
		: undefined;
	teardown.add(() => auditLog?.close());
	const auditTrail = auditLog && new AuditTrail(auditLog);

	const nonceJournal = new NonceJournal(folder.noncesPath, clock);
	teardown.add(() => nonceJournal.close());
	const { failures, window_seconds, block_seconds } = auth.brute_force;
	const nonces = new NonceBoard({
		store: new NonceStore(nonceJournal, clock.nowMs()),
		membership: peers.membership,
		calls: peers.calls,
		methods: peers.methods,
		clock,
	});
	const authenticator = new Authenticator(directory, clock, {
		...(auth.required ? {} : { anonymousTenant: DEFAULT_TENANT }),
		guard: new BruteForceGuard(clock, { failures, windowSeconds: window_seconds, blockSeconds: block_seconds }),
		signatures: new SignatureVerifier(clock, nonces),
		onBlocked: (remoteAddress) => auditTrail?.blocked(remoteAddress, block_seconds),
	});
	return { authenticator, auditLog, auditTrail };
}
