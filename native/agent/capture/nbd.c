#include "nbd.h"
#include "../map/bytes.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define CONNECTIONS 4
#define MOST_OPTION_BYTES 4096u
#define MOST_CHUNK_BYTES (64u << 20)
#define MOST_STATUS_BYTES (1u << 31)

#define MAGIC_NEWSTYLE 0x49484156454f5054ull /* IHAVEOPT */
#define MAGIC_OPTION_REPLY 0x3e889045565a9ull
#define MAGIC_REQUEST 0x25609513u
#define MAGIC_CHUNK 0x668e33efu

enum { FLAG_FIXED_NEWSTYLE = 1, FLAG_NO_ZEROES = 2 };
enum { OPTION_GO = 7, OPTION_STRUCTURED_REPLY = 8, OPTION_SET_META_CONTEXT = 10 };
enum { REPLY_ACK = 1, REPLY_INFO = 3, REPLY_META_CONTEXT = 4 };
enum { COMMAND_READ = 0, COMMAND_DISC = 2, COMMAND_BLOCK_STATUS = 7 };
enum { COMMAND_FLAG_REQ_ONE = 8 };
enum { CHUNK_DONE = 1 };
enum { CHUNK_NONE = 0, CHUNK_DATA = 1, CHUNK_HOLE = 2, CHUNK_STATUS = 5, CHUNK_ERROR = 0x8000 };
enum { STATUS_ZERO = 2 };

struct connection {
	int fd; /* -1 when it is broken */
	bool busy;
};

struct nbd {
	struct connection connections[CONNECTIONS];
	pthread_mutex_t lock;
	pthread_cond_t became_free;
	uint64_t size_bytes;
	bool tells_status;
	uint32_t context;
	uint64_t status_start, status_end; /* what the last answer was about */
	bool status_hole;
};

struct chunk {
	uint16_t flags, type;
	uint32_t length;
};

static int send_all(int fd, const void *bytes, size_t length)
{
	const char *at = bytes;

	while (length > 0) {
		ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent <= 0)
			return sent < 0 ? -errno : -EPIPE;
		at += sent;
		length -= (size_t)sent;
	}
	return 0;
}

static int receive_all(int fd, void *bytes, size_t length)
{
	char *at = bytes;

	while (length > 0) {
		ssize_t got = recv(fd, at, length, MSG_WAITALL);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -ECONNRESET;
		at += got;
		length -= (size_t)got;
	}
	return 0;
}

static void put_big(unsigned char *at, uint64_t value, size_t length)
{
	for (size_t i = 0; i < length; i++)
		at[i] = (unsigned char)(value >> 8 * (length - 1 - i));
}

static uint64_t big(const unsigned char *at, size_t length)
{
	struct view view = {.data = at, .size = length};

	return view_big(&view, 0, length);
}

/* ---- the handshake ---- */

static int send_option(int fd, uint32_t option, const void *data, size_t length)
{
	unsigned char header[16];

	put_big(header, MAGIC_NEWSTYLE, 8);
	put_big(header + 8, option, 4);
	put_big(header + 12, length, 4);
	int result = send_all(fd, header, sizeof(header));
	return result == 0 ? send_all(fd, data, length) : result;
}

/* One reply to an option, its data in `data` of MOST_OPTION_BYTES. */
static int receive_reply(int fd, uint32_t option, uint32_t *type, unsigned char *data, uint32_t *length)
{
	unsigned char header[20];
	int result = receive_all(fd, header, sizeof(header));

	if (result < 0)
		return result;
	*type = (uint32_t)big(header + 12, 4);
	*length = (uint32_t)big(header + 16, 4);
	if (big(header, 8) != MAGIC_OPTION_REPLY || big(header + 8, 4) != option || *length > MOST_OPTION_BYTES)
		return -EPROTO;
	return receive_all(fd, data, *length);
}

/* Asks for an option until the server acknowledges it. 1: it has, 0: it does not know it, or a negative errno.
 * `informed` hears of what comes before. */
