/* HAVE messages, parsed and checked: docs/agent-protocol.md, HAVE. */
#ifndef DOPPEL_HAVE_MESSAGE_H
#define DOPPEL_HAVE_MESSAGE_H

#include "../wire.h"

#include <stdbool.h>

#define HAVE_MOST_HASHES 4096u

struct have_run {
	uint64_t first, count; /* clusters */
};

/* A view of a payload. */
struct have_message {
	uint32_t disk, run_count, hash_count;
	bool last;                   /* no more hashes of this disk follow */
	const unsigned char *runs;   /* as on the wire */
	const unsigned char *hashes; /* FRAME_HASH_BYTES each, in the order of the runs */
};

/* Checks a payload whole: its lengths, and that its runs ascend and add up. Returns 0, or -EPROTO with a sentence in
 * `why`. */
int have_message_parse(const unsigned char *payload, size_t length, struct have_message *message, const char **why);

/* Run `index` of a message that has been parsed. */
struct have_run have_message_run(const struct have_message *message, uint32_t index);

#endif
