/* The runs of used clusters of a disk, a window at a time. */
#ifndef DOPPEL_USED_RUNS_H
#define DOPPEL_USED_RUNS_H

#include "bitmap.h"
#include "pipeline.h"

struct used_runs {
	struct cluster_runs runs; /* first */
	struct disk_map *map;
	struct bitmap bitmap;
	uint64_t clusters;        /* of the whole disk */
	uint64_t at;              /* the next cluster to look at */
	bool window_ready;
};

/* Returns 0 or -ENOMEM. */
int used_runs_open(struct used_runs *used, struct disk_map *map, uint64_t disk_bytes);
void used_runs_close(struct used_runs *used);

/* Counts the used clusters of the disk and of each region (the first region that marks a cluster counts it).
 * `per_region` has room for every region. Returns 0 or a negative errno. */
int used_count(struct disk_map *map, uint64_t disk_bytes, uint64_t *per_region, uint64_t *total);

#endif