static int negotiate(struct nbd *nbd, int fd, uint32_t option, const void *data, size_t length,
		     void (*informed)(struct nbd *nbd, const unsigned char *data, uint32_t length))
{
	unsigned char reply[MOST_OPTION_BYTES];
	uint32_t type, reply_length;
	int result = send_option(fd, option, data, length);

	while (result == 0) {
		result = receive_reply(fd, option, &type, reply, &reply_length);
		if (result < 0)
			break;
		if (type == REPLY_ACK)
			return 1;
		if (type & 0x80000000u)
			return 0;
		if (type == REPLY_INFO || type == REPLY_META_CONTEXT)
			informed(nbd, reply, reply_length);
	}
	return result;
}

static void ignore(struct nbd *nbd, const unsigned char *data, uint32_t length)
{
	(void)nbd, (void)data, (void)length;
}

static void take_context(struct nbd *nbd, const unsigned char *data, uint32_t length)
{
	if (length < 4)
		return;
	nbd->context = (uint32_t)big(data, 4);
	nbd->tells_status = true;
}

static void take_info(struct nbd *nbd, const unsigned char *data, uint32_t length)
{
	/* Type 0: the size of the export, and its flags. */
	if (length >= 12 && big(data, 2) == 0)
		nbd->size_bytes = big(data + 2, 8);
}

static int handshake(struct nbd *nbd, int fd)
{
	static const unsigned char context[] = "\0\0\0\0" "\0\0\0\1" "\0\0\0\17" "base:allocation";
	static const unsigned char go[6];
	unsigned char greeting[18], flags[4] = {0, 0, 0, FLAG_FIXED_NEWSTYLE | FLAG_NO_ZEROES};
	int result = receive_all(fd, greeting, sizeof(greeting));

	if (result < 0)
		return result;
	if (memcmp(greeting, "NBDMAGICIHAVEOPT", 16) != 0 || !(big(greeting + 16, 2) & FLAG_FIXED_NEWSTYLE))
		return -EPROTO;
	result = send_all(fd, flags, sizeof(flags));
	if (result < 0)
		return result;
	result = negotiate(nbd, fd, OPTION_STRUCTURED_REPLY, NULL, 0, ignore);
	if (result <= 0)
		return result < 0 ? result : -EPROTO;
	result = negotiate(nbd, fd, OPTION_SET_META_CONTEXT, context, sizeof(context) - 1, take_context);
	if (result < 0)
		return result;
	result = negotiate(nbd, fd, OPTION_GO, go, sizeof(go), take_info);
	return result == 1 ? 0 : result < 0 ? result : -ENOENT;
}

static int connect_to(struct nbd *nbd, const char *socket_path, int *out)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(socket_path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, socket_path);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	int result = connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : handshake(nbd, fd);
	if (result < 0)
		close(fd);
	else
		*out = fd;
	return result;
}

int nbd_open(const char *socket_path, struct nbd **out, uint64_t *size_bytes)
{
	struct nbd *nbd = calloc(1, sizeof(*nbd));
	int result = nbd ? 0 : -ENOMEM;

	*out = NULL;
	if (!nbd)
		return result;
	pthread_mutex_init(&nbd->lock, NULL);
	pthread_cond_init(&nbd->became_free, NULL);
	for (int i = 0; i < CONNECTIONS; i++)
		nbd->connections[i].fd = -1;
	for (int i = 0; result == 0 && i < CONNECTIONS; i++)
		result = connect_to(nbd, socket_path, &nbd->connections[i].fd);
	if (result < 0) {
		nbd_close(nbd);
		return result;
	}
	*size_bytes = nbd->size_bytes;
	*out = nbd;
	return 0;
}

