/* /sys/class/dmi/id (SMBIOS), /proc/cpuinfo, /proc/meminfo. */
#include "facts.h"
#include "text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define DMI "/sys/class/dmi/id/"

static void add_cpu(json_t *hardware)
{
	char line[1024];
	long long sockets = 0, cores = 0;
	FILE *file = fopen("/proc/cpuinfo", "re");

	while (file && fgets(line, sizeof(line), file)) {
		char *value = strchr(line, ':');
		if (!value)
			continue;
		value += strspn(value, ": \t");
		value[strcspn(value, "\n")] = '\0';
		if (strncmp(line, "model name", 10) == 0 && !json_object_get(hardware, "cpuModel"))
			json_object_set_new(hardware, "cpuModel", text_json(value));
		else if (strncmp(line, "physical id", 11) == 0 && strtoll(value, NULL, 10) + 1 > sockets)
			sockets = strtoll(value, NULL, 10) + 1;
		else if (strncmp(line, "cpu cores", 9) == 0)
			cores = strtoll(value, NULL, 10);
		else if (strncmp(line, "flags", 5) == 0)
			json_object_set_new(hardware, "hypervisor", json_boolean(strstr(value, " hypervisor") != NULL));
	}
	if (file)
		fclose(file);
	json_object_set_new(hardware, "cpus", json_integer(sysconf(_SC_NPROCESSORS_ONLN)));
	if (sockets > 0)
		json_object_set_new(hardware, "sockets", json_integer(sockets));
	if (cores > 0)
		json_object_set_new(hardware, "coresPerSocket", json_integer(cores));
}

static int64_t memory_bytes(void)
{
	char line[256];
	long long kib = 0;
	FILE *file = fopen("/proc/meminfo", "re");

	while (file && kib == 0 && fgets(line, sizeof(line), file))
		if (sscanf(line, "MemTotal: %lld kB", &kib) != 1)
			kib = 0;
	if (file)
		fclose(file);
	return kib * 1024;
}

json_t *facts_hardware(void)
{
	static const char *const members[][2] = {
		{"vendor", DMI "sys_vendor"},       {"product", DMI "product_name"},   {"serial", DMI "product_serial"},
		{"uuid", DMI "product_uuid"},       {"board", DMI "board_name"},       {"biosVendor", DMI "bios_vendor"},
		{"biosVersion", DMI "bios_version"}, {"biosDate", DMI "bios_date"},    {"chassisType", DMI "chassis_type"},
	};
	json_t *hardware = json_object();
	struct utsname name;

	if (uname(&name) == 0)
		json_object_set_new(hardware, "arch", text_json(name.machine));
	for (size_t i = 0; i < sizeof(members) / sizeof(*members); i++)
		text_member(hardware, members[i][0], "%s", members[i][1]);
	add_cpu(hardware);
	json_object_set_new(hardware, "memoryBytes", json_integer(memory_bytes()));
	return hardware;
}
