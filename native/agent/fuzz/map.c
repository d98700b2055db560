/* Fuzzes the map readers: the input is a list of patches on a sound image, which keeps it near what the readers accept.
 *   DOPPEL_FUZZ_BASE=IMAGE fuzz-map -runs=100000
 * Checksums count as right in this build, else nearly every patch would end at one. */
#include "map.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512
#define MAX_PATCHES 32
#define PATCH_HEADER 5
#define MOST_RANGES 20000000u
#define WINDOW (1ull << 28)

static unsigned char *image;
static uint64_t image_bytes;
static uint32_t *sectors; /* those that hold anything: patches go there */
static size_t sector_count;

static void fail(const char *what)
{
	fprintf(stderr, "fuzz-map: %s\n", what);
	abort();
}

static void load_base(void)
{
	static const unsigned char zero[SECTOR];
	const char *path = getenv("DOPPEL_FUZZ_BASE");
	struct stat status;
	int fd = path ? open(path, O_RDONLY) : -1;

	if (fd < 0 || fstat(fd, &status) < 0)
		fail("DOPPEL_FUZZ_BASE names no image");
	image_bytes = (uint64_t)status.st_size;
	image = mmap(NULL, image_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0);
	sectors = calloc(image_bytes / SECTOR, sizeof(*sectors));
	if (image == MAP_FAILED || !sectors)
		fail("no memory");
	for (off_t at = 0; (at = lseek(fd, at, SEEK_DATA)) >= 0;) {
		off_t end = lseek(fd, at, SEEK_HOLE);
		for (; at < end && (uint64_t)at + SECTOR <= image_bytes; at += SECTOR)
			if (memcmp(image + at, zero, SECTOR) != 0)
				sectors[sector_count++] = (uint32_t)(at / SECTOR);
		at = end;
	}
	close(fd);
	if (sector_count == 0)
		fail("the base image holds nothing");
}

static int read_image(struct source *source, uint64_t offset, void *buffer, size_t length)
{
	if (offset > source->size_bytes || length > source->size_bytes - offset)
		return -34;
	memcpy(buffer, image + offset, length);
	return 0;
}

struct counting_sink {
	struct sink sink;
	uint32_t ranges;
};

static int count_range(struct sink *sink, uint64_t offset, uint64_t length)
{
	struct counting_sink *counting = (struct counting_sink *)(void *)sink;

	if (length == 0 || offset > image_bytes || length > image_bytes - offset)
		fail("a used range lies outside of the disk");
	if (++counting->ranges > MOST_RANGES)
		fail("a walk does not end");
	return 0;
}

static void walk(void)
{
	struct source source = {.read = read_image, .size_bytes = image_bytes};
	static const uint64_t start = 0;
	struct disk_map *map;

	if (disk_map_open(&source, SECTOR, (struct refreshed_starts){&start, 1}, &map) < 0)
		return;
	for (uint64_t at = 0; at < image_bytes; at += WINDOW) {
		struct counting_sink counting = {.sink.used = count_range};
		if (disk_map_walk(map, (struct window){at, at + WINDOW}, &counting.sink) < 0)
			fail("a walk failed although the disk can be read");
	}
	size_t count;
	const struct region *regions = disk_map_regions(map, &count);
	for (size_t i = 0; i < count; i++)
		if (regions[i].offset_bytes > image_bytes || regions[i].length_bytes > image_bytes - regions[i].offset_bytes)
			fail("a region lies outside of the disk");
	disk_map_close(map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct {
		unsigned char *at;
		uint8_t length;
		unsigned char old[256];
	} patches[MAX_PATCHES];
	size_t count = 0;

	if (!image)
		load_base();
	/* sector (2), offset in it (2), length (1), bytes */
	while (size > PATCH_HEADER && count < MAX_PATCHES) {
		size_t sector = sectors[((size_t)data[0] | (size_t)data[1] << 8) % sector_count];
		size_t offset = ((size_t)data[2] | (size_t)data[3] << 8) % SECTOR;
		size_t length = data[4] % 17;
		data += PATCH_HEADER;
		size -= PATCH_HEADER;
		if (length > size)
			length = size;
		if (length > SECTOR - offset)
			length = SECTOR - offset;
		patches[count].at = image + sector * SECTOR + offset;
		patches[count].length = (uint8_t)length;
		memcpy(patches[count].old, patches[count].at, length);
		memcpy(patches[count].at, data, length);
		count++;
		data += length;
		size -= length;
	}
	walk();
	while (count > 0) {
		count--;
		memcpy(patches[count].at, patches[count].old, patches[count].length);
	}
	return 0;
}
