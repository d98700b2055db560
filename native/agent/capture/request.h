/* The host's requests, parsed and checked: docs/agent-protocol.md. */
#ifndef DOPPEL_REQUEST_H
#define DOPPEL_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define MAX_DISKS 256

struct capture_request {
	json_t *document;         /* owns the strings */
	const char *disks[MAX_DISKS];
	size_t disk_count;
	bool compare[MAX_DISKS];  /* the host sends hashes of what it has of the disk */
	int level;
	unsigned threads;
	uint64_t rate_bytes_per_second;
	unsigned cpu_percent;
	bool zero_read_errors;
	bool low_priority;
	bool refresh_metadata;
	const char *freeze[MAX_DISKS];
	size_t freeze_count;
	uint64_t freeze_budget_ms;
	uint32_t pass;
};

/* Parses a PLAN_REQUEST or CAPTURE_REQUEST; both have the same members, all but `disks` with defaults.
 * On failure returns -EINVAL with a sentence in `why`. */
int request_parse(const char *payload, size_t length, struct capture_request *request, char *why, size_t why_size);
void request_release(struct capture_request *request);

#endif
