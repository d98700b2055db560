/* Small files of /sys, /proc and /etc, read whole and bounded. */
#ifndef DOPPEL_TEXT_H
#define DOPPEL_TEXT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TEXT_BYTES 4096

/* Reads a file into `text` without its last line break; false, and an empty text, when there is nothing to read. */
bool text_read(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A number out of a file, or `otherwise`. */
int64_t text_number(int64_t otherwise, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The last part of where a link points, such as a driver's name; false when there is none. */
bool text_link(char *name, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* A JSON string of what may not be UTF-8 (bytes that are not become '?'), JSON null of an empty one. */
json_t *text_json(const char *text);

/* Sets a member to what a file holds, if it holds anything. */
void text_member(json_t *object, const char *member, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Calls `visit` with each name in a folder, in alphabetical order, but those that start with a dot. */
void text_folder(const char *path, void (*visit)(void *context, const char *name), void *context);

#endif
