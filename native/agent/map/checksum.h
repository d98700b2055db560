/* The checksums that on-disk structures carry. Each continues from a previous value, without a final inversion. */
#ifndef DOPPEL_CHECKSUM_H
#define DOPPEL_CHECKSUM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Under a fuzzer every checksum counts as right: what it protects is what must be reached. */
static inline bool checksum_equal(uint32_t computed, uint32_t stored)
{
#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
	(void)computed;
	(void)stored;
	return true;
#else
	return computed == stored;
#endif
}

/* CRC-32C, reflected: ext4 metadata_csum (starts with ~0), XFS v5 (starts with ~0, inverted at the end). */
uint32_t crc32c(uint32_t crc, const void *data, size_t length);

/* CRC-32 of GPT (UEFI specification 5.3): starts with ~0, inverted at the end. */
uint32_t crc32_ieee(uint32_t crc, const void *data, size_t length);

/* CRC-16, reflected 0x8005: ext4 group descriptors with uninit_bg, starts with ~0. */
uint16_t crc16(uint16_t crc, const void *data, size_t length);

#endif
