/* XFS: XFS Algorithms & Data Structures, 3rd edition; fs/xfs/libxfs/xfs_format.h. All values are big-endian but the
 * checksums. Everything is used but what the free space B-trees by block say is free. */
#include "bytes.h"
#include "checksum.h"
#include "reader.h"

#include <errno.h>
#include <stdlib.h>

#define SUPER_BYTES 512
#define SUPER_MAGIC 0x58465342
#define AGF_MAGIC 0x58414746
#define BNOBT_MAGIC_V4 0x41425442
#define BNOBT_MAGIC_V5 0x41423342
#define LOG_MAGIC 0xfeedbabe
#define NULL_BLOCK 0xffffffffu
#define MAX_LEVELS 12
#define LOG_BLOCK 512u
/* How far before the head the header of an unmount record may stand: its own length at most (a log stripe unit is at
 * most 256 KiB), and up to 8 header blocks. */
#define MOST_RECORD_BLOCKS 1024u
#define UNMOUNT_FLAG 0x20

enum {
	/* ftype, sparse inodes, meta_uuid, bigtime, nrext64, exchrange, parent, metadir */
	INCOMPAT_KNOWN = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x40 | 0x80 | 0x100,
	INCOMPAT_NEEDSREPAIR = 0x10,
};

struct xfs {
	uint32_t block_bytes, sector_bytes, ag_blocks, ag_count, log_blocks;
	uint64_t blocks, log_start;
	uint8_t ag_block_log;
	bool v5;
	unsigned char *block;
};

struct ag {
	uint32_t number, length, root, level, free_blocks;
	uint64_t first_byte;
};

/* CRC-32C over `bytes` with the checksum field at `at` taken as zero, stored little-endian. */
static bool checksum_matches(const unsigned char *data, size_t bytes, size_t at)
{
	static const unsigned char zero[4];
	uint32_t crc = crc32c(~0u, data, at);

	crc = crc32c(crc, zero, sizeof(zero));
	crc = ~crc32c(crc, data + at + 4, bytes - at - 4);
	return checksum_equal(crc, (uint32_t)data[at] | (uint32_t)data[at + 1] << 8 | (uint32_t)data[at + 2] << 16 |
					   (uint32_t)data[at + 3] << 24);
}

static int read_ag(struct file_system *fs, uint32_t number, struct ag *ag)
{
	struct xfs *xfs = fs->state;
	struct view agf = {.data = xfs->block, .size = xfs->sector_bytes};
	uint64_t left = xfs->blocks - (uint64_t)number * xfs->ag_blocks;
	uint32_t expected = left < xfs->ag_blocks ? (uint32_t)left : xfs->ag_blocks;

	*ag = (struct ag){.number = number, .first_byte = (uint64_t)number * xfs->ag_blocks * xfs->block_bytes};
	int result = fs->source->read(fs->source, ag->first_byte + xfs->sector_bytes, xfs->block, xfs->sector_bytes);
	if (result < 0)
		return result;
	if (be32(&agf, 0) != AGF_MAGIC || be32(&agf, 8) != number)
		return reader_reason(fs, -EUCLEAN, "allocation group %u has no valid header", number);
	if (xfs->v5 && !checksum_matches(xfs->block, xfs->sector_bytes, 216))
		return reader_reason(fs, -EUCLEAN, "the header of allocation group %u does not match its checksum", number);
	ag->length = be32(&agf, 12);
	ag->root = be32(&agf, 16);
	ag->level = be32(&agf, 28);
	ag->free_blocks = be32(&agf, 52);
	if (ag->length != expected || ag->root >= ag->length || ag->level == 0 || ag->level > MAX_LEVELS)
		return reader_reason(fs, -EUCLEAN, "the header of allocation group %u contradicts the superblock", number);
	return 0;
}

