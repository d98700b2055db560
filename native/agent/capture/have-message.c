#include "have-message.h"

#include <errno.h>

#define FIXED_BYTES 16u
#define RUN_BYTES 16u
#define MOST_CLUSTERS ((uint64_t)1 << 48) /* 2^64 bytes */

static uint32_t get_u32(const unsigned char *at)
{
	return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static uint64_t get_u64(const unsigned char *at)
{
	return (uint64_t)get_u32(at) | (uint64_t)get_u32(at + 4) << 32;
}

static int refuse(const char **why, const char *what)
{
	*why = what;
	return -EPROTO;
}

struct have_run have_message_run(const struct have_message *message, uint32_t index)
{
	const unsigned char *at = message->runs + (size_t)index * RUN_BYTES;

	return (struct have_run){.first = get_u64(at), .count = get_u32(at + 8)};
}

static int check_runs(const struct have_message *message, const char **why)
{
	uint64_t next = 0, hashes = 0;

	for (uint32_t i = 0; i < message->run_count; i++) {
		struct have_run run = have_message_run(message, i);
		if (get_u32(message->runs + (size_t)i * RUN_BYTES + 12) != 0)
			return refuse(why, "non-zero padding in a run");
		if (run.count == 0 || run.first < next || run.first >= MOST_CLUSTERS || run.count > MOST_CLUSTERS - run.first)
			return refuse(why, "a run that is empty, out of order or out of range");
		next = run.first + run.count;
		hashes += run.count;
	}
	return hashes == message->hash_count ? 0 : refuse(why, "runs that do not add up to the hashes");
}

int have_message_parse(const unsigned char *payload, size_t length, struct have_message *message, const char **why)
{
	if (length < FIXED_BYTES)
		return refuse(why, "a message that is too short");
	uint32_t last = get_u32(payload + 12);
	*message = (struct have_message){
		.disk = get_u32(payload),
		.run_count = get_u32(payload + 4),
		.hash_count = get_u32(payload + 8),
		.last = last == 1,
	};
	if (last > 1 || message->hash_count > HAVE_MOST_HASHES || message->run_count > message->hash_count)
		return refuse(why, "counts out of range");
	if (message->hash_count == 0 && !message->last)
		return refuse(why, "a message without hashes that is not the last");
	size_t runs_bytes = (size_t)message->run_count * RUN_BYTES;
	if (length != FIXED_BYTES + runs_bytes + (size_t)message->hash_count * FRAME_HASH_BYTES)
		return refuse(why, "a length that does not fit the counts");
	message->runs = payload + FIXED_BYTES;
	message->hashes = message->runs + runs_bytes;
	return check_runs(message, why);
}
