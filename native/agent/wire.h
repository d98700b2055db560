/* The agent protocol, version 2: docs/agent-protocol.md. Mirrored by src/agent/wire.ts. */
#ifndef DOPPEL_WIRE_H
#define DOPPEL_WIRE_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define AGENT_VERSION "0.1.0"
#define WIRE_PROTOCOL 2
#define WIRE_HEADER_BYTES 8
#define WIRE_MAX_PAYLOAD_BYTES (8u << 20)
#define WIRE_MAX_REQUEST_BYTES (1u << 20)
#define WIRE_MAX_FRAMES_A_MESSAGE 1024
#define CLUSTER_BYTES 65536u
#define FRAME_HASH_BYTES 16
#define RAW_FRAME_BYTES 65550u

enum wire_type {
	WIRE_HELLO = 0x01,
	WIRE_FACTS = 0x02,
	WIRE_PLAN = 0x03,
	WIRE_PONG = 0x04,
	WIRE_DISK_BEGIN = 0x10,
	WIRE_CLUSTERS = 0x11,
	WIRE_ZEROS = 0x12,
	WIRE_READ_ERROR = 0x13,
	WIRE_DISK_END = 0x14,
	WIRE_FROZEN = 0x15,
	WIRE_THAWED = 0x16,
	WIRE_STATS = 0x17,
	WIRE_CAPTURE_END = 0x18,
	WIRE_SAME = 0x19,
	WIRE_WANT = 0x1a,
	WIRE_WARNING = 0x1e,
	WIRE_ERROR = 0x1f,
	WIRE_FACTS_REQUEST = 0x81,
	WIRE_PLAN_REQUEST = 0x82,
	WIRE_CAPTURE_REQUEST = 0x83,
	WIRE_PING = 0x84,
	WIRE_STOP = 0x85,
	WIRE_HAVE = 0x86,
};

/* Little-endian stores into message buffers. */
void wire_put_u32(unsigned char *at, uint32_t value);
void wire_put_u64(unsigned char *at, uint64_t value);

/* Sends one message whole; safe from any thread. Parts are at most 7. Returns 0, or a negative errno when the other
 * side is gone. */
int wire_send(enum wire_type type, const struct iovec *parts, int part_count);

/* Sends `value` as JSON and releases it. A NULL value (no memory) is -ENOMEM. */
int wire_send_json(enum wire_type type, json_t *value);

/* Bytes written so far, headers included. */
uint64_t wire_sent_bytes(void);

/* Reads one message from standard input into a new buffer (NUL-terminated, caller frees).
 * `timeout_ms` bounds the wait for each piece. Returns 1 for a message, 0 for the end of input, or a negative errno:
 * -ETIMEDOUT, -EPROTO for a header that is not of this protocol. */
int wire_receive(int timeout_ms, unsigned char *type, char **payload, size_t *length);

#endif