/* Reads a block of the free space B-tree and checks what stands before its records. */
static int read_btree_block(struct file_system *fs, const struct ag *ag, uint32_t block, uint32_t level,
			    uint16_t *records, uint32_t *right)
{
	struct xfs *xfs = fs->state;
	struct view view = {.data = xfs->block, .size = xfs->block_bytes};
	uint32_t header = xfs->v5 ? 56 : 16;
	uint32_t most = (xfs->block_bytes - header) / (level == 0 ? 8 : 12);

	if (block == 0 || block >= ag->length)
		return reader_reason(fs, -EUCLEAN, "a free space tree of allocation group %u leaves it", ag->number);
	int result = fs->source->read(fs->source, ag->first_byte + (uint64_t)block * xfs->block_bytes, xfs->block,
				      xfs->block_bytes);
	if (result < 0)
		return result;
	*records = be16(&view, 6);
	*right = be32(&view, 12);
	if (be32(&view, 0) != (xfs->v5 ? BNOBT_MAGIC_V5 : BNOBT_MAGIC_V4) || be16(&view, 4) != level || *records > most)
		return reader_reason(fs, -EUCLEAN, "block %u of allocation group %u is no part of its free space tree", block,
				     ag->number);
	if (xfs->v5 && !checksum_matches(xfs->block, xfs->block_bytes, 52))
		return reader_reason(fs, -EUCLEAN, "block %u of allocation group %u does not match its checksum", block,
				     ag->number);
	return 0;
}

/* Finds the leftmost leaf. */
static int find_first_leaf(struct file_system *fs, const struct ag *ag, uint32_t *leaf)
{
	struct xfs *xfs = fs->state;
	struct view view = {.data = xfs->block, .size = xfs->block_bytes};
	uint32_t header = xfs->v5 ? 56 : 16, right;
	uint16_t records;

	*leaf = ag->root;
	for (uint32_t level = ag->level - 1; level > 0; level--) {
		int result = read_btree_block(fs, ag, *leaf, level, &records, &right);
		if (result < 0)
			return result;
		if (records == 0)
			return reader_reason(fs, -EUCLEAN, "a free space tree of allocation group %u has an empty node", ag->number);
		*leaf = be32(&view, header + (xfs->block_bytes - header) / 12 * 8);
	}
	return 0;
}

/* Reports what lies between the free extents of one group. */
static int walk_ag(struct file_system *fs, const struct ag *ag, struct sink *sink)
{
	struct xfs *xfs = fs->state;
	struct view view = {.data = xfs->block, .size = xfs->block_bytes};
	uint32_t header = xfs->v5 ? 56 : 16, next_used = 0, leaf, right, leaves = 0;
	uint64_t free_blocks = 0;
	uint16_t records;
	int result = find_first_leaf(fs, ag, &leaf);

	for (; result == 0 && leaf != NULL_BLOCK; leaf = right) {
		result = read_btree_block(fs, ag, leaf, 0, &records, &right);
		if (result == 0 && leaves++ > ag->length)
			result = reader_reason(fs, -EUCLEAN, "a free space tree of allocation group %u loops", ag->number);
		for (uint16_t i = 0; result == 0 && i < records; i++) {
			uint32_t start = be32(&view, header + 8u * i), count = be32(&view, header + 8u * i + 4);
			if (start < next_used || count == 0 || start >= ag->length || count > ag->length - start)
				return reader_reason(fs, -EUCLEAN, "the free space of allocation group %u is not in order",
						     ag->number);
			if (start > next_used)
				result = sink->used(sink, ag->first_byte + (uint64_t)next_used * xfs->block_bytes,
						    (uint64_t)(start - next_used) * xfs->block_bytes);
			next_used = start + count;
			free_blocks += count;
		}
	}
	if (result == 0 && free_blocks != ag->free_blocks)
		return reader_reason(fs, -EUCLEAN, "allocation group %u counts %u free blocks and lists %llu", ag->number,
				     ag->free_blocks, (unsigned long long)free_blocks);
	if (result == 0 && next_used < ag->length)
		result = sink->used(sink, ag->first_byte + (uint64_t)next_used * xfs->block_bytes,
				    (uint64_t)(ag->length - next_used) * xfs->block_bytes);
	return result;
}

static int xfs_walk(struct file_system *fs, struct window window, struct sink *sink)
{
	const struct xfs *xfs = fs->state;
	uint64_t ag_bytes = (uint64_t)xfs->ag_blocks * xfs->block_bytes;
	int result = reader_use_tail(fs, xfs->blocks * xfs->block_bytes, sink);

	for (uint64_t number = window.start / ag_bytes; result == 0 && number < xfs->ag_count; number++) {
		struct ag ag = {0};
		if (number * ag_bytes >= window.end)
			break;
		result = read_ag(fs, (uint32_t)number, &ag);
		if (result == 0)
			result = walk_ag(fs, &ag, sink);
	}
	return result;
}

