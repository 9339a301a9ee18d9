/**
 * The filter grammar, Qdrant's (CONTRACT section 3). Wire form; `parseFilter` turns unknown JSON into it or throws
 * `INVALID_FILTER` with `details.field` naming the place, for instance `filter.must[0].range.gt`.
 */
export interface Filter {
	readonly must?: readonly Condition[];
	readonly should?: readonly Condition[];
	readonly must_not?: readonly Condition[];
	readonly min_should?: { readonly conditions: readonly Condition[]; readonly min_count: number };
}

export type Scalar = string | number | boolean;

export type Match =
	| { readonly value: Scalar }
	| { readonly any: readonly (string | number)[] }
	| { readonly except: readonly (string | number)[] }
	| { readonly text: string };

/** Bounds are all numbers, or all RFC 3339 times. */
export interface Range {
	readonly gt?: number | string;
	readonly gte?: number | string;
	readonly lt?: number | string;
	readonly lte?: number | string;
}

export interface GeoPoint {
	readonly lat: number;
	readonly lon: number;
}

export interface CountRange {
	readonly gt?: number;
	readonly gte?: number;
	readonly lt?: number;
	readonly lte?: number;
}

export type Condition =
	| { readonly key: string; readonly match: Match }
	| { readonly key: string; readonly range: Range }
	| { readonly key: string; readonly geo_radius: { readonly center: GeoPoint; readonly radius: number } }
	| {
			readonly key: string;
			readonly geo_bounding_box: { readonly top_left: GeoPoint; readonly bottom_right: GeoPoint };
	  }
	| { readonly key: string; readonly values_count: CountRange }
	| { readonly is_empty: { readonly key: string } }
	| { readonly is_null: { readonly key: string } }
	| { readonly has_id: readonly (string | number)[] }
	| { readonly nested: { readonly key: string; readonly filter: Filter } }
	| Filter;
