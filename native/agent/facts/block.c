/* Block devices as one list in which each names what it lies on: disk, partition, md, LVM, LUKS. /sys/class/block. */
#include "../capture/device.h"
#include "../capture/mounts.h"
#include "../map/bytes.h"
#include "../map/reader.h"
#include "facts.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define BLOCK "/sys/class/block/"

static const char *kind_of(const char *name)
{
	char path[512], uuid[256];

	snprintf(path, sizeof(path), BLOCK "%s/partition", name);
	if (access(path, F_OK) == 0)
		return "partition";
	snprintf(path, sizeof(path), BLOCK "%s/dm", name);
	/* One that was made by hand has no uuid: the text is then empty. */
	if (access(path, F_OK) == 0) {
		text_read(uuid, sizeof(uuid), BLOCK "%s/dm/uuid", name);
		return strncmp(uuid, "LVM-", 4) == 0 ? "lvm" : strncmp(uuid, "CRYPT-", 6) == 0 ? "crypt"
							: strncmp(uuid, "mpath-", 6) == 0     ? "multipath"
											      : "dm";
	}
	snprintf(path, sizeof(path), BLOCK "%s/md", name);
	if (access(path, F_OK) == 0)
		return "md";
	static const char *const prefixes[][2] = {{"loop", "loop"}, {"ram", "ram"}, {"zram", "ram"}, {"sr", "rom"}, {"fd", "floppy"}, {"nbd", "nbd"}};
	for (size_t i = 0; i < sizeof(prefixes) / sizeof(*prefixes); i++)
		if (strncmp(name, prefixes[i][0], strlen(prefixes[i][0])) == 0)
			return prefixes[i][1];
	return "disk";
}

/* How a disk is attached, from the path of its device. */
static const char *transport_of(const char *name)
{
	static const char *const marks[][2] = {
		{"/nvme", "nvme"}, {"/virtio", "virtio"}, {"/usb", "usb"}, {"/ata", "sata"}, {"/mmc", "mmc"}, {"/host", "scsi"},
	};
	char path[PATH_MAX], real[PATH_MAX];

	snprintf(path, sizeof(path), BLOCK "%s", name);
	if (!realpath(path, real))
		return NULL;
	for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++)
		if (strstr(real, marks[i][0]))
			return marks[i][1];
	return NULL;
}

static void add_name(void *context, const char *name)
{
	json_array_append_new(context, text_json(name));
}

static json_t *parents_of(const char *name, const char *kind)
{
	char path[PATH_MAX], real[PATH_MAX];
	json_t *parents = json_array();

	if (strcmp(kind, "partition") == 0) {
		snprintf(path, sizeof(path), BLOCK "%s/..", name);
		if (realpath(path, real))
			json_array_append_new(parents, text_json(strrchr(real, '/') + 1));
		return parents;
	}
	snprintf(path, sizeof(path), BLOCK "%s/slaves", name);
	text_folder(path, add_name, parents);
	return parents;
}

