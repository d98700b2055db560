#include "text.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool read_path(char *text, size_t size, const char *path)
{
	size_t done = 0;
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	text[0] = '\0';
	if (fd < 0)
		return false;
	while (done < size - 1) {
		ssize_t got = read(fd, text + done, size - 1 - done);
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	close(fd);
	while (done > 0 && (text[done - 1] == '\n' || text[done - 1] == ' ' || text[done - 1] == '\0'))
		done--;
	text[done] = '\0';
	return done > 0;
}

#define FORMAT_PATH(path, format)                                   \
	char path[PATH_MAX];                                        \
	va_list arguments;                                          \
	va_start(arguments, format);                                \
	vsnprintf(path, sizeof(path), format, arguments);           \
	va_end(arguments)

bool text_read(char *text, size_t size, const char *format, ...)
{
	FORMAT_PATH(path, format);
	return read_path(text, size, path);
}

int64_t text_number(int64_t otherwise, const char *format, ...)
{
	char text[64], *end;

	FORMAT_PATH(path, format);
	if (!read_path(text, sizeof(text), path))
		return otherwise;
	long long value = strtoll(text, &end, 10);
	return end == text ? otherwise : value;
}

bool text_link(char *name, size_t size, const char *format, ...)
{
	char target[PATH_MAX];

	FORMAT_PATH(path, format);
	ssize_t length = readlink(path, target, sizeof(target) - 1);
	name[0] = '\0';
	if (length <= 0)
		return false;
	target[length] = '\0';
	const char *slash = strrchr(target, '/');
	snprintf(name, size, "%s", slash ? slash + 1 : target);
	return true;
}

json_t *text_json(const char *text)
{
	if (!text[0])
		return json_null();
	json_t *string = json_string(text);
	if (string)
		return string;
	char *copy = strdup(text);
	for (char *at = copy; at && *at; at++)
		if (*at & 0x80)
			*at = '?';
	string = copy ? json_string(copy) : NULL;
	free(copy);
	return string ? string : json_null();
}

void text_member(json_t *object, const char *member, const char *format, ...)
{
	char text[TEXT_BYTES];

	FORMAT_PATH(path, format);
	if (read_path(text, sizeof(text), path))
		json_object_set_new(object, member, text_json(text));
}

static int visible(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

void text_folder(const char *path, void (*visit)(void *context, const char *name), void *context)
{
	struct dirent **entries;
	int count = scandir(path, &entries, visible, alphasort);

	for (int i = 0; i < count; i++) {
		visit(context, entries[i]->d_name);
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
}
