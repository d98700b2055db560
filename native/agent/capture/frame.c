#define ZSTD_STATIC_LINKING_ONLY
#include "frame.h"

#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

struct frame_maker {
	ZSTD_CCtx *context;
};

static ZSTD_CCtx *open_context(int level)
{
	ZSTD_CCtx *context = ZSTD_createCCtx();

	if (!context)
		return NULL;
	if (ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_compressionLevel, level)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1)) ||
	    ZSTD_isError(ZSTD_CCtx_setParameter(context, ZSTD_c_contentSizeFlag, 1))) {
		ZSTD_freeCCtx(context);
		return NULL;
	}
	return context;
}

struct frame_maker *frame_maker_open(int level)
{
	struct frame_maker *maker = calloc(1, sizeof(*maker));

	if (!maker)
		return NULL;
	maker->context = open_context(level);
	if (!maker->context) {
		free(maker);
		return NULL;
	}
	return maker;
}

void frame_maker_close(struct frame_maker *maker)
{
	if (!maker)
		return;
	ZSTD_freeCCtx(maker->context);
	free(maker);
}

size_t frame_maker_bytes(int level)
{
	return ZSTD_estimateCCtxSize_usingCParams(ZSTD_getCParams(level, CLUSTER_BYTES, 0)) + FRAME_ROOM_BYTES;
}

bool cluster_is_zero(const unsigned char *cluster)
{
	return cluster[0] == 0 && cluster[CLUSTER_BYTES - 1] == 0 && memcmp(cluster, cluster + 1, CLUSTER_BYTES - 1) == 0;
}

void cluster_hash(const unsigned char *cluster, unsigned char *hash)
{
	unsigned char whole[SHA256_DIGEST_LENGTH];
	SHA256_CTX context;

	SHA256_Init(&context);
	SHA256_Update(&context, cluster, CLUSTER_BYTES);
	SHA256_Final(whole, &context);
	memcpy(hash, whole, FRAME_HASH_BYTES);
}

/* A frame of one raw block: RFC 8878, 3.1.1. Its checksum is the low half of XXH64, which zstd computes for us: the
 * last four bytes of the frame that `compressed` already is. */
static size_t raw_frame(const unsigned char *cluster, const unsigned char *compressed, size_t length, unsigned char *out)
{
	static const unsigned char header[] = {
		0x28, 0xb5, 0x2f, 0xfd, /* magic */
		0x64,                   /* 2-byte content size, single segment, checksum */
		0x00, 0xff,             /* 65,536 - 256 */
		0x01, 0x00, 0x08,       /* last block, raw, 65,536 bytes */
	};
	unsigned char checksum[4];

	memcpy(checksum, compressed + length - 4, sizeof(checksum));
	memcpy(out, header, sizeof(header));
	memcpy(out + sizeof(header), cluster, CLUSTER_BYTES);
	memcpy(out + sizeof(header) + CLUSTER_BYTES, checksum, sizeof(checksum));
	return RAW_FRAME_BYTES;
}

size_t frame_compress(struct frame_maker *maker, const unsigned char *cluster, unsigned char *out)
{
	size_t length = ZSTD_compress2(maker->context, out, FRAME_ROOM_BYTES, cluster, CLUSTER_BYTES);

	if (ZSTD_isError(length))
		return 0;
	/* Saving less than a sector is worth less than a cluster that can be read without decoding. */
	if (length > CLUSTER_BYTES - 512)
		return raw_frame(cluster, out, length, out);
	return length;
}