void nbd_close(struct nbd *nbd)
{
	unsigned char goodbye[28] = {0};

	if (!nbd)
		return;
	put_big(goodbye, MAGIC_REQUEST, 4);
	put_big(goodbye + 6, COMMAND_DISC, 2);
	for (int i = 0; i < CONNECTIONS; i++) {
		if (nbd->connections[i].fd < 0)
			continue;
		send_all(nbd->connections[i].fd, goodbye, sizeof(goodbye));
		close(nbd->connections[i].fd);
	}
	pthread_mutex_destroy(&nbd->lock);
	pthread_cond_destroy(&nbd->became_free);
	free(nbd);
}

/* ---- requests ---- */

static struct connection *take_connection(struct nbd *nbd)
{
	struct connection *found = NULL;

	pthread_mutex_lock(&nbd->lock);
	while (!found) {
		bool any = false;
		for (int i = 0; !found && i < CONNECTIONS; i++) {
			any |= nbd->connections[i].fd >= 0;
			if (nbd->connections[i].fd >= 0 && !nbd->connections[i].busy)
				found = &nbd->connections[i];
		}
		if (!any)
			break;
		if (!found)
			pthread_cond_wait(&nbd->became_free, &nbd->lock);
	}
	if (found)
		found->busy = true;
	pthread_mutex_unlock(&nbd->lock);
	return found;
}

/* After a broken protocol nothing on that connection can be understood any more. */
static void give_back(struct nbd *nbd, struct connection *connection, bool broken)
{
	pthread_mutex_lock(&nbd->lock);
	connection->busy = false;
	if (broken) {
		close(connection->fd);
		connection->fd = -1;
	}
	pthread_cond_broadcast(&nbd->became_free);
	pthread_mutex_unlock(&nbd->lock);
}

static int send_request(int fd, uint16_t flags, uint16_t command, uint64_t offset, uint32_t length)
{
	unsigned char request[28] = {0};

	put_big(request, MAGIC_REQUEST, 4);
	put_big(request + 4, flags, 2);
	put_big(request + 6, command, 2);
	put_big(request + 16, offset, 8);
	put_big(request + 24, length, 4);
	return send_all(fd, request, sizeof(request));
}

static int receive_chunk(int fd, struct chunk *chunk)
{
	unsigned char header[20];
	int result = receive_all(fd, header, sizeof(header));

	if (result < 0)
		return result;
	*chunk = (struct chunk){.flags = (uint16_t)big(header + 4, 2), .type = (uint16_t)big(header + 6, 2),
				.length = (uint32_t)big(header + 16, 4)};
	/* One request at a time on a connection: its cookie is always 0. */
	return big(header, 4) != MAGIC_CHUNK || big(header + 8, 8) != 0 || chunk->length > MOST_CHUNK_BYTES ? -EPROTO : 0;
}

static int skip_bytes(int fd, size_t length)
{
	char bytes[1024];
	int result = 0;

	while (result == 0 && length > 0) {
		size_t part = length < sizeof(bytes) ? length : sizeof(bytes);
		result = receive_all(fd, bytes, part);
		length -= part;
	}
	return result;
}

/* What the server says went wrong: its numbers are those of Linux. `failure` is then positive. */
static int receive_error(int fd, const struct chunk *chunk, int *failure)
{
	unsigned char number[4];

	if (chunk->length < sizeof(number))
		return -EPROTO;
	int result = receive_all(fd, number, sizeof(number));
	uint64_t value = big(number, sizeof(number));
	*failure = value > 0 && value < 4096 ? (int)value : EIO;
	return result < 0 ? result : skip_bytes(fd, chunk->length - sizeof(number));
}

