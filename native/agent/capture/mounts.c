#include "mounts.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#define MAX_STACK_DEPTH 8
#define MAX_NODES 512

struct node {
	unsigned major, minor;
	uint64_t start_bytes;
	char path[64];
};

struct nodes {
	struct node entries[MAX_NODES];
	size_t count;
};

static bool read_line(const char *folder, const char *name, char *line, size_t size)
{
	char path[PATH_MAX];

	if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
		return false;
	FILE *file = fopen(path, "re");
	if (!file)
		return false;
	bool read = fgets(line, (int)size, file) != NULL;
	fclose(file);
	return read;
}

static void add_holders(struct nodes *nodes, const char *folder, int depth);

/* Adds the device described by a sysfs folder, what holds it, and (of a disk) its partitions. */
static void add_node(struct nodes *nodes, const char *folder, const char *name, bool is_partition, int depth)
{
	char line[64];
	struct node node = {0};

	if (depth > MAX_STACK_DEPTH || nodes->count >= MAX_NODES)
		return;
	if (!read_line(folder, "dev", line, sizeof(line)) || sscanf(line, "%u:%u", &node.major, &node.minor) != 2)
		return;
	for (size_t i = 0; i < nodes->count; i++)
		if (nodes->entries[i].major == node.major && nodes->entries[i].minor == node.minor)
			return;
	if (is_partition && read_line(folder, "start", line, sizeof(line)))
		node.start_bytes = strtoull(line, NULL, 10) * 512;
	/* What is stacked on the disk lies somewhere on it, at no single place. */
	if (depth == 0)
		snprintf(node.path, sizeof(node.path), "/dev/%.56s", name);
	nodes->entries[nodes->count++] = node;
	add_holders(nodes, folder, depth);
}

static void add_holders(struct nodes *nodes, const char *folder, int depth)
{
	char path[PATH_MAX], target[PATH_MAX];
	struct dirent *entry;

	if (snprintf(path, sizeof(path), "%s/holders", folder) >= (int)sizeof(path))
		return;
	DIR *holders = opendir(path);
	if (!holders)
		return;
	while ((entry = readdir(holders)))
		if (entry->d_name[0] != '.' &&
		    snprintf(target, sizeof(target), "/sys/class/block/%s", entry->d_name) < (int)sizeof(target))
			add_node(nodes, target, entry->d_name, false, depth + 1);
	closedir(holders);
}

static void add_partitions(struct nodes *nodes, const char *folder)
{
	char path[PATH_MAX], line[16];
	struct dirent *entry;
	DIR *children = opendir(folder);

	if (!children)
		return;
	while ((entry = readdir(children)))
		if (entry->d_name[0] != '.' &&
		    snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) < (int)sizeof(path) &&
		    read_line(path, "partition", line, sizeof(line)))
			add_node(nodes, path, entry->d_name, true, 0);
	closedir(children);
}

/* The kernel writes blanks and backslashes of a mountpoint as octal escapes. */
static void unescape(char *text)
{
	char *out = text;

	for (const char *in = text; *in; in++) {
		if (in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && isdigit((unsigned char)in[2]) && isdigit((unsigned char)in[3])) {
			*out++ = (char)((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
			in += 3;
		} else {
			*out++ = *in;
		}
	}
	*out = '\0';
}

static const struct node *find_node(const struct nodes *nodes, unsigned major, unsigned minor)
{
	for (size_t i = 0; i < nodes->count; i++)
		if (nodes->entries[i].major == major && nodes->entries[i].minor == minor)
			return &nodes->entries[i];
	return NULL;
}

/* proc(5), mountinfo: ID PARENT MAJ:MIN ROOT MOUNTPOINT OPTIONS OPTIONAL... - TYPE SOURCE SUPEROPTIONS */
static void take_mount(struct mounts *mounts, const struct nodes *nodes, char *line)
{
	unsigned major, minor;
	int mountpoint_at = 0, mountpoint_end = 0;
	char *separator = strstr(line, " - ");
	char type[64] = "", source[PATH_MAX] = "", options[1024] = "";

	if (!separator || sscanf(line, "%*d %*d %u:%u %*s %n%*s%n", &major, &minor, &mountpoint_at, &mountpoint_end) < 2)
		return;
	if (sscanf(separator, " - %63s %4095s %1023s", type, source, options) < 3)
		return;
	const struct node *node = find_node(nodes, major, minor);
	/* btrfs mounts carry an anonymous device number; its source path names the device. */
	struct stat status;
	if (!node && strncmp(source, "/dev/", 5) == 0 && stat(source, &status) == 0 && S_ISBLK(status.st_mode)) {
		major = major(status.st_rdev);
		minor = minor(status.st_rdev);
		node = find_node(nodes, major, minor);
	}
	if (!node || mounts->count >= MAX_MOUNTS)
		return;
	for (size_t i = 0; i < mounts->count; i++)
		if (mounts->entries[i].major == major && mounts->entries[i].minor == minor)
			return;
	struct mount *mount = &mounts->entries[mounts->count];
	*mount = (struct mount){.major = major, .minor = minor, .start_bytes = node->start_bytes};
	mount->mountpoint = strndup(line + mountpoint_at, (size_t)(mountpoint_end - mountpoint_at));
	mount->type = strdup(type);
	mount->writable = strncmp(options, "rw", 2) == 0;
	memcpy(mount->path, node->path, sizeof(mount->path));
	if (!mount->mountpoint || !mount->type) {
		free(mount->mountpoint);
		free(mount->type);
		return;
	}
	unescape(mount->mountpoint);
	mounts->count++;
}

static bool swap_on(const struct nodes *nodes)
{
	char line[PATH_MAX + 64], path[PATH_MAX];
	struct stat status;
	bool active = false;
	FILE *file = fopen("/proc/swaps", "re");

	if (!file)
		return false;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%4095s", path) == 1 && stat(path, &status) == 0 && S_ISBLK(status.st_mode) &&
		    find_node(nodes, major(status.st_rdev), minor(status.st_rdev)))
			active = true;
	fclose(file);
	return active;
}

int mounts_collect(const struct device *device, struct mounts *mounts)
{
	char folder[64], *line = NULL;
	size_t size = 0;
	struct nodes *nodes;

	memset(mounts, 0, sizeof(*mounts));
	if (!device->is_block)
		return 0;
	nodes = calloc(1, sizeof(*nodes));
	FILE *file = fopen("/proc/self/mountinfo", "re");
	if (!nodes || !file) {
		int result = nodes ? -errno : -ENOMEM;
		free(nodes);
		if (file)
			fclose(file);
		return result;
	}
	snprintf(folder, sizeof(folder), "/sys/dev/block/%u:%u", device->major, device->minor);
	const char *name = strrchr(device->path, '/');
	add_node(nodes, folder, name ? name + 1 : device->path, false, 0);
	add_partitions(nodes, folder);
	while (getline(&line, &size, file) > 0)
		take_mount(mounts, nodes, line);
	mounts->swap_active = swap_on(nodes);
	free(line);
	fclose(file);
	free(nodes);
	return 0;
}

void mounts_release(struct mounts *mounts)
{
	for (size_t i = 0; i < mounts->count; i++) {
		free(mounts->entries[i].mountpoint);
		free(mounts->entries[i].type);
	}
	mounts->count = 0;
}

bool mounts_writable(const struct mounts *mounts)
{
	for (size_t i = 0; i < mounts->count; i++)
		if (mounts->entries[i].writable)
			return true;
	return false;
}
