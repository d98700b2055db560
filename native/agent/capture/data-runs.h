/* The runs of used clusters without those that the image of a disk has no bytes for. */
#ifndef DOPPEL_DATA_RUNS_H
#define DOPPEL_DATA_RUNS_H

#include "used-runs.h"

#include <stdatomic.h>

struct data_runs {
	struct cluster_runs runs; /* first */
	struct used_runs *used;
	const struct device *device;
	atomic_uint_fast64_t skipped; /* used clusters that lie in holes */
};

void data_runs_open(struct data_runs *data, struct used_runs *used, const struct device *device);

#endif
