/* CAPTURE_REQUEST: freeze, copy each disk, thaw. */
#ifndef DOPPEL_COPY_H
#define DOPPEL_COPY_H

#include "request.h"

/* Carries out the request. Returns 0, or -1 after an ERROR message has been sent. */
int capture(const struct capture_request *request);

#endif
