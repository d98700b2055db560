#include "request.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static int refuse(char *why, size_t size, const char *member, const char *what)
{
	snprintf(why, size, "'%s' %s", member, what);
	return -EINVAL;
}

/* A list of absolute paths. */
static int take_paths(json_t *list, const char *member, const char **paths, size_t *count, char *why, size_t size)
{
	size_t index;
	json_t *item;

	if (!json_is_array(list) || json_array_size(list) > MAX_DISKS)
		return refuse(why, size, member, "is not a list of at most 256 paths");
	json_array_foreach(list, index, item) {
		const char *path = json_string_value(item);
		if (!path || path[0] != '/' || strlen(path) != json_string_length(item))
			return refuse(why, size, member, "has an entry that is not an absolute path");
		paths[(*count)++] = path;
	}
	return 0;
}

static int take_number(json_t *document, const char *member, uint64_t most, uint64_t *value, char *why, size_t size)
{
	json_t *item = json_object_get(document, member);

	if (!item)
		return 0;
	if (!json_is_integer(item) || json_integer_value(item) < 0 || (uint64_t)json_integer_value(item) > most)
		return refuse(why, size, member, "is not a whole number in its range");
	*value = (uint64_t)json_integer_value(item);
	return 0;
}

static int take_freeze(struct capture_request *request, char *why, size_t size)
{
	json_t *freeze = json_object_get(request->document, "freeze");
	int result;

	if (!freeze || json_is_null(freeze))
		return 0;
	if (!json_is_object(freeze))
		return refuse(why, size, "freeze", "is not an object");
	result = take_paths(json_object_get(freeze, "mountpoints"), "freeze.mountpoints", request->freeze,
			    &request->freeze_count, why, size);
	if (result == 0)
		result = take_number(freeze, "budgetMilliseconds", INT32_MAX, &request->freeze_budget_ms, why, size);
	return result;
}

/* Indexes of disks. */
static int take_compare(struct capture_request *request, char *why, size_t size)
{
	json_t *list = json_object_get(request->document, "compare"), *item;
	size_t index;

	if (!list)
		return 0;
	if (!json_is_array(list) || json_array_size(list) > MAX_DISKS)
		return refuse(why, size, "compare", "is not a list of disks");
	json_array_foreach(list, index, item) {
		if (!json_is_integer(item) || json_integer_value(item) < 0 ||
		    (uint64_t)json_integer_value(item) >= request->disk_count)
			return refuse(why, size, "compare", "has an entry that is no index of a disk");
		request->compare[json_integer_value(item)] = true;
	}
	return 0;
}

static int take_choice(json_t *document, const char *member, const char *other, bool *value, char *why, size_t size)
{
	json_t *item = json_object_get(document, member);

	if (!item)
		return 0;
	if (!json_is_string(item))
		return refuse(why, size, member, "is not a word");
	*value = strcmp(json_string_value(item), other) == 0;
	return 0;
}

static int take_members(struct capture_request *request, char *why, size_t size)
{
	json_t *document = request->document;
	uint64_t level = 3, threads = 0, percent = 0, pass = 0;
	bool normal_priority = false;
	int result = take_paths(json_object_get(document, "disks"), "disks", request->disks, &request->disk_count, why, size);

	if (result == 0 && request->disk_count == 0)
		result = refuse(why, size, "disks", "is empty");
	if (result == 0)
		result = take_compare(request, why, size);
	if (result == 0)
		result = take_number(document, "level", 19, &level, why, size);
	if (result == 0)
		result = take_number(document, "threads", 1024, &threads, why, size);
	if (result == 0)
		result = take_number(document, "limitRateBytesPerSecond", INT64_MAX, &request->rate_bytes_per_second, why, size);
	if (result == 0)
		result = take_number(document, "limitCpuPercent", 100, &percent, why, size);
	if (result == 0)
		result = take_number(document, "pass", UINT32_MAX, &pass, why, size);
	if (result == 0)
		result = take_choice(document, "onReadError", "zero", &request->zero_read_errors, why, size);
	if (result == 0)
		result = take_choice(document, "priority", "normal", &normal_priority, why, size);
	if (result == 0)
		result = take_freeze(request, why, size);
	request->level = level < 1 ? 1 : (int)level;
	request->threads = (unsigned)threads;
	request->cpu_percent = (unsigned)percent;
	request->pass = (uint32_t)pass;
	request->low_priority = !normal_priority;
	request->refresh_metadata = json_is_true(json_object_get(document, "refreshMetadata"));
	return result;
}

int request_parse(const char *payload, size_t length, struct capture_request *request, char *why, size_t why_size)
{
	json_error_t error;

	*request = (struct capture_request){0};
	request->document = json_loadb(payload, length, JSON_REJECT_DUPLICATES, &error);
	if (!json_is_object(request->document)) {
		snprintf(why, why_size, "not a JSON object: %s", request->document ? "another value" : error.text);
		request_release(request);
		return -EINVAL;
	}
	int result = take_members(request, why, why_size);
	if (result < 0)
		request_release(request);
	return result;
}

void request_release(struct capture_request *request)
{
	json_decref(request->document);
	request->document = NULL;
}
