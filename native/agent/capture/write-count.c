#include "write-count.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/sysmacros.h>

/* Documentation/block/stat.rst: reads, merged, sectors, ms; the same of writes; in flight, busy ms, weighted ms; and, of
 * kernels since 4.19, discards, merged, sectors. */
enum { WRITTEN_SECTORS = 6, DISCARDED_SECTORS = 13, STAT_FIELDS = 14 };

/* Reads the numbers in a file of the device's sysfs folder; returns how many there are, or a negative errno. */
static int read_numbers(dev_t device, const char *name, unsigned long long *numbers, int room)
{
	char path[PATH_MAX];
	int count = 0;

	snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%s", major(device), minor(device), name);
	FILE *file = fopen(path, "re");
	if (!file)
		return -errno;
	while (count < room && fscanf(file, "%llu", &numbers[count]) == 1)
		count++;
	fclose(file);
	return count;
}

/* A partition is counted when its disk is. */
static bool is_counted(dev_t device)
{
	unsigned long long counted = 0;

	if (read_numbers(device, "queue/iostats", &counted, 1) == 1 ||
	    read_numbers(device, "../queue/iostats", &counted, 1) == 1)
		return counted != 0;
	return false;
}

int write_count(dev_t device, uint64_t *sectors)
{
	unsigned long long stat[STAT_FIELDS] = {0}, in_flight[2];

	if (!is_counted(device) || read_numbers(device, "stat", stat, STAT_FIELDS) <= WRITTEN_SECTORS ||
	    read_numbers(device, "inflight", in_flight, 2) != 2)
		return -ENOTSUP;
	if (in_flight[1] > 0)
		return -EBUSY;
	*sectors = stat[WRITTEN_SECTORS] + stat[DISCARDED_SECTORS];
	return 0;
}
