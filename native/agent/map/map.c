/* The map of a disk: its partition table cut into regions, each with the reader of its file system. */
#include "reader.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_REGIONS (3 * MAX_PARTITIONS + 8)
/* A gap up to this size is taken: boot loaders, alignment. Of a larger one only the beginning. */
#define GAP_TAKEN_WHOLE (16ull << 20)
#define GAP_TAKEN_PART (1ull << 20)
/* The end of a disk: backup GPT, RAID and dynamic disk metadata. */
#define END_TAKEN (16ull << 20)

/* A part of a source as a source of its own. */
struct slice {
	struct source source; /* first */
	struct source *parent;
	uint64_t offset;
};

struct disk_map {
	struct source *source;
	struct refreshed_starts refreshed;
	struct partition_table table;
	struct region regions[MAX_REGIONS];
	struct slice slices[MAX_REGIONS];
	struct file_system systems[MAX_REGIONS];
	size_t count;
};

static const struct reader *const readers[] = {&ext_reader, &xfs_reader, &swap_reader};

int reader_reason(struct file_system *fs, int result, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(fs->reason, REASON_BYTES, format, arguments);
	va_end(arguments);
	return result;
}

int reader_use_tail(struct file_system *fs, uint64_t end, struct sink *sink)
{
	uint64_t size = fs->source->size_bytes;

	return end < size ? sink->used(sink, end, size - end) : 0;
}

static int slice_read(struct source *source, uint64_t offset, void *buffer, size_t length)
{
	struct slice *slice = (struct slice *)(void *)source;

	if (offset > source->size_bytes || length > source->size_bytes - offset)
		return -ERANGE;
	return slice->parent->read(slice->parent, slice->offset + offset, buffer, length);
}

static bool was_refreshed(const struct disk_map *map, uint64_t offset)
{
	for (size_t i = 0; i < map->refreshed.count; i++)
		if (map->refreshed.offsets[i] == offset)
			return true;
	return false;
}

static struct region *add_region(struct disk_map *map, uint64_t offset, uint64_t length, const char *kind)
{
	if (map->count == MAX_REGIONS || length == 0)
		return NULL;
	struct region *region = &map->regions[map->count++];
	*region = (struct region){.offset_bytes = offset, .length_bytes = length, .method = MAP_WHOLE};
	snprintf(region->kind, sizeof(region->kind), "%s", kind);
	return region;
}

static void set_reason(struct region *region, const char *reason)
{
	if (region)
		snprintf(region->reason, sizeof(region->reason), "%s", reason);
}

/* Names a region that no reader maps. */
static void name_region(struct region *region, struct source *source)
{
	const char *name = signature_is_md(source) ? "md" : signature_name(source);

	snprintf(region->kind, sizeof(region->kind), "%s", name ? name : "unknown");
	set_reason(region, name ? "its used blocks are not read yet" : "nothing is known about what it holds");
}

/* Asks each reader for the region. Returns 0 or -ENOMEM. */
static int identify(struct disk_map *map, struct region *region)
{
	size_t index = (size_t)(region - map->regions);
	struct slice *slice = &map->slices[index];
	struct file_system *fs = &map->systems[index];

	*slice = (struct slice){.source = {slice_read, region->length_bytes}, .parent = map->source,
				.offset = region->offset_bytes};
	*fs = (struct file_system){.source = &slice->source, .refreshed = was_refreshed(map, region->offset_bytes),
				   .kind = region->kind, .reason = region->reason};
	name_region(region, &slice->source);
	if (signature_is_md(&slice->source))
		return 0;
	for (size_t i = 0; i < sizeof(readers) / sizeof(*readers); i++) {
		int result = readers[i]->open(fs);
		if (result == -ENOMEM)
			return result;
		if (result < 0) {
			snprintf(region->reason, sizeof(region->reason), "its metadata cannot be read: %s", strerror(-result));
			return 0;
		}
		if (result == OPEN_WHOLE)
			return 0;
		if (result == OPEN_MAPPED) {
			fs->reader = readers[i];
			region->method = readers[i]->method;
			region->reason[0] = '\0';
			return 0;
		}
	}
	return 0;
}

static int by_offset(const void *left, const void *right)
{
	const struct partition *a = left, *b = right;

	return a->offset_bytes < b->offset_bytes ? -1 : a->offset_bytes > b->offset_bytes;
}

