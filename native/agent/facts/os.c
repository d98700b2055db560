/* os-release(5), kernels, boot loader, init, and which vendor's licences apply. */
#include "facts.h"
#include "text.h"

#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

/* ID of os-release, to whom a running copy may owe a subscription. */
static const char *const licence_families[][2] = {
	{"rhel", "rhel"}, {"ol", "oracle"}, {"sles", "sles"}, {"sle_hpc", "sles"}, {"ubuntu", "ubuntu"},
};

/* A value of os-release without its quotes. */
static void take_release(json_t *os, const char *text, const char *key, const char *member)
{
	size_t length = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		char value[256];
		if (strncmp(line, key, length) != 0 || line[length] != '=')
			continue;
		line += length + 1;
		size_t quote = *line == '"' || *line == '\'';
		snprintf(value, sizeof(value), "%.*s", (int)strcspn(line + quote, quote ? "\"'\n" : "\n"), line + quote);
		json_object_set_new(os, member, text_json(value));
		return;
	}
}

static void add_kernel(void *context, const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), "/lib/modules/%s/modules.dep", name);
	if (access(path, F_OK) == 0)
		json_array_append_new(context, text_json(name));
}

static const char *boot_loader(void)
{
	static const char *const marks[][2] = {
		{"/boot/grub/grub.cfg", "grub2"},         {"/boot/grub2/grub.cfg", "grub2"},
		{"/boot/loader/entries", "systemd-boot"}, {"/boot/efi/loader/loader.conf", "systemd-boot"},
		{"/boot/extlinux/extlinux.conf", "extlinux"}, {"/boot/extlinux.conf", "extlinux"},
		{"/boot/grub/menu.lst", "grub-legacy"},
	};

	for (size_t i = 0; i < sizeof(marks) / sizeof(*marks); i++)
		if (access(marks[i][0], F_OK) == 0)
			return marks[i][1];
	return "unknown";
}

static void add_licence_family(json_t *os)
{
	const char *id = json_string_value(json_object_get(os, "id")), *family = "none";

	for (size_t i = 0; id && i < sizeof(licence_families) / sizeof(*licence_families); i++)
		if (strcmp(id, licence_families[i][0]) == 0)
			family = licence_families[i][1];
	json_object_set_new(os, "licenceFamily", json_string(family));
}

json_t *facts_os(void)
{
	char text[TEXT_BYTES], init[64];
	json_t *os = json_object(), *kernels = json_array();
	struct utsname name;

	if (!text_read(text, sizeof(text), "/etc/os-release"))
		text_read(text, sizeof(text), "/usr/lib/os-release");
	take_release(os, text, "ID", "id");
	take_release(os, text, "VERSION_ID", "versionId");
	take_release(os, text, "PRETTY_NAME", "prettyName");
	if (uname(&name) == 0) {
		json_object_set_new(os, "hostname", text_json(name.nodename));
		json_object_set_new(os, "kernel", text_json(name.release));
	}
	text_folder("/lib/modules", add_kernel, kernels);
	json_object_set_new(os, "kernels", kernels);
	json_object_set_new(os, "bootLoader", json_string(boot_loader()));
	if (text_read(init, sizeof(init), "/proc/1/comm"))
		json_object_set_new(os, "init", text_json(init));
	text_member(os, "timeZone", "/etc/timezone");
	text_member(os, "kernelCommandLine", "/proc/cmdline");
	add_licence_family(os);
	return os;
}

json_t *facts_modules(void)
{
	char line[1024], name[256];
	json_t *modules = json_array();
	FILE *file = fopen("/proc/modules", "re");

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "%255s", name) == 1)
			json_array_append_new(modules, text_json(name));
	if (file)
		fclose(file);
	return modules;
}
