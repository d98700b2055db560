#include "data-runs.h"

/* Goes past the clusters of a run that lie wholly in a hole. Those behind the run are met again, and cost no more. */
static int next_data(struct cluster_runs *runs, uint64_t most, uint64_t *first, uint64_t *count)
{
	struct data_runs *data = (struct data_runs *)(void *)runs;

	for (;;) {
		int found = data->used->runs.next(&data->used->runs, most, first, count);
		if (found != 1)
			return found;
		uint64_t start = *first * CLUSTER_BYTES, end = device_hole_end(data->device, start);
		/* The last cluster of a disk may be a part of one. */
		uint64_t clusters = end >= data->device->size_bytes ? *count : (end - start) / CLUSTER_BYTES;
		if (clusters < *count) {
			*first += clusters;
			*count -= clusters;
			atomic_fetch_add(&data->skipped, clusters);
			return 1;
		}
		atomic_fetch_add(&data->skipped, *count);
	}
}

void data_runs_open(struct data_runs *data, struct used_runs *used, const struct device *device)
{
	*data = (struct data_runs){.runs.next = next_data, .used = used, .device = device};
}
