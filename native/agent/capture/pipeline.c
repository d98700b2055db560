#include "pipeline.h"
#include "clock.h"
#include "have.h"
#include "throttle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING_BYTES_BUDGET (28u << 20)
#define MAKERS_BYTES_BUDGET (20u << 20)
#define BLOCK_RAW_BYTES ((size_t)BLOCK_CLUSTERS * CLUSTER_BYTES)
#define BLOCK_FRAMES_BYTES ((size_t)BLOCK_CLUSTERS * FRAME_ROOM_BYTES)
#define THREAD_STACK_BYTES (256u << 10)

static struct block *block_at(struct pipeline *pipeline, uint64_t sequence)
{
	return &pipeline->blocks[sequence % pipeline->block_count];
}

/* Who waits for a block to have come that far. One condition a stage: a change of state wakes only whom it concerns. */
static pthread_cond_t *waiting_for(struct pipeline *pipeline, enum block_state state)
{
	switch (state) {
	case BLOCK_FREE:
		return &pipeline->became_free;
	case BLOCK_READ:
		return &pipeline->became_read;
	case BLOCK_HASHED:
		return &pipeline->became_hashed;
	default:
		return &pipeline->became_done;
	}
}

static void wake_all(struct pipeline *pipeline)
{
	pthread_cond_broadcast(&pipeline->became_free);
	pthread_cond_broadcast(&pipeline->became_read);
	pthread_cond_broadcast(&pipeline->became_hashed);
	pthread_cond_broadcast(&pipeline->became_done);
}

static void set_state(struct pipeline *pipeline, struct block *block, enum block_state state)
{
	pthread_mutex_lock(&pipeline->lock);
	block->state = state;
	pthread_mutex_unlock(&pipeline->lock);
	/* Reads and frames may end out of order: whoever waits for an earlier block must look again, too. */
	pthread_cond_broadcast(waiting_for(pipeline, state));
}

static void end_reads(struct pipeline *pipeline, int failure)
{
	pthread_mutex_lock(&pipeline->lock);
	pipeline->reads_ended = true;
	if (failure < 0 && pipeline->failure == 0)
		pipeline->failure = failure;
	wake_all(pipeline);
	pthread_mutex_unlock(&pipeline->lock);
}

size_t block_read_bytes(const struct pipeline *pipeline, const struct block *block)
{
	uint64_t offset = block->first * CLUSTER_BYTES;
	uint64_t wanted = (uint64_t)block->count * CLUSTER_BYTES;
	uint64_t left = pipeline->device->size_bytes - offset;

	return (size_t)(wanted < left ? wanted : left);
}

/* Reserves the ring's next block, if it is free. */
static struct block *reserve_block(struct pipeline *pipeline, bool wait, bool *full)
{
	struct block *block = NULL;

	pthread_mutex_lock(&pipeline->lock);
	for (;;) {
		if (pipeline->stopping || pipeline->reads_ended)
			break;
		struct block *next = block_at(pipeline, pipeline->next_read);
		if (next->state == BLOCK_FREE) {
			next->state = BLOCK_READING;
			block = next;
			break;
		}
		*full = true;
		if (!wait)
			break;
		pthread_cond_wait(&pipeline->became_free, &pipeline->lock);
	}
	pthread_mutex_unlock(&pipeline->lock);
	return block;
}

struct block *pipeline_take_block(struct pipeline *pipeline, bool wait, bool *full)
{
	uint64_t first = 0, count = 0;

	*full = false;
	/* The lock keeps the order of runs and the order of blocks the same with several reading threads. */
	pthread_mutex_lock(&pipeline->runs_lock);
	struct block *block = reserve_block(pipeline, wait, full);
	if (block) {
		int found = pipeline->runs->next(pipeline->runs, BLOCK_CLUSTERS, &first, &count);
		if (found == 1) {
			block->first = first;
			block->count = (uint32_t)count;
			pthread_mutex_lock(&pipeline->lock);
			pipeline->next_read++;
			pthread_mutex_unlock(&pipeline->lock);
		} else {
			set_state(pipeline, block, BLOCK_FREE);
			end_reads(pipeline, found);
			block = NULL;
		}
	}
	pthread_mutex_unlock(&pipeline->runs_lock);
	return block;
}

