// The floors of the architecture (docs/tour.md): imports go down only.
const floors = [
	"base",
	"storage",
	"shards",
	"hub",
	"cluster",
	"access",
	"embedding",
	"documents",
	"operations",
	"api",
	"node",
];

const upward = floors.slice(0, -1).map((floor, height) => ({
	name: `floor-${floor}-imports-down-only`,
	comment: `src/${floor} may know only the floors below it`,
	severity: "error",
	from: { path: `^src/${floor}/` },
	to: { path: `^(src/(${floors.slice(height + 1).join("|")})|bin|commands|test|scripts)/` },
}));

/** One package, one door. */
const doors = [
	["usearch", "^src/storage/"],
	["classic-level", "^src/storage/"],
	["elysia", "^src/api/rest/"],
	["graphql", "^src/api/graphql/"],
	["graphql-http", "^src/api/graphql/graphql-http\\.ts$"],
	["graphql-ws", "^src/api/graphql/graphql-sockets\\.ts$"],
	["dataloader", "^src/api/graphql/message-run\\.ts$"],
	["graphiql", "^src/api/graphql/graphiql-page\\.ts$"],
	["react(-dom)?", "^src/api/graphql/graphiql-page\\.ts$"],
	["@modelcontextprotocol/[^/]+", "^src/api/mcp/"],
	["prom-client", "^src/observe/"],
	["pino", "^src/observe/"],
	["@oclif/core", "^(bin|commands)/"],
	["libp2p", "^src/cluster/peer/"],
	["@libp2p/[^/]+", "^src/cluster/peer/"],
	["@multiformats/multiaddr", "^src/cluster/peer/"],
	["msgpackr", "^src/cluster/peer/"],
	["markdown-it", "^src/documents/"],
].map(([name, place]) => ({
	name: `door-of-${name.replace(/\W+/g, "-")}`,
	severity: "error",
	from: { path: "^(src|bin|commands)/", pathNot: place },
	to: { path: `node_modules/${name}/` },
}));

module.exports = {
	forbidden: [
		...upward,
		...doors,
		{
			name: "embedding-knows-no-storage",
			comment: "what makes vectors of texts knows texts and turns, and nothing of where they go",
			severity: "error",
			from: { path: "^src/embedding/" },
			to: { path: "^src/(?!base/|embedding/|shards/fair-queue)" },
		},
		{
			name: "observe-stands-beside-the-floors",
			severity: "error",
			from: { path: "^src/observe/" },
			to: { path: "^(src/(?!observe/)|bin|commands)" },
		},
		{
			name: "product-imports-no-test",
			severity: "error",
			from: { path: "^(src|bin|commands)/" },
			to: { path: "^(test|scripts)/" },
		},
		{ name: "no-cycles", severity: "error", from: { path: "^(src|bin|commands)/" }, to: { circular: true } },
	],
	options: {
		doNotFollow: { path: "node_modules" },
		tsPreCompilationDeps: true,
		tsConfig: { fileName: "tsconfig.json" },
		enhancedResolveOptions: {
			exportsFields: ["exports"],
			conditionNames: ["bun", "import", "require", "node", "default"],
		},
	},
};
