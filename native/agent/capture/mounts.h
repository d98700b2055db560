/* What is mounted from a disk: from itself, its partitions, and whatever is stacked on them. */
#ifndef DOPPEL_MOUNTS_H
#define DOPPEL_MOUNTS_H

#include "device.h"

#define MAX_MOUNTS 256

struct mount {
	char *mountpoint;
	char *type;
	bool writable;
	unsigned major, minor;
	/* The partition that holds it, when it is directly on one: start in bytes and /dev path; else zero and empty. */
	uint64_t start_bytes;
	char path[64];
};

struct mounts {
	struct mount entries[MAX_MOUNTS];
	size_t count;
	bool swap_active;
};

/* Collects each mounted file system of `device` once (its first mountpoint). Returns 0 or a negative errno. */
int mounts_collect(const struct device *device, struct mounts *mounts);
void mounts_release(struct mounts *mounts);

/* True when one of them can be written. */
bool mounts_writable(const struct mounts *mounts);

#endif