/* Finds the first sector of a cluster that cannot be read. */
static void narrow_error(const struct pipeline *pipeline, struct cluster_result *cluster, unsigned char *raw,
			 uint64_t offset, size_t length)
{
	uint32_t step = pipeline->device->sector_bytes;

	cluster->kind = CLUSTER_UNREADABLE;
	cluster->error_offset = offset;
	for (size_t at = 0; at < length; at += step) {
		size_t piece = length - at < step ? length - at : step;
		int result = device_read(pipeline->device, raw + at, offset + at, piece);
		if (result < 0) {
			cluster->error = -result;
			cluster->error_offset = offset + at;
			return;
		}
	}
	/* Every sector could be read alone: the error was passing. */
	cluster->kind = CLUSTER_FRAME;
	cluster->error = 0;
}

static void read_cluster_by_cluster(const struct pipeline *pipeline, struct block *block)
{
	size_t left = block_read_bytes(pipeline, block);

	for (uint32_t i = 0; i < block->count; i++) {
		uint64_t offset = (block->first + i) * CLUSTER_BYTES;
		size_t length = left < CLUSTER_BYTES ? left : CLUSTER_BYTES;
		unsigned char *raw = block->raw + (size_t)i * CLUSTER_BYTES;
		int result = device_read(pipeline->device, raw, offset, length);
		if (result < 0)
			narrow_error(pipeline, &block->clusters[i], raw, offset, length);
		left -= length;
	}
}

void pipeline_read_done(struct pipeline *pipeline, struct block *block, int64_t result)
{
	size_t wanted = block_read_bytes(pipeline, block);

	memset(block->clusters, 0, sizeof(block->clusters));
	if (result != (int64_t)wanted)
		read_cluster_by_cluster(pipeline, block);
	memset(block->raw + wanted, 0, (size_t)block->count * CLUSTER_BYTES - wanted);
	atomic_fetch_add(&pipeline->read_bytes, wanted);
	set_state(pipeline, block, BLOCK_READ);
}

static void hash_block(struct block *block)
{
	for (uint32_t i = 0; i < block->count; i++) {
		const unsigned char *raw = block->raw + (size_t)i * CLUSTER_BYTES;
		struct cluster_result *cluster = &block->clusters[i];
		if (cluster->kind == CLUSTER_UNREADABLE)
			continue;
		cluster->kind = cluster_is_zero(raw) ? CLUSTER_ZERO : CLUSTER_FRAME;
		if (cluster->kind == CLUSTER_FRAME)
			cluster_hash(raw, cluster->hash);
	}
}

/* Finds what the host has already; waits until it has told. */
static void compare_block(struct block *block)
{
	for (uint32_t i = 0; i < block->count; i++) {
		struct cluster_result *cluster = &block->clusters[i];
		if (cluster->kind == CLUSTER_FRAME && have_same(block->first + i, cluster->hash))
			cluster->kind = CLUSTER_SAME;
	}
}

/* Waits until the block at `*sequence` has `wanted`, moves it to `taken` and counts on. NULL when there is no more. */
static struct block *take_in_order(struct pipeline *pipeline, uint64_t *sequence, enum block_state wanted,
				   enum block_state taken)
{
	struct block *block = NULL;

	pthread_mutex_lock(&pipeline->lock);
	while (!pipeline->stopping) {
		struct block *next = block_at(pipeline, *sequence);
		if (*sequence < pipeline->next_read && next->state == wanted) {
			next->state = taken;
			(*sequence)++;
			block = next;
			break;
		}
		if (pipeline->reads_ended && *sequence == pipeline->next_read)
			break;
		pthread_cond_wait(waiting_for(pipeline, wanted), &pipeline->lock);
	}
	pthread_mutex_unlock(&pipeline->lock);
	return block;
}

