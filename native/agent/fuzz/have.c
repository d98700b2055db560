/* Fuzzes the parser of HAVE messages: what it accepts must add up and ascend.
 *   fuzz-have -runs=1000000 */
#include "capture/have-message.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct have_message message;
	const char *why = NULL;
	uint64_t next = 0, hashes = 0;
	unsigned sum = 0;

	if (have_message_parse(data, size, &message, &why) < 0) {
		if (!why)
			abort();
		return 0;
	}
	for (uint32_t i = 0; i < message.run_count; i++) {
		struct have_run run = have_message_run(&message, i);
		if (run.first < next || run.count == 0)
			abort();
		next = run.first + run.count;
		hashes += run.count;
	}
	for (size_t i = 0; i < hashes * FRAME_HASH_BYTES; i++)
		sum += message.hashes[i];
	if (hashes > HAVE_MOST_HASHES || message.hashes + hashes * FRAME_HASH_BYTES != data + size || sum > UINT32_MAX / 2)
		abort();
	return 0;
}
