/* An NBD export on a Unix socket, read-only: how a disk image of any format is read like a disk. NBD protocol, proto.md. */
#ifndef DOPPEL_NBD_H
#define DOPPEL_NBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct nbd;

/* Opens the default export of the server at the socket. Returns 0 or a negative errno (-EPROTO for a server that breaks
 * the protocol or does not know structured replies). */
int nbd_open(const char *socket_path, struct nbd **out, uint64_t *size_bytes);
void nbd_close(struct nbd *nbd);

/* Reads exactly `length` bytes; any number of threads at once. Returns 0 or a negative errno. */
int nbd_read(struct nbd *nbd, void *buffer, uint64_t offset, size_t length);

/* Where the hole ends that `offset` lies in, `offset` itself where it lies in none. The server's word: a hole reads as
 * zeros. One thread. */
uint64_t nbd_hole_end(struct nbd *nbd, uint64_t offset);

#endif
