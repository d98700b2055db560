#include "copy.h"
#include "batch.h"
#include "clock.h"
#include "data-runs.h"
#include "disk.h"
#include "freeze.h"
#include "have.h"
#include "report.h"
#include "throttle.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define STATS_EVERY_MILLISECONDS 1000
#define WAIT_MILLISECONDS 250

struct totals {
	uint64_t started_ms, sent_before;
	uint64_t read_bytes, frames_sent, same_clusters, zero_clusters, read_errors, clusters_done;
	struct stage_times times;
};

struct disk_copy {
	const struct capture_request *request;
	struct totals *totals;
	const struct disk *disk;
	unsigned index;
	struct pipeline pipeline;
	struct batch batch;
	struct data_runs data;
	uint64_t clusters_done, read_errors, last_stats_ms;
};

static uint64_t status_kib(const char *name)
{
	char line[128];
	unsigned long long value = 0;
	size_t length = strlen(name);
	FILE *file = fopen("/proc/self/status", "re");

	if (!file)
		return 0;
	while (fgets(line, sizeof(line), file))
		if (strncmp(line, name, length) == 0 && line[length] == ':' && sscanf(line + length + 1, "%llu", &value) == 1)
			break;
	fclose(file);
	return value;
}

static uint64_t cpu_milliseconds(void)
{
	return clock_nanoseconds_of(CLOCK_PROCESS_CPUTIME_ID) / 1000000;
}

static int send_stats(struct disk_copy *copy, bool only_when_due)
{
	uint64_t now = clock_milliseconds();

	if (only_when_due && now - copy->last_stats_ms < STATS_EVERY_MILLISECONDS)
		return 0;
	copy->last_stats_ms = now;
	return wire_send_json(
		WIRE_STATS,
		json_pack("{s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "disk", (int)copy->index, "readBytes",
			  (json_int_t)(copy->totals->read_bytes + atomic_load(&copy->pipeline.read_bytes)), "sentBytes",
			  (json_int_t)(wire_sent_bytes() - copy->totals->sent_before), "clustersDone",
			  (json_int_t)(copy->clusters_done + atomic_load(&copy->data.skipped)), "clustersPlanned", (json_int_t)copy->disk->used_clusters,
			  "residentBytes", (json_int_t)(status_kib("VmRSS") * 1024), "cpuMilliseconds",
			  (json_int_t)cpu_milliseconds(), "elapsedMilliseconds", (json_int_t)(now - copy->totals->started_ms)));
}

static json_t *error_place(const struct disk_copy *copy, uint64_t cluster, const struct cluster_result *result)
{
	const struct device *device = &copy->disk->device;

	return json_pack("{s:i, s:s, s:I, s:i, s:I, s:i, s:I, s:i}", "disk", (int)copy->index, "device", device->path,
			 "offsetBytes", (json_int_t)result->error_offset, "lengthBytes", (int)device->sector_bytes,
			 "sector", (json_int_t)(result->error_offset / device->sector_bytes), "sectorBytes",
			 (int)device->sector_bytes, "cluster", (json_int_t)cluster, "errno", result->error);
}

static int report_unreadable(struct disk_copy *copy, uint64_t cluster, const struct cluster_result *result)
{
	const struct device *device = &copy->disk->device;
	json_t *place = error_place(copy, cluster, result);

	if (result->error == ENXIO || result->error == ENODEV || device_vanished(device)) {
		report_error(place, "disk-vanished", "disk %s is gone or has shrunk: reading byte %llu: %s", device->path,
			     (unsigned long long)result->error_offset, strerror(result->error));
		return -ENODEV;
	}
	if (!copy->request->zero_read_errors) {
		report_error(place, "read-error", "%s: sector %llu (byte %llu) cannot be read: %s", device->path,
			     (unsigned long long)(result->error_offset / device->sector_bytes),
			     (unsigned long long)result->error_offset, strerror(result->error));
		return -EIO;
	}
	copy->read_errors++;
	json_object_set_new(place, "message", json_string(strerror(result->error)));
	return wire_send_json(WIRE_READ_ERROR, place);
}

static int send_block(struct disk_copy *copy, const struct block *block)
{
	for (uint32_t i = 0; i < block->count; i++) {
		const struct cluster_result *cluster = &block->clusters[i];
		int result = cluster->kind == CLUSTER_UNREADABLE
				     ? report_unreadable(copy, block->first + i, cluster)
				     : batch_add(&copy->batch, block->first + i, cluster,
						 block->frames + (size_t)i * FRAME_ROOM_BYTES);
		if (result < 0)
			return result;
	}
	copy->clusters_done += block->count;
	return 0;
}

