/* ext2, ext3, ext4: fs/ext4/ext4.h (ext4_super_block, ext4_group_desc), Documentation/filesystems/ext4. */
#include "bytes.h"
#include "checksum.h"
#include "reader.h"

#include <errno.h>
#include <stdlib.h>

#define SUPER_OFFSET 1024
#define SUPER_BYTES 1024
#define MAGIC 0xef53
#define MAX_GROUPS (1u << 28)

enum {
	COMPAT_HAS_JOURNAL = 0x4,
	COMPAT_SPARSE_SUPER2 = 0x200,
	INCOMPAT_RECOVER = 0x4,
	INCOMPAT_JOURNAL_DEV = 0x8,
	INCOMPAT_META_BG = 0x10,
	INCOMPAT_EXTENTS = 0x40,
	INCOMPAT_64BIT = 0x80,
	INCOMPAT_CSUM_SEED = 0x2000,
	/* filetype, recover, meta_bg, extents, 64bit, mmp, flex_bg, ea_inode, dirdata, csum_seed, largedir, inline_data,
	 * encrypt, casefold: none of them changes where used blocks are recorded. */
	INCOMPAT_KNOWN = 0x2 | 0x4 | 0x10 | 0x40 | 0x80 | 0x100 | 0x200 | 0x400 | 0x1000 | 0x2000 | 0x4000 | 0x8000 |
			 0x10000 | 0x20000,
	RO_COMPAT_SPARSE_SUPER = 0x1,
	RO_COMPAT_GDT_CSUM = 0x10,
	RO_COMPAT_BIGALLOC = 0x200,
	RO_COMPAT_METADATA_CSUM = 0x400,
	STATE_VALID = 0x1,
	STATE_ERRORS = 0x2,
	GROUP_BLOCK_UNINIT = 0x2,
};

struct ext {
	uint32_t block_bytes, cluster_blocks, clusters_per_group, inodes_per_group, inode_bytes, desc_bytes;
	uint64_t blocks, first_data_block;
	uint32_t groups, descs_per_block, reserved_gdt_blocks, first_meta_bg;
	uint32_t compat, incompat, ro_compat;
	uint32_t backup_groups[2];
	uint32_t checksum_seed;
	unsigned char uuid[16];
	unsigned char *bitmap; /* one block */
	unsigned char *descs;  /* one block of descriptors */
	uint64_t descs_block;  /* its number; UINT64_MAX when none is loaded */
};

struct group {
	uint32_t number;
	uint64_t block_bitmap, inode_bitmap, inode_table;
	uint16_t flags;
	uint32_t bitmap_checksum;
	bool checksum_matches;
};

static bool has_metadata_csum(const struct ext *ext)
{
	return ext->ro_compat & RO_COMPAT_METADATA_CSUM;
}

static uint64_t blocks_per_group(const struct ext *ext)
{
	return (uint64_t)ext->clusters_per_group * ext->cluster_blocks;
}

static uint64_t group_first_block(const struct ext *ext, uint64_t group)
{
	return ext->first_data_block + group * blocks_per_group(ext);
}

static uint64_t group_blocks(const struct ext *ext, uint64_t group)
{
	uint64_t left = ext->blocks - group_first_block(ext, group);

	return left < blocks_per_group(ext) ? left : blocks_per_group(ext);
}

static bool is_power(uint32_t number, uint32_t base)
{
	while (number > 1 && number % base == 0)
		number /= base;
	return number == 1;
}

static bool has_super(const struct ext *ext, uint32_t group)
{
	if (group == 0)
		return true;
	if (ext->compat & COMPAT_SPARSE_SUPER2)
		return group == ext->backup_groups[0] || group == ext->backup_groups[1];
	if (!(ext->ro_compat & RO_COMPAT_SPARSE_SUPER))
		return true;
	return group == 1 || is_power(group, 3) || is_power(group, 5) || is_power(group, 7);
}

