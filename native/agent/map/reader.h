/* What the file system readers have in common. */
#ifndef DOPPEL_READER_H
#define DOPPEL_READER_H

#include "map.h"

#define REASON_BYTES 160

/* One file system found in a region. Offsets are within the region. */
struct file_system {
	const struct reader *reader;
	struct source *source;  /* of the region */
	bool refreshed;         /* frozen just now: an active journal holds nothing newer */
	char *kind;             /* region.kind, 24 bytes */
	char *reason;           /* region.reason, REASON_BYTES */
	void *state;            /* the reader's own */
};

enum open_result { OPEN_NOT_MINE, OPEN_MAPPED, OPEN_WHOLE };

/* One reader a kind of file system. To add one is to add a file and a line in map.c. */
struct reader {
	/* Looks for its superblock. OPEN_WHOLE: recognised (kind and reason are set) but not to be trusted.
	 * Negative: -ENOMEM, or the errno of a failed read. */
	int (*open)(struct file_system *fs);
	/* Reports used ranges that touch the window. -EUCLEAN with a reason for metadata that contradicts itself;
	 * other negative errnos are of reading, of memory, or of the sink. */
	int (*walk)(struct file_system *fs, struct window window, struct sink *sink);
	void (*close)(struct file_system *fs);
	enum map_method method;
};

extern const struct reader ext_reader, xfs_reader, swap_reader;

/* Sets the reason and returns `result`. */
int reader_reason(struct file_system *fs, int result, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* Reports what lies behind the end of a file system in its region: it is in no map, and may be somebody's metadata. */
int reader_use_tail(struct file_system *fs, uint64_t end, struct sink *sink);

/* Names what starts in a region whose file system cannot be read (`ntfs`, `lvm2`, …), or NULL. */
const char *signature_name(struct source *source);

/* A RAID member's superblock, at the start or the end: what else seems to lie there is not the whole truth. */
bool signature_is_md(struct source *source);

struct partition {
	uint64_t offset_bytes, length_bytes;
	int number;
	bool bios_boot;
};

#define MAX_PARTITIONS 256

struct partition_table {
	const char *name;       /* "gpt", "mbr", "none" */
	struct partition partitions[MAX_PARTITIONS];
	size_t count;
	/* Ranges that hold the tables themselves. */
	struct partition tables[MAX_PARTITIONS + 4];
	size_t table_count;
	bool damaged;           /* there is a table and it cannot be followed */
	char reason[REASON_BYTES];
};

/* Each fills the table and returns 1 when the disk has one of its kind, 0 when not, or a negative errno. */
int gpt_read(struct source *source, uint32_t sector_bytes, struct partition_table *table);
int mbr_read(struct source *source, uint32_t sector_bytes, struct partition_table *table);

#endif
