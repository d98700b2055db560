/* Names of what lies in a region, by the marks that blkid looks for too (util-linux, libblkid/src/superblocks). */
#include "bytes.h"
#include "reader.h"

struct signature {
	const char *name;
	uint64_t offset;
	const char *bytes;
	size_t length;
};

static const struct signature signatures[] = {
	{"luks", 0, "LUKS\xba\xbe", 6},
	{"lvm2", 512, "LABELONE", 8},
	{"lvm2", 0, "LABELONE", 8},
	{"lvm2", 1024, "LABELONE", 8},
	{"lvm2", 1536, "LABELONE", 8},
	{"ntfs", 3, "NTFS    ", 8},
	{"exfat", 3, "EXFAT   ", 8},
	{"vfat", 82, "FAT32   ", 8},
	{"vfat", 54, "FAT16   ", 8},
	{"vfat", 54, "FAT12   ", 8},
	{"bitlocker", 3, "-FVE-FS-", 8},
	{"btrfs", 65600, "_BHRfS_M", 8},
	{"bcachefs", 4120, "\xc6\x85\x73\xf6\x66\xce\x90\xa9", 8},
	{"bcache", 4120, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca", 8},
	{"f2fs", 1024, "\x10\x20\xf5\xf2", 4},
	{"iso9660", 32769, "CD001", 5},
	{"squashfs", 0, "hsqs", 4},
	{"erofs", 1024, "\xe2\xe1\xf5\xe0", 4},
	{"reiserfs", 65588, "ReIsEr", 6},
	{"jfs", 32768, "JFS1", 4},
	{"vmfs", 1048576, "\x0d\xd0\x01\xc0", 4},
	{"zfs", 131072, "\x0c\xb1\xba\x00\x00\x00\x00\x00", 8},
};

static bool has_mark(struct source *source, uint64_t offset, const char *bytes, size_t length)
{
	unsigned char found[16];

	if (length > sizeof(found) || offset > source->size_bytes || length > source->size_bytes - offset)
		return false;
	return source->read(source, offset, found, length) == 0 && memcmp(found, bytes, length) == 0;
}

bool signature_is_md(struct source *source)
{
	static const char magic[] = "\xfc\x4e\x2b\xa9";
	uint64_t sectors = source->size_bytes / 512;

	/* Versions 1.1 and 1.2 at the start, 1.0 and 0.90 at the end (drivers/md/md.c). */
	if (has_mark(source, 0, magic, 4) || has_mark(source, 4096, magic, 4))
		return true;
	if (sectors >= 24 && has_mark(source, (sectors - 16) / 8 * 8 * 512, magic, 4))
		return true;
	return sectors >= 256 && has_mark(source, (sectors / 128 * 128 - 128) * 512, magic, 4);
}

const char *signature_name(struct source *source)
{
	for (size_t i = 0; i < sizeof(signatures) / sizeof(*signatures); i++)
		if (has_mark(source, signatures[i].offset, signatures[i].bytes, signatures[i].length))
			return signatures[i].name;
	return NULL;
}
