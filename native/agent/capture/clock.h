/* Monotonic time. */
#ifndef DOPPEL_CLOCK_H
#define DOPPEL_CLOCK_H

#include <stdint.h>
#include <time.h>

static inline uint64_t clock_nanoseconds_of(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static inline uint64_t clock_nanoseconds(void)
{
	return clock_nanoseconds_of(CLOCK_MONOTONIC);
}

static inline uint64_t clock_milliseconds(void)
{
	return clock_nanoseconds() / 1000000;
}

static inline void clock_sleep_nanoseconds(uint64_t nanoseconds)
{
	struct timespec length = {.tv_sec = (time_t)(nanoseconds / 1000000000u), .tv_nsec = (long)(nanoseconds % 1000000000u)};

	nanosleep(&length, NULL);
}

#endif