/* The cycle number of a block of the log: its first word, but in a record header the second. */
static int log_cycle(struct file_system *fs, uint64_t log_byte, uint64_t block, uint32_t *cycle)
{
	unsigned char start[8];
	struct view view = {.data = start, .size = sizeof(start)};
	int result = fs->source->read(fs->source, log_byte + block * LOG_BLOCK, start, sizeof(start));

	*cycle = be32(&view, be32(&view, 0) == LOG_MAGIC ? 4 : 0);
	return result;
}

/* Finds the block after the last one written (fs/xfs/xfs_log_recover.c, xlog_find_head): the first whose cycle is the
 * one before the log's first. */
static int find_log_head(struct file_system *fs, uint64_t log_byte, uint64_t blocks, uint64_t *head)
{
	uint32_t first_cycle, cycle;
	uint64_t low = 0, high = blocks - 1;
	int result = log_cycle(fs, log_byte, 0, &first_cycle);

	if (result == 0)
		result = log_cycle(fs, log_byte, high, &cycle);
	if (result < 0)
		return result;
	*head = blocks;
	if (cycle == first_cycle)
		return 0;
	/* `low` has the first cycle, `high` has another. */
	while (high - low > 1) {
		uint64_t middle = low + (high - low) / 2;
		result = log_cycle(fs, log_byte, middle, &cycle);
		if (result < 0)
			return result;
		if (cycle == first_cycle)
			low = middle;
		else
			high = middle;
	}
	*head = high;
	return 0;
}

/* True when the record that starts at `block` ends at `head` and says nothing but that the file system was unmounted. */
static bool is_unmount_record(struct file_system *fs, uint64_t log_byte, uint64_t block, uint64_t head)
{
	unsigned char header[512], operation[12];
	struct view view = {.data = header, .size = sizeof(header)};
	struct view op = {.data = operation, .size = sizeof(operation)};

	if (fs->source->read(fs->source, log_byte + block * LOG_BLOCK, header, sizeof(header)) < 0 ||
	    be32(&view, 0) != LOG_MAGIC)
		return false;
	uint32_t size = be32(&view, 320), length = be32(&view, 12);
	uint64_t header_blocks = be32(&view, 8) == 2 && size > 32768 ? (size + 32767) / 32768 : 1;
	if (be32(&view, 40) != 1 || block + header_blocks + (length + LOG_BLOCK - 1) / LOG_BLOCK != head)
		return false;
	if (fs->source->read(fs->source, log_byte + (block + header_blocks) * LOG_BLOCK, operation, sizeof(operation)) < 0)
		return false;
	return get_u8(&op, 9) & UNMOUNT_FLAG;
}

/* A log that ends with an unmount record has nothing to replay. Whatever else is found counts as dirty. */
static bool log_is_clean(struct file_system *fs, const struct xfs *xfs)
{
	uint64_t ag = xfs->log_start >> xfs->ag_block_log;
	uint64_t block = xfs->log_start & ((1ull << xfs->ag_block_log) - 1);
	uint64_t log_byte = (ag * xfs->ag_blocks + block) * xfs->block_bytes;
	uint64_t blocks = (uint64_t)xfs->log_blocks * xfs->block_bytes / LOG_BLOCK, head;

	if (blocks < 4 || ag >= xfs->ag_count || block + xfs->log_blocks > xfs->ag_blocks ||
	    find_log_head(fs, log_byte, blocks, &head) < 0)
		return false;
	for (uint64_t back = 2; back <= MOST_RECORD_BLOCKS && back <= head; back++)
		if (is_unmount_record(fs, log_byte, head - back, head))
			return true;
	return false;
}

static bool parse_super(struct view *super, struct xfs *xfs)
{
	uint8_t block_log = get_u8(super, 120);

	xfs->block_bytes = be32(super, 4);
	xfs->blocks = be64(super, 8);
	xfs->log_start = be64(super, 48);
	xfs->ag_blocks = be32(super, 84);
	xfs->ag_count = be32(super, 88);
	xfs->log_blocks = be32(super, 96);
	xfs->sector_bytes = be16(super, 102);
	xfs->ag_block_log = get_u8(super, 124);
	xfs->v5 = (be16(super, 100) & 0xf) == 5;
	return block_log >= 9 && block_log <= 16 && xfs->block_bytes == 1u << block_log && xfs->sector_bytes >= 512 &&
	       xfs->sector_bytes <= 32768 && (xfs->sector_bytes & (xfs->sector_bytes - 1)) == 0 &&
	       xfs->sector_bytes <= xfs->block_bytes * 4u && xfs->ag_blocks >= 64 && xfs->ag_count > 0 &&
	       xfs->ag_block_log < 32 && xfs->ag_blocks <= 1ull << xfs->ag_block_log &&
	       xfs->blocks <= (uint64_t)xfs->ag_count * xfs->ag_blocks &&
	       xfs->blocks > (uint64_t)(xfs->ag_count - 1) * xfs->ag_blocks;
}

