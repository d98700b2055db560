/* Which parts of a device hold data: the partition tables and the allocation structures of its file systems. */
#ifndef DOPPEL_MAP_H
#define DOPPEL_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A readable range of a device. Readers never see the device itself, so the same code reads a disk, a partition,
 * and (later) a logical volume laid over several disks. */
struct source {
	/* Reads exactly `length` bytes at `offset`; 0, or a negative errno. A range outside [0, size) is -ERANGE. */
	int (*read)(struct source *source, uint64_t offset, void *buffer, size_t length);
	uint64_t size_bytes;
};

/* Receives used byte ranges of a source; ranges may repeat, touch and come in any order. Returns 0 or stops the
 * walk with a negative errno. */
struct sink {
	int (*used)(struct sink *sink, uint64_t offset, uint64_t length);
};

/* A byte range [start, end) of interest: maps are asked for a window at a time so that memory stays bounded
 * however large the disk. Ranges that a reader reports may reach outside of the window. */
struct window {
	uint64_t start;
	uint64_t end;
};

enum map_method { MAP_ALLOCATION, MAP_HEADER, MAP_WHOLE };

/* One captured region of a disk. */
struct region {
	uint64_t offset_bytes;
	uint64_t length_bytes;
	char kind[24];          /* docs/agent-protocol.md, PLAN */
	int partition;          /* number in the partition table, 0 when not a partition */
	enum map_method method;
	char reason[160];       /* why it is taken whole; empty otherwise */
};

struct disk_map;

/* Reads partition tables and superblocks of a disk (or partition, or plain file system) through `source`.
 * Never fails because of what is on the disk: what is not understood becomes a region taken whole.
 * `refreshed` lists where regions start whose file systems have been frozen (and perhaps thawed again) just now: a
 * journal there that is marked as in use holds nothing newer than what is in place.
 * Returns 0, or a negative errno when the source itself cannot be read. */
struct refreshed_starts {
	const uint64_t *offsets;
	size_t count;
};

int disk_map_open(struct source *source, uint32_t logical_sector_bytes, struct refreshed_starts refreshed,
		  struct disk_map **out);
void disk_map_close(struct disk_map *map);

/* "gpt", "mbr" or "none". */
const char *disk_map_table(const struct disk_map *map);

/* The regions, ascending; valid until the map is closed. Their method and reason may change to whole when a
 * later walk meets metadata that contradicts itself. */
const struct region *disk_map_regions(const struct disk_map *map, size_t *count);

/* Reports every used byte range that touches the window. A region whose structures turn out to be corrupt within
 * this call is reported whole (for the part in the window) and its method becomes MAP_WHOLE from then on; once a
 * region has been degraded, every later window of it is whole. Returns 0, -ENOMEM, or what the sink returned. */
int disk_map_walk(struct disk_map *map, struct window window, struct sink *sink);

/* The same for one region, by index. */
int disk_map_walk_region(struct disk_map *map, size_t region, struct window window, struct sink *sink);

/* `doppel-agent map …`: prints the regions and used extents of a disk or file. `argv[0]` is "map". */
int map_command(int argc, char **argv);

#endif
