#ifndef DOPPEL_SERVE_H
#define DOPPEL_SERVE_H

/* Speaks the agent protocol on standard input and output until it ends; returns the exit code. */
int serve(int idle_timeout_ms);

#endif
