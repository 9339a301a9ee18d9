import type { GeoPoint } from "../base/filter.ts";

/** Mean radius of the Earth in metres (IUGG), as Qdrant takes it. */
const EARTH_RADIUS_METRES = 6_371_008.8;

/** A payload's `{"lat": …, "lon": …}` in degrees, or undefined where the value is none. */
export function geoPointOf(value: unknown): GeoPoint | undefined {
	if (typeof value !== "object" || value === null) return undefined;
	const { lat, lon } = value as { lat?: unknown; lon?: unknown };
	return typeof lat === "number" && typeof lon === "number" ? { lat, lon } : undefined;
}

/**
 * Great-circle distance in metres.
 *
 * Source: the haversine formula, sound at small distances where the cosine rule cancels.
 */
export function geoDistanceMetres(a: GeoPoint, b: GeoPoint): number {
	const [latA, latB] = [radians(a.lat), radians(b.lat)];
	const halfChord =
		Math.sin((latB - latA) / 2) ** 2 + Math.cos(latA) * Math.cos(latB) * Math.sin(radians(b.lon - a.lon) / 2) ** 2;
	// Rounding may take it past 1 at antipodes, where asin would give NaN.
	return 2 * EARTH_RADIUS_METRES * Math.asin(Math.sqrt(Math.min(1, halfChord)));
}

/** Whether a point lies within a box, edges excluded (as in Qdrant). A left edge east of the right one crosses the antimeridian. */
export function isWithinGeoBox(
	point: GeoPoint,
	box: { readonly top_left: GeoPoint; readonly bottom_right: GeoPoint },
): boolean {
	const { top_left, bottom_right } = box;
	if (point.lat >= top_left.lat || point.lat <= bottom_right.lat) return false;
	return top_left.lon > bottom_right.lon
		? point.lon > top_left.lon || point.lon < bottom_right.lon
		: point.lon > top_left.lon && point.lon < bottom_right.lon;
}

function radians(degrees: number): number {
	return (degrees * Math.PI) / 180;
}
