/* Master boot record and the chain of extended boot records: UEFI specification 2.10, 5.2; the chain as Linux reads it
 * (block/partitions/msdos.c). */
#include "bytes.h"
#include "reader.h"

#include <errno.h>
#include <stdio.h>

#define MAX_LOGICAL 128
#define TYPE_PROTECTIVE 0xee

struct entry {
	uint8_t status, type;
	uint64_t start, count; /* sectors */
};

static struct entry read_entry(struct view *view, int index)
{
	size_t at = 446 + 16 * (size_t)index;

	return (struct entry){
		.status = get_u8(view, at),
		.type = get_u8(view, at + 4),
		.start = le32(view, at + 8),
		.count = le32(view, at + 12),
	};
}

static bool is_extended(const struct entry *entry)
{
	return entry->type == 0x05 || entry->type == 0x0f || entry->type == 0x85;
}

static void damaged(struct partition_table *table, const char *what, unsigned long long value)
{
	table->damaged = true;
	snprintf(table->reason, sizeof(table->reason), "%s (%llu)", what, value);
}

static void add(struct partition_table *table, uint64_t start, uint64_t count, uint32_t sector_bytes, int number)
{
	if (table->count == MAX_PARTITIONS) {
		damaged(table, "more partitions than can be followed", MAX_PARTITIONS);
		return;
	}
	table->partitions[table->count++] = (struct partition){
		.offset_bytes = start * sector_bytes, .length_bytes = count * sector_bytes, .number = number};
}

/* Follows the chain: each record has one logical partition, relative to itself, and the next record, relative to the
 * extended partition. */
static int read_chain(struct source *source, uint32_t sector_bytes, const struct entry *extended,
		      struct partition_table *table)
{
	unsigned char sector[512];
	struct view view = {.data = sector, .size = sizeof(sector)};
	uint64_t disk_sectors = source->size_bytes / sector_bytes;
	uint64_t at = extended->start;

	for (int logical = 0;; logical++) {
		if (logical == MAX_LOGICAL) {
			damaged(table, "the chain of extended boot records does not end", logical);
			return 0;
		}
		int result = source->read(source, at * sector_bytes, sector, sizeof(sector));
		if (result < 0)
			return result;
		if (le16(&view, 510) != 0xaa55) {
			damaged(table, "no extended boot record at sector", at);
			return 0;
		}
		table->tables[table->table_count++] =
			(struct partition){.offset_bytes = at * sector_bytes, .length_bytes = sector_bytes};
		struct entry data = read_entry(&view, 0), next = read_entry(&view, 1);
		if (is_extended(&data)) {
			next = data;
			data.type = 0;
		}
		if (data.type != 0 && data.count > 0) {
			if (at + data.start >= disk_sectors || data.count > disk_sectors - at - data.start)
				damaged(table, "a logical partition reaches outside of the disk, number", (unsigned)logical + 5);
			else
				add(table, at + data.start, data.count, sector_bytes, logical + 5);
		}
		if (!is_extended(&next) || next.count == 0)
			return 0;
		if (next.start >= extended->count || extended->start + next.start >= disk_sectors) {
			damaged(table, "an extended boot record lies outside of its partition, sector", next.start);
			return 0;
		}
		at = extended->start + next.start;
	}
}

/* A boot sector of FAT, NTFS or exFAT ends like a master boot record. */
static bool is_boot_sector(struct view *view)
{
	return view_equals(view, 3, "NTFS    ", 8) || view_equals(view, 3, "EXFAT   ", 8) ||
	       view_equals(view, 54, "FAT", 3) || view_equals(view, 82, "FAT32   ", 8);
}

static bool looks_like_table(struct view *view, uint64_t disk_sectors)
{
	bool any = false;

	if (le16(view, 510) != 0xaa55 || is_boot_sector(view))
		return false;
	for (int i = 0; i < 4; i++) {
		struct entry entry = read_entry(view, i);
		if (entry.status != 0 && entry.status != 0x80)
			return false;
		if (entry.type == 0 || entry.count == 0)
			continue;
		if (entry.start == 0 || entry.start >= disk_sectors)
			return false;
		any = true;
	}
	return any;
}

int mbr_read(struct source *source, uint32_t sector_bytes, struct partition_table *table)
{
	unsigned char sector[512];
	struct view view = {.data = sector, .size = sizeof(sector)};
	uint64_t disk_sectors = source->size_bytes / sector_bytes;

	if (source->size_bytes < sizeof(sector))
		return 0;
	int result = source->read(source, 0, sector, sizeof(sector));
	if (result < 0)
		return result;
	if (!looks_like_table(&view, disk_sectors))
		return 0;
	table->name = "mbr";
	table->tables[table->table_count++] = (struct partition){.length_bytes = sector_bytes};
	for (int i = 0; i < 4; i++) {
		struct entry entry = read_entry(&view, i);
		if (entry.type == 0 || entry.count == 0)
			continue;
		if (entry.type == TYPE_PROTECTIVE) {
			damaged(table, "the GPT that the protective record announces cannot be read, type", entry.type);
			continue;
		}
		if (entry.count > disk_sectors - entry.start) {
			damaged(table, "a partition reaches outside of the disk, number", (unsigned)i + 1);
			continue;
		}
		if (is_extended(&entry))
			result = read_chain(source, sector_bytes, &entry, table);
		else
			add(table, entry.start, entry.count, sector_bytes, i + 1);
		if (result < 0)
			return result;
	}
	return 1;
}
