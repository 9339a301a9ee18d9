import { expect, test } from "bun:test";
import { MetricsDoor } from "../../src/access/metrics-door.ts";

const TOKEN = "a-token-for-scrapers";

test("public metrics are for everyone", () => {
	const door = new MetricsDoor({ public: true, token: TOKEN });
	for (const header of [undefined, "", "Bearer wrong"]) expect(door.admits(header)).toBe(true);
});

test("the token opens, in the form scrapers send it", () => {
	const door = new MetricsDoor({ public: false, token: TOKEN });
	for (const header of [`Bearer ${TOKEN}`, `bearer   ${TOKEN}`, `BEARER ${TOKEN} `])
		expect(door.admits(header)).toBe(true);
});

test.each([
	undefined,
	"",
	TOKEN,
	"Bearer",
	"Bearer ",
	`Basic ${TOKEN}`,
	`Bearer ${TOKEN}x`,
	`Bearer ${TOKEN.slice(1)}`,
])("%p does not open", (header) => {
	expect(new MetricsDoor({ public: false, token: TOKEN }).admits(header)).toBe(false);
});

test("without a token nothing opens", () => {
	const door = new MetricsDoor({ public: false });
	for (const header of [undefined, "Bearer ", "Bearer undefined"]) expect(door.admits(header)).toBe(false);
});
