/* Reading with plain threads, where the kernel has no io_uring or does not let us use it. */
#include "clock.h"
#include "pipeline.h"

void *read_with_threads(void *argument)
{
	struct pipeline *pipeline = argument;
	struct block *block;
	bool full;

	while ((block = pipeline_take_block(pipeline, true, &full))) {
		uint64_t start = clock_nanoseconds();
		size_t wanted = block_read_bytes(pipeline, block);
		int result = device_read(pipeline->device, block->raw, block->first * CLUSTER_BYTES, wanted);
		atomic_fetch_add(&pipeline->times->read, clock_nanoseconds() - start);
		pipeline_read_done(pipeline, block, result < 0 ? result : (int64_t)wanted);
	}
	return NULL;
}