/* Where descriptor block `index` lies (e2fsprogs and fs/ext4/super.c agree: descriptor_loc). */
static uint64_t desc_block_location(const struct ext *ext, uint32_t index)
{
	/* With 1 KiB blocks and bigalloc the first data block is 0, and the superblock is block 1. */
	uint64_t super_in_zero = ext->block_bytes == 1024 && ext->first_data_block == 0 ? 1 : 0;

	if (!(ext->incompat & INCOMPAT_META_BG) || index < ext->first_meta_bg)
		return ext->first_data_block + super_in_zero + 1 + index;
	uint64_t group = (uint64_t)index * ext->descs_per_block;
	return group_first_block(ext, group) + (has_super(ext, (uint32_t)group) ? 1 + (group == 0 ? super_in_zero : 0) : 0);
}

static int read_block(struct file_system *fs, uint64_t block, unsigned char *buffer)
{
	const struct ext *ext = fs->state;

	if (block >= ext->blocks)
		return reader_reason(fs, -EUCLEAN, "its metadata points to block %llu, beyond its end", (unsigned long long)block);
	return fs->source->read(fs->source, block * ext->block_bytes, buffer, ext->block_bytes);
}

static bool desc_checksum_matches(const struct ext *ext, uint32_t group, const unsigned char *desc)
{
	static const unsigned char zero[2];
	unsigned char number[4] = {(unsigned char)group, (unsigned char)(group >> 8), (unsigned char)(group >> 16),
				   (unsigned char)(group >> 24)};
	uint16_t stored = (uint16_t)(desc[0x1e] | desc[0x1f] << 8);

	if (has_metadata_csum(ext)) {
		uint32_t crc = crc32c(ext->checksum_seed, number, sizeof(number));
		crc = crc32c(crc, desc, 0x1e);
		crc = crc32c(crc, zero, sizeof(zero));
		if (ext->desc_bytes > 0x20)
			crc = crc32c(crc, desc + 0x20, ext->desc_bytes - 0x20);
		return checksum_equal((uint16_t)crc, stored);
	}
	if (ext->ro_compat & RO_COMPAT_GDT_CSUM) {
		uint16_t crc = crc16(0xffff, ext->uuid, sizeof(ext->uuid));
		crc = crc16(crc, number, sizeof(number));
		crc = crc16(crc, desc, 0x1e);
		if (ext->desc_bytes > 0x20)
			crc = crc16(crc, desc + 0x20, ext->desc_bytes - 0x20);
		return checksum_equal(crc, stored);
	}
	return true;
}

static int read_group(struct file_system *fs, uint32_t number, struct group *group)
{
	struct ext *ext = fs->state;
	uint64_t block = desc_block_location(ext, number / ext->descs_per_block);

	if (block != ext->descs_block) {
		ext->descs_block = UINT64_MAX;
		int result = read_block(fs, block, ext->descs);
		if (result < 0)
			return result;
		ext->descs_block = block;
	}
	const unsigned char *desc = ext->descs + (size_t)(number % ext->descs_per_block) * ext->desc_bytes;
	struct view view = {.data = desc, .size = ext->desc_bytes};
	bool wide = ext->desc_bytes >= 64;
	*group = (struct group){
		.number = number,
		.block_bitmap = le32(&view, 0) | (wide ? (uint64_t)le32(&view, 0x20) << 32 : 0),
		.inode_bitmap = le32(&view, 4) | (wide ? (uint64_t)le32(&view, 0x24) << 32 : 0),
		.inode_table = le32(&view, 8) | (wide ? (uint64_t)le32(&view, 0x28) << 32 : 0),
		.flags = le16(&view, 0x12),
		.bitmap_checksum = le16(&view, 0x18) | (wide ? (uint32_t)le16(&view, 0x38) << 16 : 0),
		.checksum_matches = desc_checksum_matches(ext, number, desc),
	};
	if (!group->checksum_matches)
		return reader_reason(fs, -EUCLEAN, "the descriptor of group %u does not match its checksum", number);
	return 0;
}

