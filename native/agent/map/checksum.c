#include "checksum.h"

#include <pthread.h>

#ifdef FUZZING_BUILD_MODE_UNSAFE_FOR_PRODUCTION
#include <sanitizer/asan_interface.h>

/* No sum is looked at there (checksum_equal), and to work them out takes most of the time; their bytes must be readable all the same.
 * Returns true when there is nothing more to do. */
static bool only_checked(const void *data, size_t length)
{
	const volatile unsigned char *bad = __asan_region_is_poisoned((void *)(uintptr_t)data, length);

	if (bad)
		(void)*bad;
	return true;
}
#else
#define only_checked(data, length) false
#endif

static uint32_t table_32c[256], table_32[256];
static uint16_t table_16[256];
static pthread_once_t tables_made = PTHREAD_ONCE_INIT;

static uint32_t reflected(uint32_t value, uint32_t polynomial)
{
	for (int bit = 0; bit < 8; bit++)
		value = value & 1 ? value >> 1 ^ polynomial : value >> 1;
	return value;
}

static void make_tables(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		table_32c[i] = reflected(i, 0x82f63b78);
		table_32[i] = reflected(i, 0xedb88320);
		table_16[i] = (uint16_t)reflected(i, 0xa001);
	}
}

static uint32_t run(const uint32_t *table, uint32_t crc, const unsigned char *data, size_t length)
{
	for (size_t i = 0; i < length; i++)
		crc = table[(crc ^ data[i]) & 0xff] ^ crc >> 8;
	return crc;
}

uint32_t crc32c(uint32_t crc, const void *data, size_t length)
{
	if (only_checked(data, length))
		return crc;
	pthread_once(&tables_made, make_tables);
	return run(table_32c, crc, data, length);
}

uint32_t crc32_ieee(uint32_t crc, const void *data, size_t length)
{
	if (only_checked(data, length))
		return crc;
	pthread_once(&tables_made, make_tables);
	return run(table_32, crc, data, length);
}

uint16_t crc16(uint16_t crc, const void *data, size_t length)
{
	const unsigned char *bytes = data;

	if (only_checked(data, length))
		return crc;
	pthread_once(&tables_made, make_tables);
	for (size_t i = 0; i < length; i++)
		crc = (uint16_t)(table_16[(crc ^ bytes[i]) & 0xff] ^ crc >> 8);
	return crc;
}