static int judge(struct file_system *fs, struct view *super, const struct xfs *xfs)
{
	uint16_t version = be16(super, 100) & 0xf;
	uint32_t incompat = xfs->v5 ? be32(super, 216) : 0;

	if (version != 4 && version != 5)
		return reader_reason(fs, OPEN_WHOLE, "its version %u is not known here", version);
	if (get_u8(super, 126))
		return reader_reason(fs, OPEN_WHOLE, "it is being made or was never finished");
	if (incompat & INCOMPAT_NEEDSREPAIR)
		return reader_reason(fs, OPEN_WHOLE, "it is marked as needing repair; run xfs_repair");
	if (incompat & ~(uint32_t)INCOMPAT_KNOWN)
		return reader_reason(fs, OPEN_WHOLE, "it has features that are not known here (0x%x)",
				     incompat & ~(uint32_t)INCOMPAT_KNOWN);
	if (xfs->blocks > fs->source->size_bytes / xfs->block_bytes)
		return reader_reason(fs, OPEN_WHOLE, "it claims %llu blocks of %u bytes, more than its partition holds",
				     (unsigned long long)xfs->blocks, xfs->block_bytes);
	if (fs->refreshed)
		return OPEN_MAPPED;
	if (xfs->log_start == 0)
		return reader_reason(fs, OPEN_WHOLE, "its log is on another device, so it may be out of date");
	if (!log_is_clean(fs, xfs))
		return reader_reason(fs, OPEN_WHOLE, "its log has not been replayed, so its free space may be out of date");
	return OPEN_MAPPED;
}

static void xfs_close(struct file_system *fs)
{
	struct xfs *xfs = fs->state;

	if (!xfs)
		return;
	free(xfs->block);
	free(xfs);
	fs->state = NULL;
}

/* The superblock's checksum covers its sector. */
static int check_super_checksum(struct file_system *fs, const struct xfs *xfs)
{
	int result = fs->source->read(fs->source, 0, xfs->block, xfs->sector_bytes);

	if (result < 0)
		return result;
	if (!checksum_matches(xfs->block, xfs->sector_bytes, 224))
		return reader_reason(fs, OPEN_WHOLE, "its superblock does not match its checksum");
	return OPEN_MAPPED;
}

static int xfs_open(struct file_system *fs)
{
	unsigned char bytes[SUPER_BYTES];
	struct view super = {.data = bytes, .size = sizeof(bytes)};

	if (fs->source->size_bytes < sizeof(bytes))
		return OPEN_NOT_MINE;
	int result = fs->source->read(fs->source, 0, bytes, sizeof(bytes));
	if (result < 0)
		return result;
	if (be32(&super, 0) != SUPER_MAGIC)
		return OPEN_NOT_MINE;
	struct xfs *xfs = calloc(1, sizeof(*xfs));
	if (!xfs)
		return -ENOMEM;
	fs->state = xfs;
	strcpy(fs->kind, "xfs");
	if (!parse_super(&super, xfs)) {
		result = reader_reason(fs, OPEN_WHOLE, "its superblock contradicts itself");
		goto out;
	}
	xfs->block = malloc(xfs->block_bytes > xfs->sector_bytes ? xfs->block_bytes : xfs->sector_bytes);
	result = xfs->block ? OPEN_MAPPED : -ENOMEM;
	if (result == OPEN_MAPPED && xfs->v5)
		result = fs->source->size_bytes < xfs->sector_bytes ? OPEN_NOT_MINE : check_super_checksum(fs, xfs);
	if (result == OPEN_MAPPED)
		result = judge(fs, &super, xfs);
out:
	if (result != OPEN_MAPPED)
		xfs_close(fs);
	return result;
}

const struct reader xfs_reader = {xfs_open, xfs_walk, xfs_close, MAP_ALLOCATION};
