// The compiled binary finds a worker only beside its entry; see `src/shards/worker-thread.ts`, which starts it by this name.
import "../src/shards/shard-worker.ts";
