#include "used-runs.h"

#include <errno.h>

struct marking_sink {
	struct sink sink; /* first */
	struct bitmap *bitmap;
	uint64_t marked;
};

static int mark(struct sink *sink, uint64_t offset, uint64_t length)
{
	struct marking_sink *marking = (struct marking_sink *)(void *)sink;

	marking->marked += bitmap_mark_bytes(marking->bitmap, offset, length);
	return 0;
}

static struct window window_of(const struct bitmap *bitmap)
{
	return (struct window){
		.start = bitmap->first_cluster * CLUSTER_BYTES,
		.end = (bitmap->first_cluster + bitmap->count) * CLUSTER_BYTES,
	};
}

static uint64_t clusters_of(uint64_t disk_bytes)
{
	return disk_bytes / CLUSTER_BYTES + (disk_bytes % CLUSTER_BYTES != 0);
}

static int next_used(struct cluster_runs *runs, uint64_t most, uint64_t *first, uint64_t *count)
{
	struct used_runs *used = (struct used_runs *)(void *)runs;

	for (;;) {
		if (used->window_ready && bitmap_next_run(&used->bitmap, used->at, most, first, count)) {
			used->at = *first + *count;
			return 1;
		}
		uint64_t start = used->window_ready ? used->bitmap.first_cluster + used->bitmap.count : 0;
		if (start >= used->clusters)
			return 0;
		bitmap_place(&used->bitmap, start, used->clusters);
		struct marking_sink marking = {.sink.used = mark, .bitmap = &used->bitmap};
		int result = disk_map_walk(used->map, window_of(&used->bitmap), &marking.sink);
		if (result < 0)
			return result;
		used->at = start;
		used->window_ready = true;
	}
}

int used_runs_open(struct used_runs *used, struct disk_map *map, uint64_t disk_bytes)
{
	*used = (struct used_runs){.runs.next = next_used, .map = map, .clusters = clusters_of(disk_bytes)};
	return bitmap_open(&used->bitmap);
}

void used_runs_close(struct used_runs *used)
{
	bitmap_close(&used->bitmap);
}

int used_count(struct disk_map *map, uint64_t disk_bytes, uint64_t *per_region, uint64_t *total)
{
	struct bitmap bitmap;
	uint64_t clusters = clusters_of(disk_bytes);
	int result = bitmap_open(&bitmap);

	*total = 0;
	for (uint64_t start = 0; result == 0 && start < clusters; start += bitmap.count) {
		size_t regions = 0;
		bitmap_place(&bitmap, start, clusters);
		disk_map_regions(map, &regions);
		for (size_t region = 0; result == 0 && region < regions; region++) {
			struct marking_sink marking = {.sink.used = mark, .bitmap = &bitmap};
			result = disk_map_walk_region(map, region, window_of(&bitmap), &marking.sink);
			per_region[region] += marking.marked;
			*total += marking.marked;
		}
	}
	bitmap_close(&bitmap);
	return result;
}
