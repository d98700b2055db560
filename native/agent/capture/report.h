/* Messages about what went wrong. */
#ifndef DOPPEL_REPORT_H
#define DOPPEL_REPORT_H

#include "../wire.h"

/* Sends an ERROR; `details` (may be NULL) is an object whose members are added, and is released. */
void report_error(json_t *details, const char *code, const char *format, ...) __attribute__((format(printf, 3, 4)));
void report_warning(const char *code, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
