/* The copy of one disk: read, hash, compress, in order. Blocks of a few clusters go round a ring, so memory is
 * bounded and the order of the disk is kept. */
#ifndef DOPPEL_PIPELINE_H
#define DOPPEL_PIPELINE_H

#include "device.h"
#include "frame.h"

#include <pthread.h>
#include <stdatomic.h>

#define BLOCK_CLUSTERS 8
#define MAX_WORKERS 16
#define READ_THREADS 4

/* Runs of clusters to copy, ascending: the used map now, the dirty map of a later pass. */
struct cluster_runs {
	/* Finds the next run, at most `most` clusters long. 1: found, 0: the end, or a negative errno. */
	int (*next)(struct cluster_runs *runs, uint64_t most, uint64_t *first, uint64_t *count);
};

enum cluster_kind { CLUSTER_FRAME, CLUSTER_ZERO, CLUSTER_SAME, CLUSTER_UNREADABLE };

struct cluster_result {
	enum cluster_kind kind;
	uint32_t length;            /* of the frame */
	unsigned char hash[FRAME_HASH_BYTES];
	int error;                  /* errno of an unreadable cluster */
	uint64_t error_offset;      /* its first unreadable sector, in bytes on the disk */
};

enum block_state { BLOCK_FREE, BLOCK_READING, BLOCK_READ, BLOCK_HASHED, BLOCK_COMPRESSING, BLOCK_DONE };

struct block {
	enum block_state state;
	uint64_t first;
	uint32_t count;
	unsigned char *raw;         /* BLOCK_CLUSTERS clusters, aligned to 4,096 */
	unsigned char *frames;      /* frame i starts at i * FRAME_ROOM_BYTES */
	struct cluster_result clusters[BLOCK_CLUSTERS];
};

struct stage_times {
	atomic_uint_fast64_t read, hash, compress, send; /* busy nanoseconds, summed over threads */
};

struct pipeline {
	const struct device *device;
	struct cluster_runs *runs;
	int level;
	unsigned workers;
	bool compare;               /* with the hashes that the host has: have.h */
	struct block *blocks;
	unsigned block_count;
	pthread_mutex_t lock;
	pthread_cond_t became_free, became_read, became_hashed, became_done; /* of some block */
	uint64_t next_read, next_hash, next_compress, next_send; /* sequence numbers; block is number % block_count */
	bool reads_ended;           /* every block up to next_read is the last one */
	bool stopping;
	int failure;                /* negative errno of the source of runs, or of memory */
	pthread_mutex_t runs_lock;
	pthread_t threads[MAX_WORKERS + READ_THREADS + 1];
	unsigned thread_count;
	bool used_ring;             /* io_uring, not threads */
	atomic_uint_fast64_t read_bytes;
	struct stage_times *times;
};

struct pipeline_options {
	int level;
	unsigned workers; /* 0: all but one core, at least one; memory bounds it too */
	bool compare;     /* between have_begin and have_end */
};

/* Starts the threads. Returns 0 or a negative errno. */
int pipeline_start(struct pipeline *pipeline, const struct device *device, struct cluster_runs *runs,
		   const struct pipeline_options *options, struct stage_times *times);

/* Waits at most `milliseconds` for the next block in order. 1: it is in `block` until pipeline_release; 0: not yet;
 * 2: the end; negative errno: the runs could not be found. */
int pipeline_next(struct pipeline *pipeline, unsigned milliseconds, struct block **block);
void pipeline_release(struct pipeline *pipeline, struct block *block);

/* Stops the threads wherever they are and frees everything. */
void pipeline_stop(struct pipeline *pipeline);

/* True when this kernel lets us use io_uring. */
bool read_ring_works(void);

/* Thread bodies, one file each. */
void *read_with_ring(void *pipeline);    /* read-ring.c */
void *read_with_threads(void *pipeline); /* read-threads.c */

/* For the readers: takes the next block to fill, or NULL at the end, or when stopping. With `wait` false also NULL
 * when no block is free (`*full` true then). */
struct block *pipeline_take_block(struct pipeline *pipeline, bool wait, bool *full);

/* For the readers: finishes a read of `result` bytes or a negative errno; a failed block is read again cluster by
 * cluster to find what cannot be read. */
void pipeline_read_done(struct pipeline *pipeline, struct block *block, int64_t result);

/* Bytes to read for a block: its clusters, cut at the end of the disk. */
size_t block_read_bytes(const struct pipeline *pipeline, const struct block *block);

#endif
