/* A session: one thread reads the host's messages, the main thread carries the requests out. Whatever ends the
 * session ends the process, thawing first. */
#include "serve.h"
#include "capture/copy.h"
#include "capture/disk.h"
#include "capture/freeze.h"
#include "capture/have.h"
#include "capture/pipeline.h"
#include "capture/report.h"
#include "facts/facts.h"
#include "wire.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct request_message {
	unsigned char type;
	char *payload;
	size_t length;
};

/* One request waits while one is carried out; a host that sends more at once breaks the protocol. */
static struct {
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct request_message waiting;
	bool full;
	int idle_timeout_ms;
} inbox = {.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void leave(int code)
{
	struct freeze_report report;

	freeze_end(&report);
	_exit(code);
}

static void take_request(struct request_message message)
{
	pthread_mutex_lock(&inbox.lock);
	if (inbox.full) {
		pthread_mutex_unlock(&inbox.lock);
		fprintf(stderr, "doppel-agent: too many requests at once\n");
		leave(1);
	}
	inbox.waiting = message;
	inbox.full = true;
	pthread_cond_signal(&inbox.changed);
	pthread_mutex_unlock(&inbox.lock);
}

/* HAVE is heard here and not in the inbox: the copy that needs it is being carried out. */
static void take_have(const struct request_message *message)
{
	const char *why;

	if (have_take((const unsigned char *)message->payload, message->length, &why) == 0)
		return;
	report_error(NULL, "protocol", "HAVE with %s", why);
	leave(1);
}

static void *read_messages(void *unused)
{
	(void)unused;
	for (;;) {
		struct request_message message = {0};
		int result = wire_receive(inbox.idle_timeout_ms, &message.type, &message.payload, &message.length);
		if (result <= 0) {
			if (result < 0)
				fprintf(stderr, "doppel-agent: %s\n",
					result == -ETIMEDOUT ? "nothing heard from the host for too long" : strerror(-result));
			leave(result == 0 ? 0 : 1);
		}
		if (message.type == WIRE_STOP)
			leave(0);
		if (message.type == WIRE_PING) {
			struct iovec part = {.iov_base = message.payload, .iov_len = message.length};
			wire_send(WIRE_PONG, &part, 1);
			free(message.payload);
			continue;
		}
		if (message.type == WIRE_HAVE) {
			take_have(&message);
			free(message.payload);
			continue;
		}
		take_request(message);
	}
	return NULL;
}

static void *wait_for_signals(void *set)
{
	int number;

	while (sigwait(set, &number) != 0)
		;
	leave(1);
	return NULL;
}

static int send_hello(void)
{
#if defined(__x86_64__)
	const char *arch = "x86_64";
#elif defined(__aarch64__)
	const char *arch = "aarch64";
#else
	const char *arch = "unknown";
#endif
	return wire_send_json(WIRE_HELLO, json_pack("{s:i, s:s, s:s, s:i, s:i, s:i, s:b}", "protocol", WIRE_PROTOCOL,
						    "version", AGENT_VERSION, "arch", arch, "pid", (int)getpid(), "uid",
						    (int)geteuid(), "cpus", (int)sysconf(_SC_NPROCESSORS_ONLN), "ioUring",
						    read_ring_works()));
}

static int send_plan(const struct capture_request *request)
{
	json_t *disks = json_array();

	for (size_t i = 0; i < request->disk_count; i++) {
		struct disk disk;
		if (disk_open(&disk, request->disks[i], request->refresh_metadata) < 0) {
			json_decref(disks);
			return -1;
		}
		json_array_append_new(disks, disk_plan(&disk));
		disk_close(&disk);
	}
	return wire_send_json(WIRE_PLAN, json_pack("{s:o}", "disks", disks));
}

static int carry_out(const struct request_message *message)
{
	struct capture_request request;
	char why[256];
	int result = -1;

	if (message->type == WIRE_FACTS_REQUEST)
		return wire_send_json(WIRE_FACTS, facts_collect());
	if (message->type != WIRE_PLAN_REQUEST && message->type != WIRE_CAPTURE_REQUEST) {
		report_error(NULL, "protocol", "message type 0x%02x is not known", message->type);
		return -1;
	}
	if (request_parse(message->payload, message->length, &request, why, sizeof(why)) < 0) {
		report_error(NULL, "request-invalid", "%s", why);
		return -1;
	}
	if (message->type == WIRE_PLAN_REQUEST)
		result = send_plan(&request);
	else
		result = capture(&request);
	request_release(&request);
	return result;
}

static struct request_message next_request(void)
{
	pthread_mutex_lock(&inbox.lock);
	while (!inbox.full)
		pthread_cond_wait(&inbox.changed, &inbox.lock);
	struct request_message message = inbox.waiting;
	inbox.full = false;
	pthread_mutex_unlock(&inbox.lock);
	return message;
}

int serve(int idle_timeout_ms)
{
	static sigset_t ends;
	pthread_t thread;

	inbox.idle_timeout_ms = idle_timeout_ms;
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	if (pthread_create(&thread, NULL, wait_for_signals, &ends) != 0)
		return 1;
	if (send_hello() < 0 || pthread_create(&thread, NULL, read_messages, NULL) != 0)
		return 1;
	for (;;) {
		struct request_message message = next_request();
		int result = carry_out(&message);
		free(message.payload);
		if (result < 0)
			leave(1);
	}
}
