/** `max_storage_bytes` is `maxStorageBytes` in GraphQL. */
export const camelCase = (name: string): string =>
	name.replace(/_+([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** `payload_indexes` is `PayloadIndexes` in the name of a type. */
export function pascalCase(name: string): string {
	const camel = camelCase(name);
	return camel.slice(0, 1).toUpperCase() + camel.slice(1);
}

/** `filter_exact` is `FILTER_EXACT` among an enum's values. */
export const enumName = (value: string): string => value.toUpperCase().replace(/\W/g, "_");