static int use_blocks(const struct ext *ext, struct sink *sink, uint64_t first, uint64_t count)
{
	return sink->used(sink, first * ext->block_bytes, count * ext->block_bytes);
}

/* The group's own bitmaps and inode table, wherever flex_bg put them. */
static int use_group_metadata(struct file_system *fs, const struct group *group, struct sink *sink)
{
	const struct ext *ext = fs->state;
	uint64_t table_blocks =
		((uint64_t)ext->inodes_per_group * ext->inode_bytes + ext->block_bytes - 1) / ext->block_bytes;

	if (group->block_bitmap >= ext->blocks || group->inode_bitmap >= ext->blocks || group->inode_table >= ext->blocks ||
	    table_blocks > ext->blocks - group->inode_table)
		return reader_reason(fs, -EUCLEAN, "the metadata of group %u lies beyond its end", group->number);
	int result = use_blocks(ext, sink, group->block_bitmap, 1);
	if (result == 0)
		result = use_blocks(ext, sink, group->inode_bitmap, 1);
	if (result == 0)
		result = use_blocks(ext, sink, group->inode_table, table_blocks);
	return result;
}

/* What a group without a bitmap on disk holds: superblock and descriptor copies (fs/ext4/balloc.c,
 * ext4_num_base_meta_clusters). */
static int use_base_metadata(const struct ext *ext, uint32_t group, struct sink *sink)
{
	uint64_t blocks = has_super(ext, group) ? 1 : 0;
	uint32_t meta_group = group / ext->descs_per_block;
	uint32_t desc_blocks = (ext->groups + ext->descs_per_block - 1) / ext->descs_per_block;

	if (!(ext->incompat & INCOMPAT_META_BG) || meta_group < ext->first_meta_bg) {
		if (blocks)
			blocks += (ext->incompat & INCOMPAT_META_BG ? ext->first_meta_bg : desc_blocks) + ext->reserved_gdt_blocks;
	} else if (group % ext->descs_per_block <= 1 || group % ext->descs_per_block == ext->descs_per_block - 1) {
		blocks++;
	}
	if (ext->block_bytes == 1024 && ext->first_data_block == 0 && group == 0)
		blocks++;
	if (blocks > group_blocks(ext, group))
		blocks = group_blocks(ext, group);
	return blocks ? use_blocks(ext, sink, group_first_block(ext, group), blocks) : 0;
}

static bool bitmap_checksum_matches(const struct ext *ext, const struct group *group)
{
	if (!has_metadata_csum(ext))
		return true;
	uint32_t crc = crc32c(ext->checksum_seed, ext->bitmap, ext->clusters_per_group / 8);
	uint32_t mask = ext->desc_bytes >= 64 ? UINT32_MAX : 0xffff;
	return checksum_equal(crc & mask, group->bitmap_checksum);
}

static int use_bitmap(struct file_system *fs, const struct group *group, struct sink *sink)
{
	struct ext *ext = fs->state;
	int result = read_block(fs, group->block_bitmap, ext->bitmap);

	if (result < 0)
		return result;
	if (!bitmap_checksum_matches(ext, group))
		return reader_reason(fs, -EUCLEAN, "the block bitmap of group %u does not match its checksum", group->number);
	uint64_t first_block = group_first_block(ext, group->number);
	uint64_t blocks = group_blocks(ext, group->number);
	uint64_t clusters = (blocks + ext->cluster_blocks - 1) / ext->cluster_blocks;
	for (uint64_t at = 0; at < clusters;) {
		if (at % 8 == 0 && ext->bitmap[at / 8] == 0) {
			at += 8;
			continue;
		}
		if (!(ext->bitmap[at / 8] >> (at % 8) & 1)) {
			at++;
			continue;
		}
		uint64_t start = at;
		while (at < clusters && (ext->bitmap[at / 8] >> (at % 8) & 1))
			at++;
		uint64_t end_block = at * ext->cluster_blocks < blocks ? at * ext->cluster_blocks : blocks;
		uint64_t start_block = start * ext->cluster_blocks;
		result = use_blocks(ext, sink, first_block + start_block, end_block - start_block);
		if (result < 0)
			return result;
	}
	return 0;
}