/* Takes a range that belongs to no partition: all of a small one, the beginning of a large one. */
static void add_gap(struct disk_map *map, uint64_t start, uint64_t end)
{
	if (start >= end)
		return;
	uint64_t taken = end - start <= GAP_TAKEN_WHOLE ? end - start : GAP_TAKEN_PART;
	add_region(map, start, taken, start < GAP_TAKEN_WHOLE ? "boot-gap" : "gap");
	uint64_t left = end - start - taken, at_end = left < END_TAKEN ? left : END_TAKEN;
	if (map->source->size_bytes - end < END_TAKEN)
		add_region(map, end - at_end, at_end, "gap");
}

static int add_partition(struct disk_map *map, const struct partition *partition, bool overlaps)
{
	struct region *region = add_region(map, partition->offset_bytes, partition->length_bytes, "unknown");

	if (!region)
		return -E2BIG;
	region->partition = partition->number;
	if (partition->bios_boot) {
		snprintf(region->kind, sizeof(region->kind), "bios-boot");
		return 0;
	}
	if (overlaps) {
		set_reason(region, "it overlaps another partition");
		return 0;
	}
	return identify(map, region);
}

static int cut_into_regions(struct disk_map *map)
{
	struct partition_table *table = &map->table;
	uint64_t end = 0, stop = map->source->size_bytes;
	int result = 0;

	qsort(table->partitions, table->count, sizeof(*table->partitions), by_offset);
	for (size_t i = 0; i < table->table_count; i++) {
		const struct partition *range = &table->tables[i];
		uint64_t range_end = range->offset_bytes + range->length_bytes;
		add_region(map, range->offset_bytes, range->length_bytes, "partition-table");
		/* The gaps start after the table and end before its copy. */
		if (range->offset_bytes <= end && range_end > end)
			end = range_end;
		else if (range->offset_bytes > map->source->size_bytes / 2 && range->offset_bytes < stop)
			stop = range->offset_bytes;
	}
	for (size_t i = 0; result == 0 && i < table->count; i++) {
		const struct partition *partition = &table->partitions[i];
		bool before = partition->offset_bytes < end;
		bool after = i + 1 < table->count &&
			     table->partitions[i + 1].offset_bytes - partition->offset_bytes < partition->length_bytes;
		add_gap(map, end, partition->offset_bytes);
		result = add_partition(map, partition, before || after);
		if (partition->offset_bytes + partition->length_bytes > end)
			end = partition->offset_bytes + partition->length_bytes;
	}
	add_gap(map, end, stop);
	return result;
}

/* A file system without a partition table, or something that nobody here knows. */
static int take_as_one(struct disk_map *map)
{
	struct region *region = add_region(map, 0, map->source->size_bytes, "unknown");

	return region ? identify(map, region) : 0;
}

static int by_region_offset(const void *left, const void *right)
{
	const struct region *a = left, *b = right;

	return a->offset_bytes < b->offset_bytes ? -1 : a->offset_bytes > b->offset_bytes;
}

/* Partition tables were added first: bring the regions into order, and what belongs to them with them. */
static int sort_regions(struct disk_map *map)
{
	size_t count = map->count;

	if (count < 2)
		return 0;
	struct region *before = malloc(count * sizeof(*before));
	struct slice *slices = malloc(count * sizeof(*slices));
	struct file_system *systems = malloc(count * sizeof(*systems));
	int result = before && slices && systems ? 0 : -ENOMEM;

	if (result == 0) {
		memcpy(before, map->regions, count * sizeof(*before));
		memcpy(slices, map->slices, count * sizeof(*slices));
		memcpy(systems, map->systems, count * sizeof(*systems));
		/* Carried through the sort in a field that is free at this time. */
		for (size_t i = 0; i < count; i++)
			map->regions[i].length_bytes = i;
		qsort(map->regions, count, sizeof(*map->regions), by_region_offset);
		for (size_t i = 0; i < count; i++) {
			size_t old = map->regions[i].length_bytes;
			map->regions[i] = before[old];
			map->slices[i] = slices[old];
			map->systems[i] = systems[old];
			map->systems[i].source = &map->slices[i].source;
			map->systems[i].kind = map->regions[i].kind;
			map->systems[i].reason = map->regions[i].reason;
		}
	}
	free(before);
	free(slices);
	free(systems);
	return result;
}

static bool holds_plain_file_system(struct disk_map *map)
{
	map->count = 0;
	int result = take_as_one(map);
	bool known = result == 0 && map->count == 1 && strcmp(map->regions[0].kind, "unknown") != 0;

	if (!known) {
		if (map->count && map->systems[0].reader)
			map->systems[0].reader->close(&map->systems[0]);
		memset(map->systems, 0, map->count * sizeof(*map->systems));
		map->count = 0;
	}
	return known;
}

