/* A disk opened for planning or copying: its device, what is mounted from it, its map, its counts. */
#ifndef DOPPEL_DISK_H
#define DOPPEL_DISK_H

#include "device.h"
#include "mounts.h"

#include <jansson.h>

struct disk {
	struct device device;
	struct mounts mounts;
	struct disk_map *map;
	const struct region *regions;
	size_t region_count;
	uint64_t *region_clusters; /* used clusters of each region */
	uint64_t clusters, used_clusters;
};

/* Opens the disk, reads its maps and counts. What is mounted from it and is not frozen already is frozen and thawed
 * once first with `refresh`, which makes its metadata true on disk. On failure the ERROR message has been sent; returns
 * a negative errno. */
int disk_open(struct disk *disk, const char *path, bool refresh);
void disk_close(struct disk *disk);

/* One entry of PLAN's `disks`: docs/agent-protocol.md. */
json_t *disk_plan(const struct disk *disk);

#endif
