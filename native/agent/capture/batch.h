/* CLUSTERS, SAME and ZEROS messages of one disk, gathered and sent: docs/agent-protocol.md. */
#ifndef DOPPEL_BATCH_H
#define DOPPEL_BATCH_H

#include "pipeline.h"

#define BATCH_BYTES (1u << 20)
#define BATCH_AGE_MILLISECONDS 200

struct run_list {
	unsigned char *bytes; /* as on the wire, 16 a run */
	uint32_t count;
	uint32_t room;
	uint64_t next_cluster; /* one past the last run */
};

struct batch {
	uint32_t disk, pass;
	struct run_list frame_runs, same_runs, zero_runs;
	unsigned char *table;
	uint32_t frame_count;
	unsigned char *frames;
	size_t frames_bytes;
	uint64_t started_ms;
	uint64_t frames_sent, same_clusters, zero_clusters;
};

int batch_open(struct batch *batch, uint32_t disk, uint32_t pass);
void batch_close(struct batch *batch);

/* Adds one cluster; sends what is full first. Returns 0 or a negative errno. */
int batch_add(struct batch *batch, uint64_t cluster, const struct cluster_result *result, const unsigned char *frame);

/* Sends what is gathered; all of it, or with `only_old` only frames that have waited for BATCH_AGE_MILLISECONDS. */
int batch_flush(struct batch *batch, bool only_old);

#endif
