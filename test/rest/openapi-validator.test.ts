import { expect, test } from "bun:test";
import { Validator } from "@seriousme/openapi-schema-validator";
import { openApiDocument } from "../../src/api/rest/openapi-document.ts";
import { compileRoutes } from "../../src/api/rest/rest-route.ts";
import { OPERATIONS } from "../../src/operations/operation-table.ts";

test("the OpenAPI document of the real table is valid OpenAPI 3.1", async () => {
	const validator = new Validator();
	const document = JSON.parse(JSON.stringify(openApiDocument(compileRoutes(OPERATIONS), "1.0.0")));
	const result = await validator.validate(document);
	expect(result.errors).toBeUndefined();
	expect(result.valid).toBe(true);
	expect(validator.version).toBe("3.1");
});
