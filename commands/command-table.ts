import type { Command } from "@oclif/core";
import { AuditList } from "./audit/list.ts";
import { AuditVerify } from "./audit/verify.ts";
import { ClusterDrain } from "./cluster/drain.ts";
import { ClusterNodes } from "./cluster/nodes.ts";
import { ClusterRebalance } from "./cluster/rebalance.ts";
import { ClusterRemove } from "./cluster/remove.ts";
import { ClusterStatus } from "./cluster/status.ts";
import { CollectionCreate } from "./collection/create.ts";
import { CollectionDelete } from "./collection/delete.ts";
import { CollectionList } from "./collection/list.ts";
import { CollectionShow } from "./collection/show.ts";
import { Completion } from "./completion.ts";
import { ConfigCheck } from "./config/check.ts";
import { ConfigShow } from "./config/show.ts";
import { Doctor } from "./doctor.ts";
import { Export } from "./export.ts";
import { Hub } from "./hub.ts";
import { Import } from "./import.ts";
import { KeyCreate } from "./key/create.ts";
import { KeyList } from "./key/list.ts";
import { KeyRevoke } from "./key/revoke.ts";
import { KeyRotate } from "./key/rotate.ts";
import { KeyValidate } from "./key/validate.ts";
import { Mcp } from "./mcp.ts";
import { QuotaSet } from "./quota/set.ts";
import { QuotaShow } from "./quota/show.ts";
import { Search } from "./search.ts";
import { Serve } from "./serve.ts";
import { TenantCreate } from "./tenant/create.ts";
import { TenantDelete } from "./tenant/delete.ts";
import { TenantList } from "./tenant/list.ts";
import { TenantResume } from "./tenant/resume.ts";
import { TenantShow } from "./tenant/show.ts";
import { TenantSuspend } from "./tenant/suspend.ts";
import { TenantUpdate } from "./tenant/update.ts";
import { Usage } from "./usage.ts";

/** Every command by what one types, a colon where the space is. */
export const COMMANDS: Readonly<Record<string, Command.Class>> = {
	"audit:list": AuditList,
	"audit:verify": AuditVerify,
	"cluster:drain": ClusterDrain,
	"cluster:nodes": ClusterNodes,
	"cluster:rebalance": ClusterRebalance,
	"cluster:remove": ClusterRemove,
	"cluster:status": ClusterStatus,
	"collection:create": CollectionCreate,
	"collection:delete": CollectionDelete,
	"collection:list": CollectionList,
	"collection:show": CollectionShow,
	completion: Completion,
	"config:check": ConfigCheck,
	"config:show": ConfigShow,
	doctor: Doctor,
	export: Export,
	hub: Hub,
	import: Import,
	"key:create": KeyCreate,
	"key:list": KeyList,
	"key:revoke": KeyRevoke,
	"key:rotate": KeyRotate,
	"key:validate": KeyValidate,
	mcp: Mcp,
	"quota:set": QuotaSet,
	"quota:show": QuotaShow,
	search: Search,
	serve: Serve,
	"tenant:create": TenantCreate,
	"tenant:delete": TenantDelete,
	"tenant:list": TenantList,
	"tenant:resume": TenantResume,
	"tenant:show": TenantShow,
	"tenant:suspend": TenantSuspend,
	"tenant:update": TenantUpdate,
	usage: Usage,
};

export const TOPICS = {
	audit: { description: "Read and check the log of who did what." },
	cluster: { description: "Show the cluster and its nodes, and empty, drop and rebalance them." },
	collection: { description: "Create, list, show and delete collections." },
	config: { description: "Show and check the settings." },
	key: { description: "Make, list, rotate, revoke and validate API keys." },
	quota: { description: "Show and set what a tenant may store." },
	tenant: { description: "Create, change, suspend and delete tenants." },
};
