/* A disk to capture, opened read-only: a block device, a file, or the NBD export of an image. */
#ifndef DOPPEL_DEVICE_H
#define DOPPEL_DEVICE_H

#include "../map/map.h"
#include "nbd.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct device {
	struct source source; /* first: the map readers see only this */
	char path[PATH_MAX];
	int direct_fd;        /* O_DIRECT, or the same as buffered_fd where the file system refuses it */
	int buffered_fd;
	struct nbd *nbd;      /* instead of both, where the path is that of a server's socket */
	uint32_t sector_bytes;
	uint64_t size_bytes;
	bool is_block;
	unsigned major, minor;
	unsigned char *piece;     /* DEVICE_PIECE_BYTES, aligned: what was read last for the map readers */
	uint64_t piece_offset;    /* UINT64_MAX when it holds nothing */
	size_t piece_bytes;
};

#define DEVICE_PIECE_BYTES 65536u

/* Opens a block device or a regular file, O_RDONLY, or what the NBD server at a Unix socket exports. Returns 0 or a negative
 * errno (-ENOTBLK for other kinds). */
int device_open(struct device *device, const char *path);
void device_close(struct device *device);

/* Reads exactly `length` bytes, looping over short reads and interruptions. `buffer`, `offset` and `length` are
 * multiples of 4,096 where `direct` is used to advantage; what O_DIRECT refuses is read through the page cache.
 * Returns 0 or a negative errno; the end of the device inside the range is -EIO. */
int device_read(const struct device *device, void *buffer, uint64_t offset, size_t length);

/* Where the hole ends that `offset` lies in; `offset` itself where it lies in none, or where nobody knows. */
uint64_t device_hole_end(const struct device *device, uint64_t offset);

/* True when the device is no longer there or has lost its size. */
bool device_vanished(const struct device *device);

#endif
