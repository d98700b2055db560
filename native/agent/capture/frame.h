/* One cluster as one zstd frame: RFC 8878, docs/image-format.md. */
#ifndef DOPPEL_FRAME_H
#define DOPPEL_FRAME_H

#include "../wire.h"

#include <stdbool.h>

/* Room that frame_compress may need while it works; a frame is never longer than RAW_FRAME_BYTES. */
#define FRAME_ROOM_BYTES 66560u

struct frame_maker;

/* Returns NULL without memory. `level` is 1 to 19. */
struct frame_maker *frame_maker_open(int level);
void frame_maker_close(struct frame_maker *maker);

/* Memory that one maker needs at a level, in bytes. */
size_t frame_maker_bytes(int level);

bool cluster_is_zero(const unsigned char *cluster);

/* The first FRAME_HASH_BYTES of the SHA-256 of a cluster. */
void cluster_hash(const unsigned char *cluster, unsigned char *hash);

/* Writes the frame of a cluster to `out` (FRAME_ROOM_BYTES) and returns its length, or 0 when zstd fails. */
size_t frame_compress(struct frame_maker *maker, const unsigned char *cluster, unsigned char *out);

#endif
