/* UEFI variables through efivarfs: four bytes of attributes, then the value (UEFI specification 2.10, 3.1.3). */
#include "../map/bytes.h"
#include "facts.h"
#include "text.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define VARS "/sys/firmware/efi/efivars/"
#define GLOBAL "8be4df61-93ca-11d2-aa0d-00e098032b8c"
#define MAX_VARIABLE_BYTES 8192
#define MAX_BOOT_ENTRIES 64
/* A name, a dash and a GUID of 36 characters. */
#define GUID_LENGTH 36
#define MAX_ANY_VARIABLE_BYTES (64 * 1024)
#define MAX_VARIABLES_BYTES (512 * 1024)

static bool read_variable(const char *name, unsigned char *buffer, struct view *view)
{
	char path[256];

	snprintf(path, sizeof(path), VARS "%s-" GLOBAL, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t length = read(fd, buffer, MAX_VARIABLE_BYTES);
	close(fd);
	if (length < 4)
		return false;
	*view = (struct view){.data = buffer + 4, .size = (size_t)length - 4};
	return true;
}

/* UTF-16 to ASCII; what is not becomes '?'. Returns the offset after the terminator. */
static size_t ascii(struct view *view, size_t at, char *text, size_t size)
{
	size_t length = 0;

	for (; at + 2 <= view->size; at += 2) {
		uint16_t unit = le16(view, at);
		if (unit == 0)
			return at + 2;
		if (length + 1 < size)
			text[length++] = unit >= 32 && unit < 127 ? (char)unit : '?';
		text[length] = '\0';
	}
	return at;
}

/* EFI_LOAD_OPTION (3.1.3): attributes, length of the device path, description, device path. */
static json_t *boot_entry(uint16_t number)
{
	unsigned char buffer[MAX_VARIABLE_BYTES];
	char name[16], label[256] = "", loader[512] = "";
	struct view view;

	snprintf(name, sizeof(name), "Boot%04X", number);
	if (!read_variable(name, buffer, &view))
		return NULL;
	bool active = le32(&view, 0) & 1;
	size_t at = ascii(&view, 6, label, sizeof(label));
	size_t end = at + le16(&view, 4);
	while (at + 4 <= end && end <= view.size) {
		uint16_t length = le16(&view, at + 2);
		/* Media device path, file path. */
		if (get_u8(&view, at) == 4 && get_u8(&view, at + 1) == 4) {
			struct view path = {.data = view.data, .size = at + length < end ? at + length : end};
			ascii(&path, at + 4, loader, sizeof(loader));
		}
		if (length < 4)
			break;
		at += length;
	}
	return json_pack("{s:s, s:o, s:b, s:o}", "id", name, "label", text_json(label), "active", active, "loader",
			 text_json(loader));
}

struct variables {
	json_t *list;
	size_t bytes;
};

/* Adds one variable, its value in hexadecimal, as long as all of them stay within bounds. */
static void add_variable(void *context, const char *file)
{
	static unsigned char value[MAX_ANY_VARIABLE_BYTES];
	static char hex[2 * MAX_ANY_VARIABLE_BYTES + 1];
	struct variables *variables = context;
	char path[512], name[256];
	size_t length = strlen(file);

	if (length < GUID_LENGTH + 2 || length >= sizeof(name) || file[length - GUID_LENGTH - 1] != '-')
		return;
	snprintf(path, sizeof(path), VARS "%s", file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return;
	ssize_t got = read(fd, value, sizeof(value));
	close(fd);
	if (got < 4 || (size_t)got == sizeof(value) || variables->bytes + (size_t)got > MAX_VARIABLES_BYTES)
		return;
	variables->bytes += (size_t)got;
	struct view view = {.data = value, .size = (size_t)got};
	hex[0] = '\0';
	for (size_t i = 4; i < (size_t)got; i++)
		snprintf(hex + 2 * (i - 4), 3, "%02x", value[i]);
	memcpy(name, file, length - GUID_LENGTH - 1);
	name[length - GUID_LENGTH - 1] = '\0';
	json_array_append_new(variables->list,
			      json_pack("{s:o, s:o, s:I, s:s}", "name", text_json(name), "guid",
					text_json(file + length - GUID_LENGTH), "attributes", (json_int_t)le32(&view, 0),
					"data", hex));
}

json_t *facts_firmware(void)
{
	unsigned char buffer[MAX_VARIABLE_BYTES];
	struct view view;

	if (access("/sys/firmware/efi", F_OK) < 0)
		return json_pack("{s:s}", "type", "bios");
	json_t *firmware = json_pack("{s:s}", "type", "uefi");
	if (read_variable("SecureBoot", buffer, &view))
		json_object_set_new(firmware, "secureBoot", json_boolean(get_u8(&view, 0) == 1));
	if (read_variable("BootOrder", buffer, &view)) {
		json_t *order = json_array();
		for (size_t at = 0; at + 2 <= view.size && at / 2 < MAX_BOOT_ENTRIES; at += 2) {
			json_t *entry = boot_entry(le16(&view, at));
			if (entry)
				json_array_append_new(order, entry);
		}
		json_object_set_new(firmware, "bootOrder", order);
	}
	struct variables variables = {.list = json_array()};
	text_folder(VARS, add_variable, &variables);
	json_object_set_new(firmware, "variables", variables.list);
	return firmware;
}
