#include "have.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define ASK_AGAIN (HAVE_WINDOW_HASHES / 4)

struct known_cluster {
	uint64_t cluster;
	unsigned char hash[FRAME_HASH_BYTES];
};

/* Hash number n lies at n % HAVE_WINDOW_HASHES. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct known_cluster *ring;
	uint64_t used, taken, wanted; /* hashes of this disk: used up, received, asked for */
	uint64_t next_cluster;        /* no later hash is of a cluster before this one */
	uint32_t disk;
	bool begun, active, complete, stopping;
} have = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static int want(uint32_t disk, uint64_t hashes)
{
	return wire_send_json(WIRE_WANT, json_pack("{s:I, s:I}", "disk", (json_int_t)disk, "hashes", (json_int_t)hashes));
}

int have_begin(uint32_t disk)
{
	pthread_mutex_lock(&have.lock);
	if (!have.ring)
		have.ring = malloc(HAVE_WINDOW_HASHES * sizeof(*have.ring));
	bool ready = have.ring != NULL;
	have.used = have.taken = have.next_cluster = 0;
	have.wanted = HAVE_WINDOW_HASHES;
	have.disk = disk;
	have.begun = have.active = ready;
	have.complete = have.stopping = false;
	pthread_mutex_unlock(&have.lock);
	return ready ? want(disk, HAVE_WINDOW_HASHES) : -ENOMEM;
}

void have_end(void)
{
	pthread_mutex_lock(&have.lock);
	have.active = false;
	free(have.ring);
	have.ring = NULL;
	pthread_mutex_unlock(&have.lock);
}

void have_stop(void)
{
	pthread_mutex_lock(&have.lock);
	have.stopping = true;
	pthread_cond_broadcast(&have.changed);
	pthread_mutex_unlock(&have.lock);
}

static void keep_hashes(const struct have_message *message)
{
	const unsigned char *hash = message->hashes;

	for (uint32_t i = 0; i < message->run_count; i++) {
		struct have_run run = have_message_run(message, i);
		for (uint64_t j = 0; j < run.count; j++, hash += FRAME_HASH_BYTES) {
			struct known_cluster *known = &have.ring[have.taken++ % HAVE_WINDOW_HASHES];
			known->cluster = run.first + j;
			memcpy(known->hash, hash, FRAME_HASH_BYTES);
		}
		have.next_cluster = run.first + run.count;
	}
}

/* With the lock held. */
static int take(const struct have_message *message, const char **why)
{
	*why = NULL;
	if (!have.begun || message->disk > have.disk)
		*why = "hashes of a disk that is not being copied";
	else if (message->disk < have.disk || !have.active)
		return 0; /* sent before the host knew that the disk was done */
	else if (have.complete)
		*why = "hashes after the last one";
	else if (message->hash_count > have.wanted - have.taken)
		*why = "more hashes than were asked for";
	else if (message->run_count > 0 && have_message_run(message, 0).first < have.next_cluster)
		*why = "hashes that do not ascend";
	if (*why)
		return -EPROTO;
	keep_hashes(message);
	have.complete = message->last;
	pthread_cond_broadcast(&have.changed);
	return 0;
}

int have_take(const unsigned char *payload, size_t length, const char **why)
{
	struct have_message message;
	int result = have_message_parse(payload, length, &message, why);

	if (result < 0)
		return result;
	pthread_mutex_lock(&have.lock);
	result = take(&message, why);
	pthread_mutex_unlock(&have.lock);
	return result;
}

/* With the lock held, which is free while the message is sent: asks for as many hashes as were used up, once that is
 * worth a message. A host that is gone is noticed by whoever hears it. */
static bool ask_again(void)
{
	uint64_t room = have.used + HAVE_WINDOW_HASHES - have.wanted;
	uint32_t disk = have.disk;

	if (have.complete || room < ASK_AGAIN)
		return false;
	have.wanted += room;
	pthread_mutex_unlock(&have.lock);
	want(disk, room);
	pthread_mutex_lock(&have.lock);
	return true;
}

/* With the lock held: the hash of a cluster, or NULL when the host has none. Hashes of earlier clusters are used
 * up. */
static const unsigned char *find(uint64_t cluster)
{
	for (;;) {
		while (have.used < have.taken && have.ring[have.used % HAVE_WINDOW_HASHES].cluster < cluster)
			have.used++;
		if (have.used < have.taken) {
			const struct known_cluster *known = &have.ring[have.used % HAVE_WINDOW_HASHES];
			return known->cluster == cluster ? known->hash : NULL;
		}
		if (have.stopping || have.complete || have.next_cluster > cluster)
			return NULL;
		if (!ask_again())
			pthread_cond_wait(&have.changed, &have.lock);
	}
}

bool have_same(uint64_t cluster, const unsigned char *hash)
{
	pthread_mutex_lock(&have.lock);
	const unsigned char *known = find(cluster);
	bool same = known && memcmp(known, hash, FRAME_HASH_BYTES) == 0;
	ask_again();
	pthread_mutex_unlock(&have.lock);
	return same;
}