static int send_all(struct disk_copy *copy)
{
	struct block *block;
	int state;

	while ((state = pipeline_next(&copy->pipeline, WAIT_MILLISECONDS, &block)) < 2) {
		int result = state < 0 ? state : 0;
		if (state == 1) {
			uint64_t start = clock_nanoseconds();
			result = send_block(copy, block);
			atomic_fetch_add(&copy->totals->times.send, clock_nanoseconds() - start);
			pipeline_release(&copy->pipeline, block);
		}
		if (result == 0)
			result = batch_flush(&copy->batch, true);
		if (result == 0)
			result = send_stats(copy, true);
		if (result < 0)
			return result;
	}
	int result = batch_flush(&copy->batch, false);
	return result < 0 ? result : send_stats(copy, false);
}

static int copy_disk(struct disk_copy *copy)
{
	const struct capture_request *request = copy->request;
	struct used_runs used;
	int result = used_runs_open(&used, copy->disk->map, copy->disk->device.size_bytes);

	if (result < 0)
		return result;
	result = batch_open(&copy->batch, copy->index, request->pass);
	if (result < 0)
		goto out;
	data_runs_open(&copy->data, &used, &copy->disk->device);
	struct pipeline_options options = {
		.level = request->level,
		.workers = request->threads,
		.compare = request->compare[copy->index],
	};
	if (options.compare && (result = have_begin(copy->index)) < 0)
		goto out;
	result = pipeline_start(&copy->pipeline, &copy->disk->device, &copy->data.runs, &options, &copy->totals->times);
	if (result < 0)
		goto out;
	copy->last_stats_ms = clock_milliseconds();
	result = send_all(copy);
	pipeline_stop(&copy->pipeline);
	copy->totals->read_bytes += atomic_load(&copy->pipeline.read_bytes);
	copy->totals->frames_sent += copy->batch.frames_sent;
	copy->totals->same_clusters += copy->batch.same_clusters;
	copy->totals->zero_clusters += copy->batch.zero_clusters;
	copy->totals->read_errors += copy->read_errors;
	if (result == 0)
		result = wire_send_json(WIRE_DISK_END,
					json_pack("{s:i, s:I, s:I, s:I, s:I}", "disk", (int)copy->index, "framesSent",
						  (json_int_t)copy->batch.frames_sent, "sameClusters",
						  (json_int_t)copy->batch.same_clusters, "zeroClusters",
						  (json_int_t)copy->batch.zero_clusters, "readErrors",
						  (json_int_t)copy->read_errors));
out:
	have_end();
	batch_close(&copy->batch);
	used_runs_close(&used);
	return result;
}

/* A region that turned out corrupt while it was copied has been taken whole from there on: the host must know. */
static void warn_degraded(const struct disk *disk, const enum map_method *before)
{
	for (size_t i = 0; i < disk->region_count; i++)
		if (disk->regions[i].method != before[i])
			report_warning("region-taken-whole", "%s: the %s at byte %llu is taken whole: %s", disk->device.path,
				       disk->regions[i].kind, (unsigned long long)disk->regions[i].offset_bytes,
				       disk->regions[i].reason);
}

static int capture_disk(const struct capture_request *request, unsigned index, struct totals *totals)
{
	struct disk disk;
	int result = disk_open(&disk, request->disks[index], request->refresh_metadata);

	if (result < 0)
		return -1;
	enum map_method *before = calloc(disk.region_count + 1, sizeof(*before));
	struct disk_copy copy = {.request = request, .totals = totals, .disk = &disk, .index = index};
	result = before ? 0 : -ENOMEM;
	for (size_t i = 0; before && i < disk.region_count; i++)
		before[i] = disk.regions[i].method;
	if (result == 0)
		result = wire_send_json(WIRE_DISK_BEGIN,
					json_pack("{s:i, s:s, s:I, s:I, s:I}", "disk", (int)index, "device",
						  disk.device.path, "sizeBytes", (json_int_t)disk.device.size_bytes,
						  "clusters", (json_int_t)disk.clusters, "usedClusters",
						  (json_int_t)disk.used_clusters));
	if (result == 0)
		result = copy_disk(&copy);
	if (result == 0)
		warn_degraded(&disk, before);
	else if (result != -ENODEV && result != -EIO)
		report_error(json_pack("{s:s, s:i}", "device", disk.device.path, "errno", -result), "copy-failed",
			     "copying %s failed: %s", disk.device.path, strerror(-result));
	free(before);
	disk_close(&disk);
	return result < 0 ? -1 : 0;
}

