#include "throttle.h"
#include "clock.h"

#include <linux/ioprio.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Idle time earns no credit beyond this span: a limit is a limit within any second. */
#define SPAN_NANOSECONDS 1000000000u
#define LONGEST_SLEEP_NANOSECONDS 100000000u

static struct {
	uint64_t bytes_per_second;
	uint64_t sent_until; /* when the bytes sent so far are paid for */
	pthread_mutex_t cpu_lock;
	uint64_t cpu_share; /* nanoseconds of processor time in a second of wall time */
	uint64_t span_start, span_cpu;
} throttle = {.cpu_lock = PTHREAD_MUTEX_INITIALIZER};

void throttle_set(uint64_t bytes_per_second, unsigned cpu_percent)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);

	throttle.bytes_per_second = bytes_per_second;
	throttle.sent_until = clock_nanoseconds();
	throttle.cpu_share = (uint64_t)cpu_percent * 10000000u * (uint64_t)(cores > 0 ? cores : 1);
	throttle.span_start = clock_nanoseconds();
	throttle.span_cpu = clock_nanoseconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

void throttle_bytes(uint64_t bytes)
{
	if (throttle.bytes_per_second == 0)
		return;
	uint64_t now = clock_nanoseconds();
	if (throttle.sent_until < now)
		throttle.sent_until = now;
	else
		clock_sleep_nanoseconds(throttle.sent_until - now);
	throttle.sent_until += (uint64_t)((double)bytes / (double)throttle.bytes_per_second * 1e9);
}

void throttle_cpu(void)
{
	if (throttle.cpu_share == 0)
		return;
	for (;;) {
		pthread_mutex_lock(&throttle.cpu_lock);
		uint64_t now = clock_nanoseconds();
		uint64_t used = clock_nanoseconds_of(CLOCK_PROCESS_CPUTIME_ID) - throttle.span_cpu;
		uint64_t needed = (uint64_t)((double)used / (double)throttle.cpu_share * 1e9);
		uint64_t elapsed = now - throttle.span_start;
		if (elapsed >= needed && elapsed > SPAN_NANOSECONDS) {
			throttle.span_start = now;
			throttle.span_cpu += used;
		}
		pthread_mutex_unlock(&throttle.cpu_lock);
		if (elapsed >= needed)
			return;
		uint64_t wait = needed - elapsed;
		clock_sleep_nanoseconds(wait < LONGEST_SLEEP_NANOSECONDS ? wait : LONGEST_SLEEP_NANOSECONDS);
	}
}

void throttle_lowest_priority(void)
{
	setpriority(PRIO_PROCESS, 0, 19);
	syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0));
}