static void *hash_in_order(void *argument)
{
	struct pipeline *pipeline = argument;
	struct block *block;

	while ((block = take_in_order(pipeline, &pipeline->next_hash, BLOCK_READ, BLOCK_READ))) {
		uint64_t start = clock_nanoseconds();
		hash_block(block);
		atomic_fetch_add(&pipeline->times->hash, clock_nanoseconds() - start);
		if (pipeline->compare)
			compare_block(block);
		set_state(pipeline, block, BLOCK_HASHED);
	}
	return NULL;
}

static bool compress_block(struct frame_maker *maker, struct block *block)
{
	for (uint32_t i = 0; i < block->count; i++) {
		struct cluster_result *cluster = &block->clusters[i];
		if (cluster->kind != CLUSTER_FRAME)
			continue;
		size_t length = frame_compress(maker, block->raw + (size_t)i * CLUSTER_BYTES,
					       block->frames + (size_t)i * FRAME_ROOM_BYTES);
		if (length == 0)
			return false;
		cluster->length = (uint32_t)length;
	}
	return true;
}

static void *compress(void *argument)
{
	struct pipeline *pipeline = argument;
	struct frame_maker *maker = frame_maker_open(pipeline->level);
	struct block *block;

	if (!maker) {
		end_reads(pipeline, -ENOMEM);
		return NULL;
	}
	while ((block = take_in_order(pipeline, &pipeline->next_compress, BLOCK_HASHED, BLOCK_COMPRESSING))) {
		uint64_t start = clock_nanoseconds_of(CLOCK_THREAD_CPUTIME_ID);
		bool compressed = compress_block(maker, block);
		atomic_fetch_add(&pipeline->times->compress, clock_nanoseconds_of(CLOCK_THREAD_CPUTIME_ID) - start);
		if (!compressed)
			end_reads(pipeline, -ENOMEM);
		set_state(pipeline, block, BLOCK_DONE);
		throttle_cpu();
	}
	frame_maker_close(maker);
	return NULL;
}

static unsigned choose_workers(unsigned wanted, int level)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	size_t fit = MAKERS_BYTES_BUDGET / frame_maker_bytes(level);

	if (wanted == 0)
		wanted = cores > 2 ? (unsigned)cores - 1 : 1;
	if (wanted > MAX_WORKERS)
		wanted = MAX_WORKERS;
	if (wanted > fit)
		wanted = (unsigned)fit;
	return wanted > 0 ? wanted : 1;
}

static int open_blocks(struct pipeline *pipeline)
{
	pipeline->block_count = (unsigned)(RING_BYTES_BUDGET / (BLOCK_RAW_BYTES + BLOCK_FRAMES_BYTES));
	pipeline->blocks = calloc(pipeline->block_count, sizeof(*pipeline->blocks));
	if (!pipeline->blocks)
		return -ENOMEM;
	for (unsigned i = 0; i < pipeline->block_count; i++) {
		void *memory = mmap(NULL, BLOCK_RAW_BYTES + BLOCK_FRAMES_BYTES, PROT_READ | PROT_WRITE,
				    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (memory == MAP_FAILED)
			return -ENOMEM;
		pipeline->blocks[i].raw = memory;
		pipeline->blocks[i].frames = pipeline->blocks[i].raw + BLOCK_RAW_BYTES;
	}
	return 0;
}

static int start_thread(struct pipeline *pipeline, void *(*body)(void *))
{
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, THREAD_STACK_BYTES);
	int error = pthread_create(&pipeline->threads[pipeline->thread_count], &attributes, body, pipeline);
	pthread_attr_destroy(&attributes);
	if (error == 0)
		pipeline->thread_count++;
	return -error;
}

