/* Linux swap: include/linux/swap.h (union swap_header), mm/swapfile.c. Only its header is kept. */
#include "bytes.h"
#include "reader.h"

#include <errno.h>
#include <stdlib.h>

static const uint32_t page_sizes[] = {4096, 8192, 16384, 32768, 65536};

/* Hibernation leaves its own mark where the swap signature stood (kernel/power/swap.c, uswsusp, TuxOnIce). */
static const char *const suspended[] = {"S1SUSPEND", "S2SUSPEND", "ULSUSPEND", "LINHIB0001"};

static int check_header(struct file_system *fs, uint32_t page)
{
	unsigned char header[1036];
	struct view view = {.data = header, .size = sizeof(header)};
	int result = fs->source->read(fs->source, 0, header, sizeof(header));

	if (result < 0)
		return result;
	uint64_t last_page = le32(&view, 1028);
	if (le32(&view, 1024) != 1)
		return reader_reason(fs, OPEN_WHOLE, "its swap header has version %u", le32(&view, 1024));
	if (last_page == 0 || last_page >= fs->source->size_bytes / page)
		return reader_reason(fs, OPEN_WHOLE, "its swap header claims more pages than there is room for");
	fs->state = malloc(sizeof(page));
	if (!fs->state)
		return -ENOMEM;
	memcpy(fs->state, &page, sizeof(page));
	return OPEN_MAPPED;
}

static int swap_open(struct file_system *fs)
{
	unsigned char signature[10];

	for (size_t i = 0; i < sizeof(page_sizes) / sizeof(*page_sizes); i++) {
		uint32_t page = page_sizes[i];
		if (fs->source->size_bytes < page)
			break;
		int result = fs->source->read(fs->source, page - sizeof(signature), signature, sizeof(signature));
		if (result < 0)
			return result;
		for (size_t j = 0; j < sizeof(suspended) / sizeof(*suspended); j++) {
			if (memcmp(signature, suspended[j], strlen(suspended[j])) == 0) {
				strcpy(fs->kind, "swap");
				return reader_reason(fs, OPEN_WHOLE, "it holds a hibernated system");
			}
		}
		if (memcmp(signature, "SWAPSPACE2", sizeof(signature)) == 0) {
			strcpy(fs->kind, "swap");
			return check_header(fs, page);
		}
	}
	return OPEN_NOT_MINE;
}

static int swap_walk(struct file_system *fs, struct window window, struct sink *sink)
{
	uint32_t page;

	memcpy(&page, fs->state, sizeof(page));
	return window.start < page ? sink->used(sink, 0, page) : 0;
}

static void swap_close(struct file_system *fs)
{
	free(fs->state);
}

const struct reader swap_reader = {swap_open, swap_walk, swap_close, MAP_HEADER};
