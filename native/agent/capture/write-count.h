/* How much has been written to a block device: whether what could not be frozen stayed as it was. */
#ifndef DOPPEL_WRITE_COUNT_H
#define DOPPEL_WRITE_COUNT_H

#include <stdint.h>
#include <sys/types.h>

/* Reads how many sectors have been written to and discarded from the device since it appeared. Returns 0; -EBUSY while
 * a write is on its way; -ENOTSUP when the kernel does not count; or another negative errno. */
int write_count(dev_t device, uint64_t *sectors);

#endif
