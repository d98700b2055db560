/* Reading through io_uring: many reads in flight from one thread. */
#include "clock.h"
#include "pipeline.h"

#include <errno.h>
#include <liburing.h>

#define READS_IN_FLIGHT 16

bool read_ring_works(void)
{
	struct io_uring ring;

	if (io_uring_queue_init(2, &ring, 0) < 0)
		return false;
	struct io_uring_probe *probe = io_uring_get_probe_ring(&ring);
	bool works = probe && io_uring_opcode_supported(probe, IORING_OP_READ);
	io_uring_free_probe(probe);
	io_uring_queue_exit(&ring);
	return works;
}

static unsigned submit_reads(struct pipeline *pipeline, struct io_uring *ring, unsigned in_flight, bool *ended)
{
	while (in_flight < READS_IN_FLIGHT && !*ended) {
		bool full = false;
		struct block *block = pipeline_take_block(pipeline, in_flight == 0, &full);
		if (!block) {
			*ended = !full || in_flight == 0;
			break;
		}
		struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
		if (!sqe) {
			pipeline_read_done(pipeline, block, -EAGAIN);
			continue;
		}
		io_uring_prep_read(sqe, pipeline->device->direct_fd, block->raw,
				   (unsigned)block_read_bytes(pipeline, block), block->first * CLUSTER_BYTES);
		io_uring_sqe_set_data(sqe, block);
		in_flight++;
		io_uring_submit(ring);
	}
	return in_flight;
}

void *read_with_ring(void *argument)
{
	struct pipeline *pipeline = argument;
	struct io_uring ring;
	unsigned in_flight = 0;
	bool ended = false;

	if (io_uring_queue_init(READS_IN_FLIGHT, &ring, 0) < 0)
		return read_with_threads(pipeline);
	for (;;) {
		struct io_uring_cqe *cqe;
		in_flight = submit_reads(pipeline, &ring, in_flight, &ended);
		if (in_flight == 0)
			break;
		uint64_t start = clock_nanoseconds();
		int waited = io_uring_wait_cqe(&ring, &cqe);
		if (waited == -EINTR)
			continue;
		if (waited < 0)
			break;
		atomic_fetch_add(&pipeline->times->read, clock_nanoseconds() - start);
		struct block *block = io_uring_cqe_get_data(cqe);
		int result = cqe->res;
		io_uring_cqe_seen(&ring, cqe);
		in_flight--;
		pipeline_read_done(pipeline, block, result);
	}
	io_uring_queue_exit(&ring);
	return NULL;
}
