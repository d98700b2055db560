#include "bitmap.h"
#include "../wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int bitmap_open(struct bitmap *bitmap)
{
	*bitmap = (struct bitmap){.words = calloc(WINDOW_CLUSTERS / 64, sizeof(uint64_t))};
	return bitmap->words ? 0 : -ENOMEM;
}

void bitmap_close(struct bitmap *bitmap)
{
	free(bitmap->words);
	bitmap->words = NULL;
}

void bitmap_place(struct bitmap *bitmap, uint64_t first_cluster, uint64_t end_cluster)
{
	uint64_t count = end_cluster - first_cluster;

	bitmap->first_cluster = first_cluster;
	bitmap->count = count < WINDOW_CLUSTERS ? count : WINDOW_CLUSTERS;
	memset(bitmap->words, 0, (bitmap->count + 63) / 64 * sizeof(uint64_t));
}

uint64_t bitmap_mark_bytes(struct bitmap *bitmap, uint64_t offset, uint64_t length)
{
	uint64_t marked = 0;
	if (length == 0)
		return 0;
	uint64_t first = offset / CLUSTER_BYTES;
	uint64_t last = offset + (length - 1) < offset ? UINT64_MAX / CLUSTER_BYTES : (offset + (length - 1)) / CLUSTER_BYTES;
	uint64_t window_end = bitmap->first_cluster + bitmap->count;

	if (last < bitmap->first_cluster || first >= window_end)
		return 0;
	first = first < bitmap->first_cluster ? 0 : first - bitmap->first_cluster;
	last = last >= window_end ? bitmap->count - 1 : last - bitmap->first_cluster;
	for (uint64_t word = first / 64; word <= last / 64; word++) {
		uint64_t mask = UINT64_MAX;
		if (word == first / 64)
			mask &= UINT64_MAX << (first % 64);
		if (word == last / 64)
			mask &= UINT64_MAX >> (63 - last % 64);
		marked += (uint64_t)__builtin_popcountll(mask & ~bitmap->words[word]);
		bitmap->words[word] |= mask;
	}
	return marked;
}

/* The first cluster at or after `from` whose bit is `wanted`; `end` when there is none before it. */
static uint64_t find_bit(const struct bitmap *bitmap, uint64_t from, uint64_t end, bool wanted)
{
	while (from < end) {
		uint64_t word = bitmap->words[from / 64];
		if (!wanted)
			word = ~word;
		word &= UINT64_MAX << (from % 64);
		if (word) {
			uint64_t found = from / 64 * 64 + (uint64_t)__builtin_ctzll(word);
			return found < end ? found : end;
		}
		from = (from / 64 + 1) * 64;
	}
	return end;
}

bool bitmap_next_run(const struct bitmap *bitmap, uint64_t from, uint64_t most, uint64_t *first, uint64_t *count)
{
	uint64_t at = from < bitmap->first_cluster ? 0 : from - bitmap->first_cluster;
	uint64_t start = find_bit(bitmap, at, bitmap->count, true);

	if (start >= bitmap->count)
		return false;
	/* No further than it matters: of a disk taken whole, the next unused cluster is a window away. */
	uint64_t stop = bitmap->count - start < most ? bitmap->count : start + most;
	*first = bitmap->first_cluster + start;
	*count = find_bit(bitmap, start, stop, false) - start;
	return true;
}
