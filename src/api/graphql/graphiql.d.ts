declare module "graphiql/graphiql.min.css" {
	const path: string;
	export default path;
}

declare module "graphiql/graphiql.min.js" {
	const path: string;
	export default path;
}

declare module "*/react.production.min.js" {
	const path: string;
	export default path;
}

declare module "*/react-dom.production.min.js" {
	const path: string;
	export default path;
}