static int ext_walk(struct file_system *fs, struct window window, struct sink *sink)
{
	const struct ext *ext = fs->state;
	uint64_t group_bytes = blocks_per_group(ext) * ext->block_bytes;
	uint64_t skipped = ext->first_data_block * ext->block_bytes;
	/* What precedes the first group, the boot sector among it, is in no bitmap. */
	int result = sink->used(sink, 0, skipped + SUPER_OFFSET + SUPER_BYTES);
	if (result == 0)
		result = reader_use_tail(fs, ext->blocks * ext->block_bytes, sink);
	uint64_t first = window.start > skipped ? (window.start - skipped) / group_bytes : 0;

	for (uint64_t number = first; result == 0 && number < ext->groups; number++) {
		struct group group = {0};
		if (skipped + number * group_bytes >= window.end)
			break;
		result = read_group(fs, (uint32_t)number, &group);
		if (result == 0)
			result = use_group_metadata(fs, &group, sink);
		bool on_disk = !(group.flags & GROUP_BLOCK_UNINIT) ||
			       !(ext->ro_compat & (RO_COMPAT_GDT_CSUM | RO_COMPAT_METADATA_CSUM));
		if (result == 0)
			result = on_disk ? use_bitmap(fs, &group, sink) : use_base_metadata(ext, (uint32_t)number, sink);
	}
	return result;
}

/* Fills `ext` from the superblock; false when a value cannot be. */
static bool parse_super(struct view *super, struct ext *ext)
{
	uint32_t log_block = le32(super, 24), log_cluster = le32(super, 28);

	if (log_block > 6 || log_cluster > 20 || log_cluster < log_block)
		return false;
	ext->block_bytes = 1024u << log_block;
	ext->ro_compat = le32(super, 100);
	ext->cluster_blocks = ext->ro_compat & RO_COMPAT_BIGALLOC ? 1u << (log_cluster - log_block) : 1;
	ext->compat = le32(super, 92);
	ext->incompat = le32(super, 96);
	ext->blocks = le32(super, 4) | (ext->incompat & INCOMPAT_64BIT ? (uint64_t)le32(super, 336) << 32 : 0);
	ext->first_data_block = le32(super, 20);
	ext->clusters_per_group = ext->ro_compat & RO_COMPAT_BIGALLOC ? le32(super, 36) : le32(super, 32);
	ext->inodes_per_group = le32(super, 40);
	ext->inode_bytes = le32(super, 76) == 0 ? 128 : le16(super, 88);
	ext->desc_bytes = ext->incompat & INCOMPAT_64BIT ? le16(super, 254) : 32;
	ext->reserved_gdt_blocks = le16(super, 206);
	ext->first_meta_bg = le32(super, 260);
	ext->backup_groups[0] = le32(super, 588);
	ext->backup_groups[1] = le32(super, 592);
	memcpy(ext->uuid, super->data + 104, sizeof(ext->uuid));
	ext->checksum_seed = ext->incompat & INCOMPAT_CSUM_SEED ? le32(super, 624) : crc32c(~0u, ext->uuid, sizeof(ext->uuid));
	if (ext->clusters_per_group == 0 || ext->clusters_per_group % 8 || ext->clusters_per_group > 8 * ext->block_bytes ||
	    ext->inodes_per_group == 0 || ext->inodes_per_group > 8 * ext->block_bytes || ext->inode_bytes < 128 ||
	    ext->inode_bytes > ext->block_bytes || ext->desc_bytes < 32 || ext->desc_bytes > ext->block_bytes ||
	    (ext->desc_bytes & (ext->desc_bytes - 1)) || ext->first_data_block > 1 || ext->blocks <= ext->first_data_block)
		return false;
	uint64_t groups = (ext->blocks - ext->first_data_block + blocks_per_group(ext) - 1) / blocks_per_group(ext);
	ext->groups = (uint32_t)groups;
	ext->descs_per_block = ext->block_bytes / ext->desc_bytes;
	return groups <= MAX_GROUPS;
}

