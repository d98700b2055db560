#include "wire.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_PARTS 8

static pthread_mutex_t send_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_uint_fast64_t sent_bytes;

void wire_put_u32(unsigned char *at, uint32_t value)
{
	for (int i = 0; i < 4; i++)
		at[i] = (unsigned char)(value >> (8 * i));
}

void wire_put_u64(unsigned char *at, uint64_t value)
{
	for (int i = 0; i < 8; i++)
		at[i] = (unsigned char)(value >> (8 * i));
}

static int write_whole(struct iovec *parts, int count)
{
	while (count > 0) {
		ssize_t written = writev(STDOUT_FILENO, parts, count);
		if (written < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		atomic_fetch_add(&sent_bytes, (uint_fast64_t)written);
		while (count > 0 && (size_t)written >= parts->iov_len) {
			written -= (ssize_t)parts->iov_len;
			parts++;
			count--;
		}
		if (count > 0) {
			parts->iov_base = (char *)parts->iov_base + written;
			parts->iov_len -= (size_t)written;
		}
	}
	return 0;
}

int wire_send(enum wire_type type, const struct iovec *parts, int part_count)
{
	unsigned char header[WIRE_HEADER_BYTES] = {0};
	struct iovec all[MAX_PARTS];
	size_t length = 0;

	if (part_count >= MAX_PARTS)
		return -EINVAL;
	for (int i = 0; i < part_count; i++) {
		all[i + 1] = parts[i];
		length += parts[i].iov_len;
	}
	if (length > WIRE_MAX_PAYLOAD_BYTES)
		return -EMSGSIZE;
	wire_put_u32(header, (uint32_t)length);
	header[4] = (unsigned char)type;
	all[0] = (struct iovec){.iov_base = header, .iov_len = sizeof(header)};

	pthread_mutex_lock(&send_lock);
	int result = write_whole(all, part_count + 1);
	pthread_mutex_unlock(&send_lock);
	return result;
}

int wire_send_json(enum wire_type type, json_t *value)
{
	if (!value)
		return -ENOMEM;
	char *text = json_dumps(value, JSON_COMPACT);
	json_decref(value);
	if (!text)
		return -ENOMEM;
	struct iovec part = {.iov_base = text, .iov_len = strlen(text)};
	int result = wire_send(type, &part, 1);
	free(text);
	return result;
}

uint64_t wire_sent_bytes(void)
{
	return atomic_load(&sent_bytes);
}

/* Returns 1 when filled, 0 for end of input before the first byte, or a negative errno. */
static int read_whole(int timeout_ms, void *buffer, size_t length)
{
	size_t done = 0;

	while (done < length) {
		struct pollfd waiting = {.fd = STDIN_FILENO, .events = POLLIN};
		int ready = poll(&waiting, 1, timeout_ms);
		if (ready == 0)
			return -ETIMEDOUT;
		if (ready < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		ssize_t got = read(STDIN_FILENO, (char *)buffer + done, length - done);
		if (got < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			return -errno;
		}
		if (got == 0)
			return done == 0 ? 0 : -EPIPE;
		done += (size_t)got;
	}
	return 1;
}

int wire_receive(int timeout_ms, unsigned char *type, char **payload, size_t *length)
{
	unsigned char header[WIRE_HEADER_BYTES];
	int result = read_whole(timeout_ms, header, sizeof(header));
	if (result <= 0)
		return result;
	uint32_t size = (uint32_t)header[0] | (uint32_t)header[1] << 8 | (uint32_t)header[2] << 16 | (uint32_t)header[3] << 24;
	if (size > WIRE_MAX_REQUEST_BYTES || header[5] || header[6] || header[7])
		return -EPROTO;
	char *buffer = malloc((size_t)size + 1);
	if (!buffer)
		return -ENOMEM;
	if (size > 0 && (result = read_whole(timeout_ms, buffer, size)) <= 0) {
		free(buffer);
		return result == 0 ? -EPIPE : result;
	}
	buffer[size] = '\0';
	*type = header[4];
	*payload = buffer;
	*length = size;
	return 1;
}
