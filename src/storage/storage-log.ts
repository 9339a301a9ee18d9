/** Where a shard says what nobody waits for: a background failure, a rebuild. */
export type StorageLog = (message: string, details?: Readonly<Record<string, unknown>>) => void;
