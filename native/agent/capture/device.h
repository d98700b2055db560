/* A disk to capture, opened read-only. */
#ifndef DOPPEL_DEVICE_H
#define DOPPEL_DEVICE_H

#include "../map/map.h"

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct device {
	struct source source; /* first: the map readers see only this */
	char path[PATH_MAX];
	int direct_fd;        /* O_DIRECT, or the same as buffered_fd where the file system refuses it */
	int buffered_fd;
	uint32_t sector_bytes;
	uint64_t size_bytes;
	bool is_block;
	unsigned major, minor;
	unsigned char *piece;     /* DEVICE_PIECE_BYTES, aligned: what was read last for the map readers */
	uint64_t piece_offset;    /* UINT64_MAX when it holds nothing */
	size_t piece_bytes;
};

#define DEVICE_PIECE_BYTES 65536u

/* Opens a block device or a regular file, O_RDONLY. Returns 0 or a negative errno (-ENOTBLK for other kinds). */
int device_open(struct device *device, const char *path);
void device_close(struct device *device);

/* Reads exactly `length` bytes, looping over short reads and interruptions. `buffer`, `offset` and `length` are
 * multiples of 4,096 where `direct` is used to advantage; what O_DIRECT refuses is read through the page cache.
 * Returns 0 or a negative errno; the end of the device inside the range is -EIO. */
int device_read(const struct device *device, void *buffer, uint64_t offset, size_t length);

/* True when the device is no longer there or has lost its size. */
bool device_vanished(const struct device *device);

#endif