static int start_threads(struct pipeline *pipeline)
{
	int result = start_thread(pipeline, hash_in_order);

	pipeline->used_ring = !pipeline->device->nbd && read_ring_works();
	for (unsigned i = 0; result == 0 && i < (pipeline->used_ring ? 1 : READ_THREADS); i++)
		result = start_thread(pipeline, pipeline->used_ring ? read_with_ring : read_with_threads);
	for (unsigned i = 0; result == 0 && i < pipeline->workers; i++)
		result = start_thread(pipeline, compress);
	return result;
}

int pipeline_start(struct pipeline *pipeline, const struct device *device, struct cluster_runs *runs,
		   const struct pipeline_options *options, struct stage_times *times)
{
	*pipeline = (struct pipeline){
		.device = device,
		.runs = runs,
		.level = options->level,
		.compare = options->compare,
		.times = times,
	};
	pthread_condattr_t monotonic;

	pipeline->workers = choose_workers(options->workers, options->level);
	pthread_mutex_init(&pipeline->lock, NULL);
	pthread_mutex_init(&pipeline->runs_lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&pipeline->became_free, &monotonic);
	pthread_cond_init(&pipeline->became_read, &monotonic);
	pthread_cond_init(&pipeline->became_hashed, &monotonic);
	pthread_cond_init(&pipeline->became_done, &monotonic);
	pthread_condattr_destroy(&monotonic);
	int result = open_blocks(pipeline);
	if (result == 0)
		result = start_threads(pipeline);
	if (result < 0)
		pipeline_stop(pipeline);
	return result;
}

int pipeline_next(struct pipeline *pipeline, unsigned milliseconds, struct block **block)
{
	uint64_t until = clock_nanoseconds() + (uint64_t)milliseconds * 1000000;
	struct timespec deadline = {.tv_sec = (time_t)(until / 1000000000u), .tv_nsec = (long)(until % 1000000000u)};
	int result = 0, waited = 0;

	pthread_mutex_lock(&pipeline->lock);
	for (;;) {
		struct block *next = block_at(pipeline, pipeline->next_send);
		if (pipeline->failure < 0) {
			result = pipeline->failure;
			break;
		}
		if (pipeline->next_send < pipeline->next_read && next->state == BLOCK_DONE) {
			*block = next;
			result = 1;
			break;
		}
		if (pipeline->reads_ended && pipeline->next_send == pipeline->next_read) {
			result = 2;
			break;
		}
		if (waited == ETIMEDOUT)
			break;
		waited = pthread_cond_timedwait(&pipeline->became_done, &pipeline->lock, &deadline);
	}
	pthread_mutex_unlock(&pipeline->lock);
	return result;
}

void pipeline_release(struct pipeline *pipeline, struct block *block)
{
	pthread_mutex_lock(&pipeline->lock);
	block->state = BLOCK_FREE;
	pipeline->next_send++;
	pthread_mutex_unlock(&pipeline->lock);
	pthread_cond_broadcast(&pipeline->became_free);
}

void pipeline_stop(struct pipeline *pipeline)
{
	pthread_mutex_lock(&pipeline->lock);
	pipeline->stopping = true;
	wake_all(pipeline);
	pthread_mutex_unlock(&pipeline->lock);
	if (pipeline->compare)
		have_stop();
	for (unsigned i = 0; i < pipeline->thread_count; i++)
		pthread_join(pipeline->threads[i], NULL);
	pipeline->thread_count = 0;
	for (unsigned i = 0; pipeline->blocks && i < pipeline->block_count; i++)
		if (pipeline->blocks[i].raw)
			munmap(pipeline->blocks[i].raw, BLOCK_RAW_BYTES + BLOCK_FRAMES_BYTES);
	free(pipeline->blocks);
	pipeline->blocks = NULL;
	pthread_mutex_destroy(&pipeline->lock);
	pthread_mutex_destroy(&pipeline->runs_lock);
	pthread_cond_destroy(&pipeline->became_free);
	pthread_cond_destroy(&pipeline->became_read);
	pthread_cond_destroy(&pipeline->became_hashed);
	pthread_cond_destroy(&pipeline->became_done);
}
