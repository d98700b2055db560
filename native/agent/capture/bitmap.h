/* The used clusters of one window of a disk. A window bounds memory: 2 MiB hold 1 TiB of disk. */
#ifndef DOPPEL_BITMAP_H
#define DOPPEL_BITMAP_H

#include <stdbool.h>
#include <stdint.h>

#define WINDOW_CLUSTERS (16u << 20)

struct bitmap {
	uint64_t first_cluster; /* of the window, a multiple of 64 */
	uint64_t count;         /* clusters in the window */
	uint64_t *words;
};

/* Returns 0 or -ENOMEM. */
int bitmap_open(struct bitmap *bitmap);
void bitmap_close(struct bitmap *bitmap);

/* Empties the bitmap and places it at the window that starts at `first_cluster`, at most up to `end_cluster`. */
void bitmap_place(struct bitmap *bitmap, uint64_t first_cluster, uint64_t end_cluster);

/* Marks every cluster of the window that the byte range touches; returns how many were not marked before. */
uint64_t bitmap_mark_bytes(struct bitmap *bitmap, uint64_t offset, uint64_t length);

/* Finds the next run of marked clusters at or after `from` (absolute), at most `most` long. False at the end. */
bool bitmap_next_run(const struct bitmap *bitmap, uint64_t from, uint64_t most, uint64_t *first, uint64_t *count);

#endif
