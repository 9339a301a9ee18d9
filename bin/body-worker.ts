// The compiled binary finds a worker only beside its entry; see `src/api/rest/body-thread.ts`, which starts it by this name.
import "../src/api/rest/body-worker.ts";
