#include "report.h"

#include <stdarg.h>
#include <stdio.h>

static json_t *message_of(json_t *details, const char *code, const char *text)
{
	json_t *message = details ? details : json_object();

	json_object_set_new(message, "code", json_string(code));
	/* A path may hold bytes that are no UTF-8; the code alone still tells what happened. */
	json_t *string = json_string(text);
	json_object_set_new(message, "message", string ? string : json_string(code));
	return message;
}

void report_error(json_t *details, const char *code, const char *format, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	wire_send_json(WIRE_ERROR, message_of(details, code, text));
}

void report_warning(const char *code, const char *format, ...)
{
	char text[1024];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	wire_send_json(WIRE_WARNING, message_of(NULL, code, text));
}
