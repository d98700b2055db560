/* Checked readers of on-disk values: a read outside of the view gives zero and marks the view. */
#ifndef DOPPEL_BYTES_H
#define DOPPEL_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct view {
	const unsigned char *data;
	size_t size;
	bool overrun;
};

static inline const unsigned char *view_at(struct view *view, size_t offset, size_t length)
{
	if (offset > view->size || length > view->size - offset) {
		view->overrun = true;
		return NULL;
	}
	return view->data + offset;
}

static inline uint64_t view_little(struct view *view, size_t offset, size_t length)
{
	const unsigned char *at = view_at(view, offset, length);
	uint64_t value = 0;

	for (size_t i = length; at && i > 0; i--)
		value = value << 8 | at[i - 1];
	return value;
}

static inline uint64_t view_big(struct view *view, size_t offset, size_t length)
{
	const unsigned char *at = view_at(view, offset, length);
	uint64_t value = 0;

	for (size_t i = 0; at && i < length; i++)
		value = value << 8 | at[i];
	return value;
}

static inline uint8_t get_u8(struct view *view, size_t offset)
{
	return (uint8_t)view_little(view, offset, 1);
}

static inline uint16_t le16(struct view *view, size_t offset)
{
	return (uint16_t)view_little(view, offset, 2);
}

static inline uint32_t le32(struct view *view, size_t offset)
{
	return (uint32_t)view_little(view, offset, 4);
}

static inline uint64_t le64(struct view *view, size_t offset)
{
	return view_little(view, offset, 8);
}

static inline uint16_t be16(struct view *view, size_t offset)
{
	return (uint16_t)view_big(view, offset, 2);
}

static inline uint32_t be32(struct view *view, size_t offset)
{
	return (uint32_t)view_big(view, offset, 4);
}

static inline uint64_t be64(struct view *view, size_t offset)
{
	return view_big(view, offset, 8);
}

/* True when the view holds `length` bytes equal to `wanted` at `offset`. */
static inline bool view_equals(struct view *view, size_t offset, const void *wanted, size_t length)
{
	const unsigned char *at = view_at(view, offset, length);

	return at && memcmp(at, wanted, length) == 0;
}

#endif
