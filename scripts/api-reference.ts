import { writeFileSync } from "node:fs";
import { OPERATIONS } from "../src/operations/operation-table.ts";
import { API_PAGE_PATH, apiPage } from "./api-page.ts";

/** Writes docs/api.md anew from the operation table. */
writeFileSync(API_PAGE_PATH, apiPage(OPERATIONS));
