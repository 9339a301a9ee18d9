/** A server that tests would run against is not there. */
export interface AbsentService {
	readonly available: false;
	readonly reason: string;
}

/** Why tests are skipped. @throws where CI demands that they run: HIVE_TEST_SERVICES=required */
export function absentService(reason: string): AbsentService {
	if (process.env.HIVE_TEST_SERVICES === "required") {
		throw new Error(`HIVE_TEST_SERVICES=required, but ${reason}`);
	}
	return { available: false, reason };
}
