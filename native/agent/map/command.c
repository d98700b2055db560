/* `doppel-agent map`: the regions and used extents of a disk or an image, for people and tests. */
#include "../capture/device.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WINDOW_BYTES (1ull << 40)
#define MAX_REFRESHED 64

struct options {
	bool json, extents;
	uint32_t sector_bytes;
	uint64_t refreshed[MAX_REFRESHED];
	size_t refreshed_count;
	const char *path;
};

/* Gathers ranges in the order of the walk, joining those that touch. */
struct listing {
	struct sink sink; /* first */
	json_t *extents;
	uint64_t start, end, total;
};

static void list_range(struct listing *listing)
{
	if (listing->end == listing->start)
		return;
	listing->total += listing->end - listing->start;
	if (listing->extents)
		json_array_append_new(listing->extents, json_pack("[I, I]", (json_int_t)listing->start,
								  (json_int_t)(listing->end - listing->start)));
}

static int list_used(struct sink *sink, uint64_t offset, uint64_t length)
{
	struct listing *listing = (struct listing *)(void *)sink;

	if (offset == listing->end && listing->end != listing->start) {
		listing->end += length;
		return 0;
	}
	list_range(listing);
	listing->start = offset;
	listing->end = offset + length;
	return 0;
}

static json_t *describe_region(struct disk_map *map, size_t index, const struct options *options, uint64_t disk_bytes)
{
	static const char *const methods[] = {"allocation-map", "header", "whole"};
	struct listing listing = {.sink.used = list_used, .extents = options->extents ? json_array() : NULL};
	size_t count;
	const struct region *region = &disk_map_regions(map, &count)[index];

	for (uint64_t start = 0; start < disk_bytes; start += WINDOW_BYTES) {
		struct window window = {start, start + WINDOW_BYTES};
		if (disk_map_walk_region(map, index, window, &listing.sink) < 0)
			return NULL;
	}
	list_range(&listing);
	json_t *entry = json_pack("{s:I, s:I, s:s, s:i, s:s, s:s}", "offsetBytes", (json_int_t)region->offset_bytes,
				  "lengthBytes", (json_int_t)region->length_bytes, "kind", region->kind, "partition",
				  region->partition, "method", methods[region->method], "reason", region->reason);
	if (entry && listing.extents)
		json_object_set_new(entry, "extents", listing.extents);
	return entry;
}

static int print_map(struct disk_map *map, const struct options *options, uint64_t disk_bytes)
{
	json_t *regions = json_array();
	size_t count;

	disk_map_regions(map, &count);
	for (size_t i = 0; i < count; i++)
		if (json_array_append_new(regions, describe_region(map, i, options, disk_bytes)) < 0)
			return 1;
	json_t *document = json_pack("{s:s, s:I, s:s, s:o}", "path", options->path, "sizeBytes", (json_int_t)disk_bytes,
				     "table", disk_map_table(map), "regions", regions);
	int failed = !document || json_dumpf(document, stdout, options->json ? JSON_COMPACT : JSON_INDENT(2)) < 0 ||
		     putchar('\n') == EOF;
	json_decref(document);
	return failed;
}

static bool parse(int argc, char **argv, struct options *options)
{
	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--json") == 0)
			options->json = true;
		else if (strcmp(argv[i], "--extents") == 0)
			options->extents = true;
		else if (strcmp(argv[i], "--sector-bytes") == 0 && i + 1 < argc)
			options->sector_bytes = (uint32_t)strtoul(argv[++i], NULL, 10);
		else if (strcmp(argv[i], "--refreshed") == 0 && i + 1 < argc && options->refreshed_count < MAX_REFRESHED)
			options->refreshed[options->refreshed_count++] = strtoull(argv[++i], NULL, 10);
		else if (argv[i][0] != '-' && !options->path)
			options->path = argv[i];
		else
			return false;
	}
	return options->path && (options->sector_bytes == 0 || (options->sector_bytes >= 512 && options->sector_bytes <= 65536));
}

int map_command(int argc, char **argv)
{
	struct options options = {0};
	struct device device;
	struct disk_map *map = NULL;

	if (!parse(argc, argv, &options)) {
		fprintf(stderr, "usage: doppel-agent map [--json] [--extents] [--refreshed OFFSET]... [--sector-bytes N] PATH\n");
		return 2;
	}
	int result = device_open(&device, options.path);
	if (result < 0) {
		fprintf(stderr, "doppel-agent: %s: %s\n", options.path, strerror(-result));
		return 1;
	}
	struct refreshed_starts refreshed = {options.refreshed, options.refreshed_count};
	result = disk_map_open(&device.source, options.sector_bytes ? options.sector_bytes : device.sector_bytes, refreshed, &map);
	if (result < 0)
		fprintf(stderr, "doppel-agent: %s: %s\n", options.path, strerror(-result));
	else
		result = print_map(map, &options, device.size_bytes);
	disk_map_close(map);
	device_close(&device);
	return result == 0 ? 0 : 1;
}
