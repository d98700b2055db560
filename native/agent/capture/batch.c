#include "batch.h"
#include "clock.h"
#include "throttle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RUN_BYTES 16u
#define TABLE_ENTRY_BYTES (4u + FRAME_HASH_BYTES)
#define MAX_PLAIN_RUNS 4096

static int run_list_open(struct run_list *list, uint32_t room)
{
	*list = (struct run_list){.bytes = malloc((size_t)room * RUN_BYTES), .room = room};
	return list->bytes ? 0 : -ENOMEM;
}

static uint32_t last_count(const struct run_list *list)
{
	const unsigned char *at = list->bytes + (size_t)(list->count - 1) * RUN_BYTES + 8;

	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

/* The caller has made room for one more run. */
static void run_list_add(struct run_list *list, uint64_t cluster)
{
	if (list->count > 0 && list->next_cluster == cluster && last_count(list) < UINT32_MAX) {
		wire_put_u32(list->bytes + (size_t)(list->count - 1) * RUN_BYTES + 8, last_count(list) + 1);
	} else {
		unsigned char *at = list->bytes + (size_t)list->count++ * RUN_BYTES;
		wire_put_u64(at, cluster);
		wire_put_u32(at + 8, 1);
		wire_put_u32(at + 12, 0);
	}
	list->next_cluster = cluster + 1;
}

int batch_open(struct batch *batch, uint32_t disk, uint32_t pass)
{
	*batch = (struct batch){.disk = disk, .pass = pass};
	batch->table = malloc(WIRE_MAX_FRAMES_A_MESSAGE * TABLE_ENTRY_BYTES);
	batch->frames = malloc(BATCH_BYTES + FRAME_ROOM_BYTES);
	if (!batch->table || !batch->frames || run_list_open(&batch->frame_runs, WIRE_MAX_FRAMES_A_MESSAGE) < 0 ||
	    run_list_open(&batch->same_runs, MAX_PLAIN_RUNS) < 0 ||
	    run_list_open(&batch->zero_runs, MAX_PLAIN_RUNS) < 0) {
		batch_close(batch);
		return -ENOMEM;
	}
	return 0;
}

void batch_close(struct batch *batch)
{
	free(batch->table);
	free(batch->frames);
	free(batch->frame_runs.bytes);
	free(batch->same_runs.bytes);
	free(batch->zero_runs.bytes);
	*batch = (struct batch){0};
}

static int send_message(struct batch *batch, enum wire_type type, struct run_list *runs, uint32_t frame_count)
{
	unsigned char header[16];
	struct iovec parts[] = {
		{.iov_base = header, .iov_len = sizeof(header)},
		{.iov_base = runs->bytes, .iov_len = (size_t)runs->count * RUN_BYTES},
		{.iov_base = batch->table, .iov_len = (size_t)frame_count * TABLE_ENTRY_BYTES},
		{.iov_base = batch->frames, .iov_len = frame_count ? batch->frames_bytes : 0},
	};

	wire_put_u32(header, batch->disk);
	wire_put_u32(header + 4, batch->pass);
	wire_put_u32(header + 8, runs->count);
	wire_put_u32(header + 12, frame_count);
	throttle_bytes(parts[1].iov_len + parts[2].iov_len + parts[3].iov_len);
	runs->count = 0;
	return wire_send(type, parts, 4);
}

/* SAME goes first: whoever takes it knows from the CLUSTERS that follow how the two interleave. */
static int flush_frames(struct batch *batch)
{
	int result = 0;

	if (batch->same_runs.count > 0)
		result = send_message(batch, WIRE_SAME, &batch->same_runs, 0);
	if (result < 0 || batch->frame_count == 0)
		return result;
	result = send_message(batch, WIRE_CLUSTERS, &batch->frame_runs, batch->frame_count);
	batch->frames_sent += batch->frame_count;
	batch->frame_count = 0;
	batch->frames_bytes = 0;
	return result;
}

int batch_flush(struct batch *batch, bool only_old)
{
	if (only_old &&
	    (batch->frame_count == 0 || clock_milliseconds() - batch->started_ms < BATCH_AGE_MILLISECONDS))
		return 0;
	int result = flush_frames(batch);
	if (result == 0 && !only_old && batch->zero_runs.count > 0)
		result = send_message(batch, WIRE_ZEROS, &batch->zero_runs, 0);
	return result;
}

static int add_frame(struct batch *batch, uint64_t cluster, const struct cluster_result *result,
		     const unsigned char *frame)
{
	int sent = 0;

	if (batch->frame_count == WIRE_MAX_FRAMES_A_MESSAGE || batch->frames_bytes >= BATCH_BYTES)
		sent = flush_frames(batch);
	if (batch->frame_count == 0)
		batch->started_ms = clock_milliseconds();
	unsigned char *entry = batch->table + (size_t)batch->frame_count++ * TABLE_ENTRY_BYTES;
	wire_put_u32(entry, result->length);
	memcpy(entry + 4, result->hash, FRAME_HASH_BYTES);
	memcpy(batch->frames + batch->frames_bytes, frame, result->length);
	batch->frames_bytes += result->length;
	run_list_add(&batch->frame_runs, cluster);
	return sent;
}

static int add_same(struct batch *batch, uint64_t cluster)
{
	int sent = 0;

	if (batch->same_runs.count == batch->same_runs.room)
		sent = flush_frames(batch);
	run_list_add(&batch->same_runs, cluster);
	batch->same_clusters++;
	return sent;
}

int batch_add(struct batch *batch, uint64_t cluster, const struct cluster_result *result, const unsigned char *frame)
{
	int sent = 0;

	if (result->kind == CLUSTER_FRAME)
		return add_frame(batch, cluster, result, frame);
	if (result->kind == CLUSTER_SAME)
		return add_same(batch, cluster);
	if (batch->zero_runs.count == batch->zero_runs.room)
		sent = send_message(batch, WIRE_ZEROS, &batch->zero_runs, 0);
	run_list_add(&batch->zero_runs, cluster);
	batch->zero_clusters++;
	return sent;
}