static json_t *uuid_json(struct view *view, size_t at)
{
	char text[37];
	const unsigned char *b = view_at(view, at, 16);

	if (!b)
		return json_null();
	snprintf(text, sizeof(text), "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1], b[2], b[3],
		 b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
	return json_string(text);
}

static json_t *label_json(struct view *view, size_t at, size_t length)
{
	char text[257] = "";
	const unsigned char *bytes = view_at(view, at, length < sizeof(text) ? length : sizeof(text) - 1);

	if (bytes)
		snprintf(text, sizeof(text), "%.*s", (int)length, (const char *)bytes);
	return text_json(text);
}

/* The volume serial number of FAT, as blkid writes it (Microsoft FAT specification, BS_VolID). */
static json_t *fat_serial_json(struct view *view)
{
	const unsigned char *mark = view_at(view, 82, 5);
	const unsigned char *b = view_at(view, mark && memcmp(mark, "FAT32", 5) == 0 ? 67 : 39, 4);
	char text[10];

	if (!b)
		return json_null();
	snprintf(text, sizeof(text), "%02X%02X-%02X%02X", b[3], b[2], b[1], b[0]);
	return json_string(text);
}

/* Where a file system keeps its UUID and label. */
static const struct {
	const char *kind;
	uint64_t offset;
	size_t uuid, label, label_bytes;
} identities[] = {
	{"ext2", 1024, 104, 120, 16}, {"ext3", 1024, 104, 120, 16}, {"ext4", 1024, 104, 120, 16}, {"xfs", 0, 32, 108, 12},
	{"swap", 1024, 12, 28, 16},   {"btrfs", 65536, 32, 299, 256},
};

/* What lies on a device, found without trusting it. */
static void add_content(json_t *entry, const char *path)
{
	struct device device;
	struct disk_map *map = NULL;
	unsigned char bytes[1024];
	struct view view = {.data = bytes, .size = sizeof(bytes)};
	size_t count;

	if (device_open(&device, path) < 0)
		return;
	if (device.size_bytes > 0 && disk_map_open(&device.source, device.sector_bytes, (struct refreshed_starts){0}, &map) == 0) {
		const struct region *regions = disk_map_regions(map, &count);
		if (strcmp(disk_map_table(map), "none") != 0)
			json_object_set_new(entry, "table", json_string(disk_map_table(map)));
		else if (count == 1 && strcmp(regions[0].kind, "unknown") != 0)
			json_object_set_new(entry, "fsType", json_string(regions[0].kind));
		const char *kind = json_string_value(json_object_get(entry, "fsType"));
		for (size_t i = 0; kind && i < sizeof(identities) / sizeof(*identities); i++) {
			if (strcmp(kind, identities[i].kind) != 0 ||
			    device.source.read(&device.source, identities[i].offset, bytes, sizeof(bytes)) < 0)
				continue;
			json_object_set_new(entry, "fsUuid", uuid_json(&view, identities[i].uuid));
			json_object_set_new(entry, "fsLabel", label_json(&view, identities[i].label, identities[i].label_bytes));
		}
		if (kind && device.source.read(&device.source, 0, bytes, sizeof(bytes)) == 0) {
			if (strcmp(kind, "vfat") == 0)
				json_object_set_new(entry, "fsUuid", fat_serial_json(&view));
			/* Text in the header of LUKS 1 and 2 (LUKS2 on-disk format, 2.1). */
			if (strcmp(kind, "luks") == 0)
				json_object_set_new(entry, "fsUuid", label_json(&view, 168, 40));
		}
	}
	disk_map_close(map);
	device_close(&device);
}

static void add_mounts(json_t *entry, const char *path)
{
	struct device device;
	struct mounts *mounts = calloc(1, sizeof(*mounts));
	json_t *list = json_array();

	if (mounts && device_open(&device, path) == 0) {
		if (mounts_collect(&device, mounts) == 0) {
			for (size_t i = 0; i < mounts->count; i++) {
				const struct mount *mount = &mounts->entries[i];
				struct statvfs space;
				if (mount->major != device.major || mount->minor != device.minor)
					continue;
				json_t *item = json_pack("{s:o, s:s, s:b}", "path", text_json(mount->mountpoint), "type", mount->type,
							 "writable", mount->writable);
				if (item && statvfs(mount->mountpoint, &space) == 0) {
					uint64_t unit = space.f_frsize;
					json_object_set_new(item, "sizeBytes", json_integer((json_int_t)(space.f_blocks * unit)));
					json_object_set_new(item, "usedBytes",
							    json_integer((json_int_t)((space.f_blocks - space.f_bfree) * unit)));
				}
				json_array_append_new(list, item);
			}
			mounts_release(mounts);
		}
		device_close(&device);
	}
	free(mounts);
	json_object_set_new(entry, "mounts", list);
}

/* SCSI and SATA disks: the vital product data page 0x80, four bytes of header and the number, padded with blanks. */
static bool read_vpd_serial(const char *name, char *serial, size_t size)
{
	char path[300];
	unsigned char page[4 + 252];

	snprintf(path, sizeof(path), BLOCK "%s/device/vpd_pg80", name);
	FILE *file = fopen(path, "re");
	if (!file)
		return false;
	size_t got = fread(page, 1, sizeof(page), file);
	fclose(file);
	if (got <= 4 || page[1] != 0x80)
		return false;
	const unsigned char *start = page + 4, *end = page + got;
	size_t length = (size_t)page[2] << 8 | page[3];
	if ((size_t)(end - start) > length)
		end = start + length;
	while (start < end && (*start == ' ' || *start == '\0'))
		start++;
	while (end > start && (end[-1] == ' ' || end[-1] == '\0'))
		end--;
	snprintf(serial, size, "%.*s", (int)(end - start), (const char *)start);
	return serial[0] != '\0';
}

static void add_serial(json_t *entry, const char *name)
{
	char serial[256];

	/* NVMe has it under device, virtio beside the queue. */
	if (text_read(serial, sizeof(serial), BLOCK "%s/device/serial", name) ||
	    text_read(serial, sizeof(serial), BLOCK "%s/serial", name) || read_vpd_serial(name, serial, sizeof(serial)))
		json_object_set_new(entry, "serial", text_json(serial));
}

static void add_disk_facts(json_t *entry, const char *name)
{
	const char *transport = transport_of(name);

	text_member(entry, "model", BLOCK "%s/device/model", name);
	text_member(entry, "vendor", BLOCK "%s/device/vendor", name);
	add_serial(entry, name);
	text_member(entry, "wwn", BLOCK "%s/device/wwid", name);
	if (transport)
		json_object_set_new(entry, "transport", json_string(transport));
	json_object_set_new(entry, "rotational", json_boolean(text_number(0, BLOCK "%s/queue/rotational", name) == 1));
}

struct link_search {
	json_t *by_device;
	const char *folder;
};

/* Adds a name of udev's to those of the device that it leads to. */
static void add_link(void *context, const char *name)
{
	const struct link_search *search = context;
	char path[PATH_MAX], real[PATH_MAX];

	snprintf(path, sizeof(path), "%s/%s", search->folder, name);
	if (!realpath(path, real))
		return;
	json_t *links = json_object_get(search->by_device, real);
	if (!links) {
		links = json_array();
		json_object_set_new(search->by_device, real, links);
	}
	json_array_append_new(links, text_json(path));
}

/* Names that a configuration may use in the place of a device's own: from its maker and serial number, and from where it is. */
static json_t *links_by_device(void)
{
	static const char *const folders[] = {"/dev/disk/by-id", "/dev/disk/by-path"};
	json_t *by_device = json_object();

	for (size_t i = 0; by_device && i < sizeof(folders) / sizeof(*folders); i++) {
		struct link_search search = {.by_device = by_device, .folder = folders[i]};
		text_folder(folders[i], add_link, &search);
	}
	return by_device;
}

struct device_search {
	json_t *devices;
	json_t *links;
};

static void add_device(void *context, const char *name)
{
	const struct device_search *search = context;
	char path[300], text[256];
	const char *kind = kind_of(name);
	int64_t sectors = text_number(0, BLOCK "%s/size", name);

	/* Loop devices without a file, and empty drives. */
	if (sectors == 0 || strcmp(kind, "ram") == 0)
		return;
	snprintf(path, sizeof(path), "/dev/%s", name);
	for (char *at = path; *at; at++)
		if (*at == '!')
			*at = '/';
	json_t *entry = json_pack("{s:o, s:o, s:s, s:I, s:I, s:I, s:b, s:b, s:o}", "name", text_json(name), "path",
				  text_json(path), "kind", kind, "sizeBytes", (json_int_t)sectors * 512, "logicalSectorBytes",
				  (json_int_t)text_number(512, BLOCK "%s/queue/logical_block_size", name), "physicalSectorBytes",
				  (json_int_t)text_number(512, BLOCK "%s/queue/physical_block_size", name), "removable",
				  text_number(0, BLOCK "%s/removable", name) == 1, "readOnly",
				  text_number(0, BLOCK "%s/ro", name) == 1, "parents", parents_of(name, kind));
	if (!entry)
		return;
	if (strcmp(kind, "disk") == 0)
		add_disk_facts(entry, name);
	if (strcmp(kind, "partition") == 0) {
		json_object_set_new(entry, "partition", json_integer(text_number(0, BLOCK "%s/partition", name)));
		json_object_set_new(entry, "startBytes", json_integer(text_number(0, BLOCK "%s/start", name) * 512));
	}
	if (text_read(text, sizeof(text), BLOCK "%s/dm/name", name))
		json_object_set_new(entry, "dmName", text_json(text));
	if (text_read(text, sizeof(text), BLOCK "%s/md/level", name))
		json_object_set_new(entry, "mdLevel", text_json(text));
	if (text_read(text, sizeof(text), BLOCK "%s/md/sync_action", name))
		json_object_set_new(entry, "mdSyncAction", text_json(text));
	if (text_read(text, sizeof(text), BLOCK "%s/loop/backing_file", name))
		json_object_set_new(entry, "backingFile", text_json(text));
	json_t *links = json_object_get(search->links, path);
	if (links)
		json_object_set(entry, "links", links);
	add_content(entry, path);
	add_mounts(entry, path);
	json_array_append_new(search->devices, entry);
}

json_t *facts_block(void)
{
	struct device_search search = {.devices = json_array(), .links = links_by_device()};

	text_folder("/sys/class/block", add_device, &search);
	json_decref(search.links);
	return search.devices;
}
