/* Limits on the bytes sent and on the processor time used. */
#ifndef DOPPEL_THROTTLE_H
#define DOPPEL_THROTTLE_H

#include <stdint.h>

/* Zero means no limit. `cpu_percent` is of all cores together. Call before the threads start. */
void throttle_set(uint64_t bytes_per_second, unsigned cpu_percent);

/* Waits until `bytes` more may be sent. One thread only. */
void throttle_bytes(uint64_t bytes);

/* Waits while this process has used more than its share of processor time. Any thread, between two pieces of work. */
void throttle_cpu(void);

/* Nice 19 and the idle I/O class. */
void throttle_lowest_priority(void);

#endif
