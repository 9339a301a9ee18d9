import { AUDIT_OPERATIONS } from "./audit.ts";
import { CLUSTER_OPERATIONS } from "./cluster.ts";
import { COLLECTION_OPERATIONS } from "./collections.ts";
import { DOCUMENT_OPERATIONS } from "./documents.ts";
import { HEALTH_OPERATIONS } from "./health.ts";
import { HUB_WEBHOOK_OPERATIONS } from "./hub-webhook.ts";
import { KEY_OPERATIONS } from "./keys.ts";
import { ME_OPERATIONS } from "./me.ts";
import { MULTI_SEARCH_OPERATIONS } from "./multi-search.ts";
import type { AnyOperation } from "./node-services.ts";
import { PAYLOAD_INDEX_OPERATIONS } from "./payload-indexes.ts";
import { SEARCH_OPERATIONS } from "./search.ts";
import { TENANT_OPERATIONS } from "./tenants.ts";
import { TRANSFER_OPERATIONS } from "./transfer.ts";
import { USAGE_OPERATIONS } from "./usage.ts";
import { VECTOR_OPERATIONS } from "./vectors.ts";

/** Everything hive-vector can do, each once. Routes, tools, documents and permission tests come from here. */
export const OPERATIONS: readonly AnyOperation[] = [
	...HEALTH_OPERATIONS,
	...COLLECTION_OPERATIONS,
	...VECTOR_OPERATIONS,
	...SEARCH_OPERATIONS,
	...MULTI_SEARCH_OPERATIONS,
	...TRANSFER_OPERATIONS,
	...DOCUMENT_OPERATIONS,
	...PAYLOAD_INDEX_OPERATIONS,
	...USAGE_OPERATIONS,
	...ME_OPERATIONS,
	...CLUSTER_OPERATIONS,
	...TENANT_OPERATIONS,
	...KEY_OPERATIONS,
	...AUDIT_OPERATIONS,
	...HUB_WEBHOOK_OPERATIONS,
];