static int start_freeze(const struct capture_request *request)
{
	struct freeze_report report;
	size_t failed = 0;
	json_t *mountpoints = json_array();

	if (request->freeze_count == 0) {
		json_decref(mountpoints);
		return 0;
	}
	int result = freeze_start(request->freeze, request->freeze_count, request->freeze_budget_ms, &report, &failed);
	if (result < 0) {
		json_decref(mountpoints);
		report_error(json_pack("{s:s, s:i}", "mountpoint", request->freeze[failed], "errno", -result),
			     "freeze-failed", "%s cannot be frozen: %s", request->freeze[failed], strerror(-result));
		return -1;
	}
	for (size_t i = 0; i < request->freeze_count; i++)
		if (freeze_holds(request->freeze[i]))
			json_array_append_new(mountpoints, json_string(request->freeze[i]));
	return wire_send_json(WIRE_FROZEN, json_pack("{s:o, s:I}", "mountpoints", mountpoints, "milliseconds",
						     (json_int_t)report.milliseconds)) < 0
		       ? -1
		       : 0;
}

static json_t *unfrozen_mountpoints(void)
{
	struct unfrozen unfrozen[MAX_FROZEN];
	json_t *found = json_array();
	size_t count = freeze_unfrozen(unfrozen, MAX_FROZEN);

	for (size_t i = 0; i < count; i++)
		json_array_append_new(found, json_pack("{s:s, s:b, s:b}", "mountpoint", unfrozen[i].mountpoint, "synced",
						       unfrozen[i].synced, "written", unfrozen[i].written));
	return found;
}

static int end_freeze(const struct capture_request *request)
{
	struct freeze_report report;

	if (request->freeze_count == 0)
		return 0;
	json_t *unfrozen = unfrozen_mountpoints();
	freeze_end(&report);
	return wire_send_json(WIRE_THAWED,
			      json_pack("{s:I, s:b, s:o}", "heldMilliseconds", (json_int_t)report.milliseconds,
					"byWatchdog", report.by_watchdog, "unfrozen", unfrozen));
}

static json_int_t in_milliseconds(const atomic_uint_fast64_t *nanoseconds)
{
	return (json_int_t)(atomic_load(nanoseconds) / 1000000);
}

static int send_end(const struct capture_request *request, const struct totals *totals)
{
	const struct stage_times *times = &totals->times;
	json_t *stages = json_pack("{s:I, s:I, s:I, s:I}", "read", in_milliseconds(&times->read), "hash",
				   in_milliseconds(&times->hash), "compress", in_milliseconds(&times->compress), "send",
				   in_milliseconds(&times->send));

	return wire_send_json(
		WIRE_CAPTURE_END,
		json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "disks", (json_int_t)request->disk_count,
			  "readBytes", (json_int_t)totals->read_bytes, "sentBytes",
			  (json_int_t)(wire_sent_bytes() - totals->sent_before), "framesSent",
			  (json_int_t)totals->frames_sent, "sameClusters", (json_int_t)totals->same_clusters,
			  "zeroClusters", (json_int_t)totals->zero_clusters, "readErrors",
			  (json_int_t)totals->read_errors, "residentPeakBytes", (json_int_t)(status_kib("VmHWM") * 1024),
			  "cpuMilliseconds", (json_int_t)cpu_milliseconds(), "elapsedMilliseconds",
			  (json_int_t)(clock_milliseconds() - totals->started_ms), "stages", stages));
}

int capture(const struct capture_request *request)
{
	struct totals totals = {.started_ms = clock_milliseconds(), .sent_before = wire_sent_bytes()};
	int result;

	throttle_set(request->rate_bytes_per_second, request->cpu_percent);
	if (request->low_priority)
		throttle_lowest_priority();
	result = start_freeze(request);
	for (unsigned i = 0; result == 0 && i < request->disk_count; i++)
		result = capture_disk(request, i, &totals);
	if (end_freeze(request) < 0)
		result = -1;
	return result < 0 ? -1 : send_end(request, &totals);
}
