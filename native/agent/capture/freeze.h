/* Freezing file systems, with a guardian that thaws them whatever happens. */
#ifndef DOPPEL_FREEZE_H
#define DOPPEL_FREEZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAX_FROZEN 256

struct freeze_report {
	uint64_t milliseconds;
	bool by_watchdog;
};

/* A file system of a kind that cannot be frozen (FAT, or one in user space). */
struct unfrozen {
	const char *mountpoint;
	bool synced;  /* everything written before freeze_start was on the disk then */
	bool written; /* its device was written to since, or the kernel cannot tell */
};

/* Freezes each mountpoint, the deepest first, for at most `budget_ms`. A guardian process holds the descriptors too:
 * it thaws when the budget is over, and when this process ends in any way. What is of a kind that cannot be frozen is
 * synced, and its writes are watched: freeze_unfrozen tells. On another failure everything is thawed again and `failed`
 * is the index of the mountpoint that could not be frozen. The strings must live until freeze_end. Returns 0 or a
 * negative errno. */
int freeze_start(const char *const *mountpoints, size_t count, uint64_t budget_ms, struct freeze_report *report,
		 size_t *failed);

/* True when freeze_start froze this mountpoint. */
bool freeze_holds(const char *mountpoint);

/* Fills in what could not be frozen and whether it has been written to until now; returns how many, at most `room`. */
size_t freeze_unfrozen(struct unfrozen *found, size_t room);

/* Thaws what freeze_start froze; harmless when nothing is frozen, and from any thread. */
void freeze_end(struct freeze_report *report);

/* Freezes and thaws one mountpoint at once, so that its metadata on disk is true. Returns 0 or a negative errno. */
int freeze_refresh(const char *mountpoint);

#endif
