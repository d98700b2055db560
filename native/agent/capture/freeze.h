/* Freezing file systems, with a guardian that thaws them whatever happens. */
#ifndef DOPPEL_FREEZE_H
#define DOPPEL_FREEZE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct freeze_report {
	uint64_t milliseconds;
	bool by_watchdog;
};

/* Freezes each mountpoint, the deepest first, for at most `budget_ms`. A guardian process holds the descriptors too:
 * it thaws when the budget is over, and when this process ends in any way. On failure everything is thawed again and
 * `failed` is the index of the mountpoint that could not be frozen. Returns 0 or a negative errno. */
int freeze_start(const char *const *mountpoints, size_t count, uint64_t budget_ms, struct freeze_report *report,
		 size_t *failed);

/* Thaws what freeze_start froze; harmless when nothing is frozen, and from any thread. */
void freeze_end(struct freeze_report *report);

/* True while everything that freeze_start froze is still frozen. */
bool freeze_held(void);

/* Freezes and thaws one mountpoint at once, so that its metadata on disk is true. Returns 0 or a negative errno. */
int freeze_refresh(const char *mountpoint);

#endif