static void take_whole(struct disk_map *map, const char *reason)
{
	for (size_t i = 0; i < map->count; i++)
		if (map->systems[i].reader)
			map->systems[i].reader->close(&map->systems[i]);
	memset(map->systems, 0, map->count * sizeof(*map->systems));
	map->count = 0;
	set_reason(add_region(map, 0, map->source->size_bytes, "unknown"), reason);
}

static int find_regions(struct disk_map *map, uint32_t sector_bytes)
{
	map->table.name = "none";
	int found = gpt_read(map->source, sector_bytes, &map->table);
	bool plain = found == 0 && holds_plain_file_system(map);
	if (found == 0)
		found = mbr_read(map->source, sector_bytes, &map->table);
	if (found == -ENOMEM)
		return found;
	if (map->table.damaged) {
		take_whole(map, map->table.reason);
		return 0;
	}
	/* One of the two is left from an earlier life of the disk, and nothing says which. */
	if (found == 1 && plain) {
		take_whole(map, "it has both a partition table and a file system of its own");
		return 0;
	}
	if (found == 1) {
		int result = cut_into_regions(map);
		return result < 0 ? result : sort_regions(map);
	}
	return plain ? 0 : take_as_one(map);
}

int disk_map_open(struct source *source, uint32_t logical_sector_bytes, struct refreshed_starts refreshed,
		  struct disk_map **out)
{
	struct disk_map *map = calloc(1, sizeof(*map));

	*out = NULL;
	if (!map)
		return -ENOMEM;
	map->source = source;
	map->refreshed = refreshed;
	int result = find_regions(map, logical_sector_bytes);
	map->refreshed = (struct refreshed_starts){0};
	if (result < 0) {
		disk_map_close(map);
		return result;
	}
	*out = map;
	return 0;
}

void disk_map_close(struct disk_map *map)
{
	for (size_t i = 0; map && i < map->count; i++)
		if (map->systems[i].reader)
			map->systems[i].reader->close(&map->systems[i]);
	free(map);
}

const char *disk_map_table(const struct disk_map *map)
{
	return map->table.name;
}

const struct region *disk_map_regions(const struct disk_map *map, size_t *count)
{
	*count = map->count;
	return map->regions;
}

/* Moves ranges of a region to where they are on the disk, cut at the region's end. */
struct shifted_sink {
	struct sink sink; /* first */
	struct sink *target;
	const struct region *region;
	int target_error;
};

static int shifted_used(struct sink *sink, uint64_t offset, uint64_t length)
{
	struct shifted_sink *shifted = (struct shifted_sink *)(void *)sink;
	uint64_t size = shifted->region->length_bytes;

	if (offset >= size)
		return 0;
	if (length > size - offset)
		length = size - offset;
	int result = shifted->target->used(shifted->target, shifted->region->offset_bytes + offset, length);
	if (result < 0)
		shifted->target_error = result;
	return result;
}

static void degrade(struct disk_map *map, size_t index, int error)
{
	struct region *region = &map->regions[index];

	if (error != -EUCLEAN)
		snprintf(region->reason, sizeof(region->reason), "its metadata cannot be read: %s", strerror(-error));
	region->method = MAP_WHOLE;
	map->systems[index].reader->close(&map->systems[index]);
	map->systems[index].reader = NULL;
}

int disk_map_walk_region(struct disk_map *map, size_t index, struct window window, struct sink *sink)
{
	struct region *region = &map->regions[index];
	uint64_t end = region->offset_bytes + region->length_bytes;

	if (window.start >= end || window.end <= region->offset_bytes)
		return 0;
	uint64_t start = window.start > region->offset_bytes ? window.start : region->offset_bytes;
	uint64_t stop = window.end < end ? window.end : end;
	if (region->method != MAP_WHOLE) {
		struct shifted_sink shifted = {.sink.used = shifted_used, .target = sink, .region = region};
		struct window inner = {start - region->offset_bytes, stop - region->offset_bytes};
		int result = map->systems[index].reader->walk(&map->systems[index], inner, &shifted.sink);
		if (result == 0 || result == -ENOMEM || shifted.target_error < 0)
			return result;
		degrade(map, index, result);
	}
	return sink->used(sink, start, stop - start);
}

int disk_map_walk(struct disk_map *map, struct window window, struct sink *sink)
{
	int result = 0;

	for (size_t i = 0; result == 0 && i < map->count; i++)
		result = disk_map_walk_region(map, i, window, sink);
	return result;
}
