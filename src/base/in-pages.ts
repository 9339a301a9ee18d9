/** Asks for all items, `size` of them at a time. Yields the answers in their order, a page after another. */
export async function* inPages<Item, Answer>(
	items: readonly Item[],
	size: number,
	ask: (item: Item) => Promise<Answer>,
): AsyncGenerator<readonly Answer[]> {
	for (let start = 0; start < items.length; start += size) {
		yield await Promise.all(items.slice(start, start + size).map(ask));
	}
}
