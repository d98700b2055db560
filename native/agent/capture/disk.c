#include "disk.h"
#include "freeze.h"
#include "report.h"
#include "used-runs.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int refuse_device(const char *path, int result)
{
	json_t *details = json_pack("{s:s, s:i}", "device", path, "errno", -result);

	if (result == -ENOENT || result == -ENXIO || result == -ENODEV)
		report_error(details, "disk-unknown", "there is no disk %s", path);
	else if (result == -ENOTBLK)
		report_error(details, "disk-unknown", "%s is neither a block device nor a file", path);
	else if (result == -EACCES || result == -EPERM)
		report_error(details, "not-root", "user %u may not read %s", (unsigned)geteuid(), path);
	else
		report_error(details, "disk-unreadable", "%s cannot be opened: %s", path, strerror(-result));
	return result;
}

/* Freezing for a moment makes a file system write its journal and metadata home. */
static bool refresh_mount(const struct disk *disk, const struct mount *mount, bool refresh)
{
	if (freeze_holds(mount->mountpoint))
		return true;
	if (!refresh || !mount->writable)
		return false;
	int result = freeze_refresh(mount->mountpoint);
	/* Of what can never be frozen no map is read that could be out of date. */
	if (result < 0 && result != -EOPNOTSUPP)
		report_warning("metadata-not-refreshed", "%s on %s could not be frozen for a moment: %s", mount->mountpoint,
			       disk->device.path, strerror(-result));
	return result == 0;
}

/* Collects where the refreshed file systems start; `offsets` has room for every mount. */
static size_t refresh_mounts(const struct disk *disk, bool refresh, uint64_t *offsets)
{
	size_t count = 0;

	for (size_t i = 0; i < disk->mounts.count; i++) {
		const struct mount *mount = &disk->mounts.entries[i];
		if (refresh_mount(disk, mount, refresh) && mount->path[0])
			offsets[count++] = mount->start_bytes;
	}
	return count;
}

int disk_open(struct disk *disk, const char *path, bool refresh)
{
	uint64_t offsets[MAX_MOUNTS];

	*disk = (struct disk){.device = {.direct_fd = -1, .buffered_fd = -1}};
	int result = device_open(&disk->device, path);
	if (result < 0)
		return refuse_device(path, result);
	disk->clusters = disk->device.size_bytes / CLUSTER_BYTES + (disk->device.size_bytes % CLUSTER_BYTES != 0);
	result = mounts_collect(&disk->device, &disk->mounts);
	if (result < 0)
		goto fail;
	struct refreshed_starts starts = {offsets, refresh_mounts(disk, refresh, offsets)};
	result = disk_map_open(&disk->device.source, disk->device.sector_bytes, starts, &disk->map);
	if (result < 0)
		goto fail;
	disk->regions = disk_map_regions(disk->map, &disk->region_count);
	disk->region_clusters = calloc(disk->region_count + 1, sizeof(*disk->region_clusters));
	result = -ENOMEM;
	if (!disk->region_clusters)
		goto fail;
	result = used_count(disk->map, disk->device.size_bytes, disk->region_clusters, &disk->used_clusters);
	if (result < 0)
		goto fail;
	return 0;
fail:
	report_error(json_pack("{s:s, s:i}", "device", path, "errno", -result), "disk-unreadable",
		     "%s cannot be read: %s", path, strerror(-result));
	disk_close(disk);
	return result;
}

void disk_close(struct disk *disk)
{
	if (disk->map)
		disk_map_close(disk->map);
	disk->map = NULL;
	free(disk->region_clusters);
	disk->region_clusters = NULL;
	mounts_release(&disk->mounts);
	device_close(&disk->device);
}

/* The mount that starts where the region starts: of a partition, or of the whole disk. */
static const struct mount *mount_of(const struct disk *disk, const struct region *region)
{
	for (size_t i = 0; i < disk->mounts.count; i++)
		if (disk->mounts.entries[i].path[0] && disk->mounts.entries[i].start_bytes == region->offset_bytes)
			return &disk->mounts.entries[i];
	return NULL;
}

static json_t *text(const char *value)
{
	json_t *string = json_string(value);

	return string ? string : json_string("?");
}

static json_t *plan_region(const struct disk *disk, size_t index)
{
	static const char *const methods[] = {"allocation-map", "header", "whole"};
	const struct region *region = &disk->regions[index];
	const struct mount *mount = mount_of(disk, region);
	json_t *entry = json_pack("{s:I, s:I, s:s, s:s, s:I}", "offsetBytes", (json_int_t)region->offset_bytes,
				  "lengthBytes", (json_int_t)region->length_bytes, "kind", region->kind, "method",
				  methods[region->method], "usedBytes",
				  (json_int_t)(disk->region_clusters[index] * CLUSTER_BYTES));

	if (!entry)
		return NULL;
	if (region->partition > 0)
		json_object_set_new(entry, "partition", json_integer(region->partition));
	if (region->method == MAP_WHOLE && region->reason[0])
		json_object_set_new(entry, "reason", text(region->reason));
	if (mount) {
		json_object_set_new(entry, "path", text(mount->path));
		json_object_set_new(entry, "mountpoint", text(mount->mountpoint));
	}
	return entry;
}

json_t *disk_plan(const struct disk *disk)
{
	json_t *regions = json_array(), *mounted = json_array();

	for (size_t i = 0; i < disk->region_count; i++)
		json_array_append_new(regions, plan_region(disk, i));
	for (size_t i = 0; i < disk->mounts.count; i++)
		json_array_append_new(mounted, text(disk->mounts.entries[i].mountpoint));
	return json_pack("{s:s, s:I, s:i, s:I, s:I, s:I, s:o, s:b, s:b, s:s, s:o}", "device", disk->device.path,
			 "sizeBytes", (json_int_t)disk->device.size_bytes, "logicalSectorBytes",
			 (int)disk->device.sector_bytes, "clusters", (json_int_t)disk->clusters, "usedClusters",
			 (json_int_t)disk->used_clusters, "usedBytes", (json_int_t)(disk->used_clusters * CLUSTER_BYTES),
			 "mounted", mounted, "writable", mounts_writable(&disk->mounts), "swapActive",
			 disk->mounts.swap_active, "table", disk_map_table(disk->map), "regions", regions);
}