/* Takes the bytes of a chunk of a read to where they belong; counts them in `covered`. */
static int receive_piece(int fd, const struct chunk *chunk, unsigned char *buffer, uint64_t offset, size_t length,
			 size_t *covered)
{
	unsigned char head[12];
	size_t head_bytes = chunk->type == CHUNK_HOLE ? 12 : 8;

	if (chunk->length < head_bytes)
		return -EPROTO;
	int result = receive_all(fd, head, head_bytes);
	if (result < 0)
		return result;
	uint64_t at = big(head, 8), bytes = chunk->type == CHUNK_HOLE ? big(head + 8, 4) : chunk->length - head_bytes;
	if (at < offset || at - offset > length || bytes > length - (at - offset))
		return -EPROTO;
	*covered += (size_t)bytes;
	if (chunk->type == CHUNK_DATA)
		return receive_all(fd, buffer + (at - offset), (size_t)bytes);
	memset(buffer + (at - offset), 0, (size_t)bytes);
	return 0;
}

static int read_on(int fd, unsigned char *buffer, uint64_t offset, size_t length, int *failure)
{
	struct chunk chunk = {0};
	size_t covered = 0;
	int result = send_request(fd, 0, COMMAND_READ, offset, (uint32_t)length);

	while (result == 0 && !(chunk.flags & CHUNK_DONE)) {
		result = receive_chunk(fd, &chunk);
		if (result < 0)
			break;
		if (chunk.type & CHUNK_ERROR)
			result = receive_error(fd, &chunk, failure);
		else if (chunk.type == CHUNK_DATA || chunk.type == CHUNK_HOLE)
			result = receive_piece(fd, &chunk, buffer, offset, length, &covered);
		else
			result = skip_bytes(fd, chunk.length);
	}
	return result < 0 ? result : *failure || covered == length ? 0 : -EPROTO;
}

int nbd_read(struct nbd *nbd, void *buffer, uint64_t offset, size_t length)
{
	int failure = 0;
	struct connection *connection = take_connection(nbd);

	if (!connection)
		return -ENXIO;
	int result = read_on(connection->fd, buffer, offset, length, &failure);
	give_back(nbd, connection, result < 0);
	return result < 0 ? result : -failure;
}

/* The first run of the answer: what the bytes from `offset` on are. */
static int receive_status(int fd, const struct chunk *chunk, struct nbd *nbd, uint64_t offset)
{
	unsigned char head[12];

	if (chunk->length < sizeof(head))
		return -EPROTO;
	int result = receive_all(fd, head, sizeof(head));
	if (result == 0 && big(head, 4) == nbd->context) {
		nbd->status_start = offset;
		nbd->status_end = offset + big(head + 4, 4);
		nbd->status_hole = big(head + 8, 4) & STATUS_ZERO;
	}
	return result < 0 ? result : skip_bytes(fd, chunk->length - sizeof(head));
}

static int status_on(int fd, struct nbd *nbd, uint64_t offset)
{
	uint64_t left = nbd->size_bytes - offset;
	struct chunk chunk = {0};
	int failure = 0;
	int result = send_request(fd, COMMAND_FLAG_REQ_ONE, COMMAND_BLOCK_STATUS, offset,
				  (uint32_t)(left < MOST_STATUS_BYTES ? left : MOST_STATUS_BYTES));

	while (result == 0 && !(chunk.flags & CHUNK_DONE)) {
		result = receive_chunk(fd, &chunk);
		if (result < 0)
			break;
		if (chunk.type & CHUNK_ERROR)
			result = receive_error(fd, &chunk, &failure);
		else if (chunk.type == CHUNK_STATUS)
			result = receive_status(fd, &chunk, nbd, offset);
		else
			result = skip_bytes(fd, chunk.length);
	}
	return result;
}

uint64_t nbd_hole_end(struct nbd *nbd, uint64_t offset)
{
	if (!nbd->tells_status || offset >= nbd->size_bytes)
		return offset;
	if (offset < nbd->status_start || offset >= nbd->status_end) {
		struct connection *connection = take_connection(nbd);
		if (!connection)
			return offset;
		nbd->status_start = nbd->status_end = 0;
		give_back(nbd, connection, status_on(connection->fd, nbd, offset) < 0);
	}
	bool known = offset >= nbd->status_start && offset < nbd->status_end;
	return known && nbd->status_hole ? nbd->status_end : offset;
}
