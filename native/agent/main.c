/* The agent: docs/agent-protocol.md. */
#include "facts/facts.h"
#include "map/map.h"
#include "serve.h"
#include "wire.h"

#include <fnmatch.h>
#include <libgen.h>
#include <limits.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define IDLE_TIMEOUT_MILLISECONDS 30000

static int usage(FILE *stream, int code)
{
	fprintf(stream, "usage: doppel-agent serve [--unlink] [--idle-timeout MILLISECONDS]\n"
			"       doppel-agent facts\n"
			"       doppel-agent map [--json] [--extents] [--refreshed OFFSET]... [--sector-bytes N] PATH\n"
			"       doppel-agent --version\n");
	return code;
}

static int print_facts(void)
{
	json_t *facts = facts_collect();

	if (!facts || json_dumpf(facts, stdout, JSON_INDENT(2)) < 0)
		return 1;
	json_decref(facts);
	return putchar('\n') == EOF;
}

/* Removes this program's file and the private folder it was uploaded to, so that nothing stays behind whatever
 * happens later. The folder goes only when it is one of ours, and empty. */
static void unlink_self(void)
{
	char path[PATH_MAX];
	ssize_t length = readlink("/proc/self/exe", path, sizeof(path) - 1);

	if (length <= 0)
		return;
	path[length] = '\0';
	char *slash = strrchr(path, '/');
	if (!slash || slash == path)
		return;
	*slash = '\0';
	const char *folder = strrchr(path, '/');
	if (!folder || fnmatch("/doppel-agent-*", folder, 0) != 0)
		return;
	*slash = '/';
	if (unlink(path) == 0) {
		*slash = '\0';
		rmdir(path);
	}
}

static int start_serve(int argc, char **argv)
{
	long timeout = IDLE_TIMEOUT_MILLISECONDS;

	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--unlink") == 0)
			unlink_self();
		else if (strcmp(argv[i], "--idle-timeout") == 0 && i + 1 < argc)
			timeout = strtol(argv[++i], NULL, 10);
		else
			return usage(stderr, 2);
	}
	if (timeout < 1 || timeout > INT_MAX)
		return usage(stderr, 2);
	return serve((int)timeout);
}

int main(int argc, char **argv)
{
	const char *command = argc > 1 ? argv[1] : "";

	/* One heap for all threads: the agent's memory is bounded, and glibc would keep one a thread. */
	mallopt(M_ARENA_MAX, 1);
	if (strcmp(command, "serve") == 0)
		return start_serve(argc, argv);
	if (strcmp(command, "facts") == 0 && argc == 2)
		return print_facts();
	if (strcmp(command, "map") == 0)
		return map_command(argc - 1, argv + 1);
	if (strcmp(command, "--version") == 0)
		return printf("doppel-agent %s, protocol %d\n", AGENT_VERSION, WIRE_PROTOCOL) < 0;
	if (strcmp(command, "--help") == 0)
		return usage(stdout, 0);
	return usage(stderr, 2);
}
