/** A point in time to the nanosecond: more than a double holds, so in two parts that compare part by part. */
export interface Instant {
	/** Whole milliseconds since the Unix epoch, rounded down; negative before 1970. */
	readonly ms: number;
	/** 0..999,999 nanoseconds past `ms`. */
	readonly ns: number;
}

const RFC_3339 =
	/^(\d{4})-(\d\d)-(\d\d)(?:[Tt ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d+))?)?(?:([Zz])|([+-])(\d\d):?(\d\d))?)?$/;

/**
 * Read an RFC 3339 time. As in Qdrant, the zone may be left out (UTC is meant), and so may the seconds or the whole
 * time of day; digits past the nanosecond are dropped; second 60 is the first of the next minute.
 *
 * @returns undefined where the text is no such time, or names a day that the calendar lacks.
 */
export function parseInstant(text: string): Instant | undefined {
	// No valid time is shorter than a date, and most strings are told apart here without the pattern.
	if (text.length < 10 || text.charCodeAt(4) !== 0x2d) return undefined;
	const found = RFC_3339.exec(text);
	if (found === null) return undefined;
	const [, year, month, day, hour, minute, second, fraction = "", , sign, zoneHour, zoneMinute] = found;
	const [monthNumber, dayNumber] = [Number(month), Number(day)];
	const clock = [Number(hour ?? 0), Number(minute ?? 0), Number(second ?? 0)] as const;
	const zone = [Number(zoneHour ?? 0), Number(zoneMinute ?? 0)] as const;
	if (clock[0] > 23 || clock[1] > 59 || clock[2] > 60 || zone[0] > 23 || zone[1] > 59) return undefined;

	// Date.UTC takes the years 0 to 99 for 1900 to 1999; setUTCFullYear does not.
	const date = new Date(0);
	date.setUTCFullYear(Number(year), monthNumber - 1, dayNumber);
	if (date.getUTCMonth() !== monthNumber - 1 || date.getUTCDate() !== dayNumber) return undefined;
	const nanoseconds = Number(fraction.slice(0, 9).padEnd(9, "0"));
	const zoneMs = (zone[0] * 60 + zone[1]) * 60_000 * (sign === "-" ? -1 : 1);
	return {
		ms:
			date.getTime() +
			((clock[0] * 60 + clock[1]) * 60 + clock[2]) * 1_000 +
			Math.floor(nanoseconds / 1_000_000) -
			zoneMs,
		ns: nanoseconds % 1_000_000,
	};
}

/** @returns negative, zero or positive as `a` is before, at or after `b`. */
export function compareInstants(a: Instant, b: Instant): number {
	return a.ms - b.ms || a.ns - b.ns;
}
