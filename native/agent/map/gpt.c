/* GUID partition table: UEFI specification 2.10, chapter 5.3. */
#include "bytes.h"
#include "checksum.h"
#include "reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define HEADER_BYTES 92
#define MAX_ENTRIES_BYTES (1u << 20)

static const unsigned char bios_boot_type[16] = {
	0x48, 0x61, 0x68, 0x21, 0x49, 0x64, 0x6f, 0x6e, 0x74, 0x4e, 0x65, 0x65, 0x64, 0x45, 0x46, 0x49,
};

struct header {
	uint64_t lba, entries_lba;
	uint32_t entry_count, entry_bytes;
};

/* Reads and checks the header at `lba`. 1 when it is one, 0 when not, negative when it cannot be read. */
static int read_header(struct source *source, uint32_t sector_bytes, uint64_t lba, struct header *header,
		       unsigned char **entries)
{
	unsigned char sector[4096], checked[HEADER_BYTES];
	uint32_t size = sector_bytes < sizeof(sector) ? sector_bytes : (uint32_t)sizeof(sector);
	struct view view = {.data = sector, .size = size};

	*entries = NULL;
	if (lba > (source->size_bytes - size) / sector_bytes)
		return 0;
	int result = source->read(source, lba * sector_bytes, sector, size);
	if (result < 0)
		return result;
	if (!view_equals(&view, 0, "EFI PART", 8) || le32(&view, 12) != HEADER_BYTES || le64(&view, 24) != lba)
		return 0;
	memcpy(checked, sector, sizeof(checked));
	memset(checked + 16, 0, 4);
	if (!checksum_equal(~crc32_ieee(~0u, checked, sizeof(checked)), le32(&view, 16)))
		return 0;
	*header = (struct header){
		.lba = lba,
		.entries_lba = le64(&view, 72),
		.entry_count = le32(&view, 80),
		.entry_bytes = le32(&view, 84),
	};
	uint64_t bytes = (uint64_t)header->entry_count * header->entry_bytes;
	if (header->entry_bytes < 128 || bytes == 0 || bytes > MAX_ENTRIES_BYTES ||
	    header->entries_lba > source->size_bytes / sector_bytes ||
	    bytes > source->size_bytes - header->entries_lba * sector_bytes)
		return 0;
	*entries = malloc(bytes);
	if (!*entries)
		return -ENOMEM;
	result = source->read(source, header->entries_lba * sector_bytes, *entries, bytes);
	if (result == 0 && checksum_equal(~crc32_ieee(~0u, *entries, bytes), le32(&view, 88)))
		return 1;
	free(*entries);
	*entries = NULL;
	return result;
}

static void add_table(struct partition_table *table, const struct header *header, uint32_t sector_bytes)
{
	uint64_t bytes = (uint64_t)header->entry_count * header->entry_bytes;

	table->tables[table->table_count++] = (struct partition){
		.offset_bytes = header->lba * sector_bytes, .length_bytes = sector_bytes};
	table->tables[table->table_count++] = (struct partition){
		.offset_bytes = header->entries_lba * sector_bytes, .length_bytes = bytes};
}

static void add_partitions(struct partition_table *table, const struct header *header, const unsigned char *entries,
			   uint32_t sector_bytes, uint64_t disk_bytes)
{
	static const unsigned char unused[16];
	struct view view = {.data = entries, .size = (size_t)header->entry_count * header->entry_bytes};

	for (uint32_t i = 0; i < header->entry_count; i++) {
		size_t at = (size_t)i * header->entry_bytes;
		uint64_t first = le64(&view, at + 32), last = le64(&view, at + 40);
		if (view_equals(&view, at, unused, 16))
			continue;
		if (last < first || first > disk_bytes / sector_bytes || last >= disk_bytes / sector_bytes ||
		    table->count == MAX_PARTITIONS) {
			table->damaged = true;
			snprintf(table->reason, sizeof(table->reason), "GPT entry %u reaches outside of the disk", i + 1);
			continue;
		}
		table->partitions[table->count++] = (struct partition){
			.offset_bytes = first * sector_bytes,
			.length_bytes = (last - first + 1) * sector_bytes,
			.number = (int)i + 1,
			.bios_boot = view_equals(&view, at, bios_boot_type, sizeof(bios_boot_type)),
		};
	}
}

int gpt_read(struct source *source, uint32_t sector_bytes, struct partition_table *table)
{
	struct header header, other;
	unsigned char *entries = NULL, *other_entries = NULL;

	if (source->size_bytes / sector_bytes < 6)
		return 0;
	uint64_t last = source->size_bytes / sector_bytes - 1;
	int primary = read_header(source, sector_bytes, 1, &header, &entries);
	int backup = read_header(source, sector_bytes, last, &other, &other_entries);
	if (primary == -ENOMEM || backup == -ENOMEM) {
		free(entries);
		free(other_entries);
		return -ENOMEM;
	}
	if (primary == 1)
		add_table(table, &header, sector_bytes);
	if (backup == 1)
		add_table(table, &other, sector_bytes);
	if (primary == 1)
		add_partitions(table, &header, entries, sector_bytes, source->size_bytes);
	else if (backup == 1)
		add_partitions(table, &other, other_entries, sector_bytes, source->size_bytes);
	free(entries);
	free(other_entries);
	if (primary != 1 && backup != 1)
		return 0;
	table->name = "gpt";
	return 1;
}
