/* The hashes that the host already has, of the disk that is being copied: taken from HAVE messages by the thread that
 * hears the host, used up in the order of the disk by the one that hashes. The host sends only as many as WANT asked
 * for, so memory is bounded and the host is never waited for by whoever hears it. */
#ifndef DOPPEL_HAVE_H
#define DOPPEL_HAVE_H

#include "have-message.h"

/* Hashes that are kept ahead of the copy: 4 GiB of disk in 1.5 MiB. */
#define HAVE_WINDOW_HASHES 65536u

/* Starts a disk of the request and asks the host for its hashes. Returns 0 or a negative errno. */
int have_begin(uint32_t disk);

/* Ends the disk: what still comes for it is ignored. */
void have_end(void);

/* Takes a HAVE payload. Returns 0, or -EPROTO with a sentence in `why`. */
int have_take(const unsigned char *payload, size_t length, const char **why);

/* True when the host has this content at this cluster. Clusters ascend; waits until the host has told. */
bool have_same(uint64_t cluster, const unsigned char *hash);

/* Makes have_same return at once, from now until the next have_begin. */
void have_stop(void);

#endif