/* Reasons to take a file system whole although its superblock reads well. */
static int judge(struct file_system *fs, struct view *super, const struct ext *ext)
{
	uint16_t state = le16(super, 58);

	if (has_metadata_csum(ext) && !checksum_equal(crc32c(~0u, super->data, 1020), le32(super, 1020)))
		return reader_reason(fs, OPEN_WHOLE, "its superblock does not match its checksum");
	if (ext->incompat & INCOMPAT_JOURNAL_DEV)
		return reader_reason(fs, OPEN_WHOLE, "it is the external journal of another file system");
	if (ext->incompat & ~(uint32_t)INCOMPAT_KNOWN)
		return reader_reason(fs, OPEN_WHOLE, "it has features that are not known here (0x%x)",
				     ext->incompat & ~(uint32_t)INCOMPAT_KNOWN);
	if (ext->blocks > fs->source->size_bytes / ext->block_bytes)
		return reader_reason(fs, OPEN_WHOLE, "it claims %llu blocks of %u bytes, more than its partition holds",
				     (unsigned long long)ext->blocks, ext->block_bytes);
	if (state & STATE_ERRORS)
		return reader_reason(fs, OPEN_WHOLE, "it is marked as having errors; run e2fsck");
	if (!fs->refreshed && (ext->incompat & INCOMPAT_RECOVER))
		return reader_reason(fs, OPEN_WHOLE, "its journal has not been replayed, so its bitmaps may be out of date");
	if (!fs->refreshed && !(ext->compat & COMPAT_HAS_JOURNAL) && !(state & STATE_VALID))
		return reader_reason(fs, OPEN_WHOLE, "it was not unmounted cleanly, so its bitmaps may be out of date");
	return OPEN_MAPPED;
}

static void ext_close(struct file_system *fs)
{
	struct ext *ext = fs->state;

	if (!ext)
		return;
	free(ext->bitmap);
	free(ext->descs);
	free(ext);
	fs->state = NULL;
}

static int ext_open(struct file_system *fs)
{
	unsigned char bytes[SUPER_BYTES];
	struct view super = {.data = bytes, .size = sizeof(bytes)};

	if (fs->source->size_bytes < SUPER_OFFSET + SUPER_BYTES)
		return OPEN_NOT_MINE;
	int result = fs->source->read(fs->source, SUPER_OFFSET, bytes, sizeof(bytes));
	if (result < 0)
		return result;
	if (le16(&super, 56) != MAGIC)
		return OPEN_NOT_MINE;
	struct ext *ext = calloc(1, sizeof(*ext));
	if (!ext)
		return -ENOMEM;
	fs->state = ext;
	bool parsed = parse_super(&super, ext);
	bool extents = ext->incompat & (INCOMPAT_EXTENTS | INCOMPAT_64BIT) ||
		       ext->ro_compat & (RO_COMPAT_METADATA_CSUM | RO_COMPAT_BIGALLOC | RO_COMPAT_GDT_CSUM);
	strcpy(fs->kind, extents ? "ext4" : ext->compat & COMPAT_HAS_JOURNAL ? "ext3" : "ext2");
	result = parsed ? judge(fs, &super, ext) : reader_reason(fs, OPEN_WHOLE, "its superblock contradicts itself");
	if (result == OPEN_MAPPED) {
		ext->bitmap = malloc(ext->block_bytes);
		ext->descs = malloc(ext->block_bytes);
		ext->descs_block = UINT64_MAX;
		if (!ext->bitmap || !ext->descs)
			result = -ENOMEM;
	}
	if (result != OPEN_MAPPED)
		ext_close(fs);
	return result;
}

const struct reader ext_reader = {ext_open, ext_walk, ext_close, MAP_ALLOCATION};
