/* Network interfaces that have a device behind them, and what is built on them: /sys/class/net, getifaddrs(3). */
#include "facts.h"
#include "text.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define NET "/sys/class/net/"

/* The address burnt into the card, which survives what a bond or an administrator sets. */
static void add_permanent_mac(json_t *nic, const char *name)
{
	struct {
		struct ethtool_perm_addr header;
		unsigned char bytes[32];
	} request = {.header = {.cmd = ETHTOOL_GPERMADDR, .size = 32}};
	struct ifreq interface = {.ifr_data = (char *)&request};
	static const unsigned char none[6];
	char text[18];
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	strncpy(interface.ifr_name, name, sizeof(interface.ifr_name) - 1);
	const unsigned char *mac = request.header.data;
	if (ioctl(fd, SIOCETHTOOL, &interface) == 0 && request.header.size == 6 && memcmp(mac, none, 6) != 0) {
		snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
		json_object_set_new(nic, "permanentMac", json_string(text));
	}
	close(fd);
}

static int prefix_of(const struct sockaddr *mask)
{
	const unsigned char *bytes;
	size_t count;
	int bits = 0;

	if (!mask)
		return 0;
	if (mask->sa_family == AF_INET) {
		bytes = (const unsigned char *)&((const struct sockaddr_in *)(const void *)mask)->sin_addr;
		count = 4;
	} else {
		bytes = (const unsigned char *)&((const struct sockaddr_in6 *)(const void *)mask)->sin6_addr;
		count = 16;
	}
	for (size_t i = 0; i < count; i++)
		bits += __builtin_popcount(bytes[i]);
	return bits;
}

static json_t *addresses_of(const char *name)
{
	json_t *list = json_array();
	struct ifaddrs *all;

	if (getifaddrs(&all) < 0)
		return list;
	for (struct ifaddrs *at = all; at; at = at->ifa_next) {
		char text[INET6_ADDRSTRLEN];
		const void *address;
		if (!at->ifa_addr || strcmp(at->ifa_name, name) != 0)
			continue;
		if (at->ifa_addr->sa_family == AF_INET)
			address = &((struct sockaddr_in *)(void *)at->ifa_addr)->sin_addr;
		else if (at->ifa_addr->sa_family == AF_INET6)
			address = &((struct sockaddr_in6 *)(void *)at->ifa_addr)->sin6_addr;
		else
			continue;
		if (inet_ntop(at->ifa_addr->sa_family, address, text, sizeof(text)))
			json_array_append_new(list, json_pack("{s:s, s:i}", "address", text, "prefix", prefix_of(at->ifa_netmask)));
	}
	freeifaddrs(all);
	return list;
}

static const char *kind_of(const char *name)
{
	char path[512];

	snprintf(path, sizeof(path), NET "%s/device", name);
	if (access(path, F_OK) == 0)
		return "physical";
	snprintf(path, sizeof(path), NET "%s/bonding", name);
	if (access(path, F_OK) == 0)
		return "bond";
	snprintf(path, sizeof(path), NET "%s/bridge", name);
	if (access(path, F_OK) == 0)
		return "bridge";
	snprintf(path, sizeof(path), "/proc/net/vlan/%s", name);
	return access(path, F_OK) == 0 ? "vlan" : "virtual";
}

static void add_nic(void *context, const char *name)
{
	char word[256];
	const char *kind = kind_of(name);

	/* 772: loopback. */
	if (text_number(0, NET "%s/type", name) == 772)
		return;
	json_t *nic = json_pack("{s:o, s:s}", "name", text_json(name), "kind", kind);
	text_member(nic, "mac", NET "%s/address", name);
	text_member(nic, "state", NET "%s/operstate", name);
	add_permanent_mac(nic, name);
	if (text_link(word, sizeof(word), NET "%s/device/driver", name))
		json_object_set_new(nic, "driver", text_json(word));
	if (text_link(word, sizeof(word), NET "%s/device", name))
		json_object_set_new(nic, "bus", text_json(word));
	if (text_link(word, sizeof(word), NET "%s/master", name))
		json_object_set_new(nic, "master", text_json(word));
	int64_t speed = text_number(-1, NET "%s/speed", name);
	if (speed > 0)
		json_object_set_new(nic, "speedMbps", json_integer(speed));
	json_object_set_new(nic, "addresses", addresses_of(name));
	json_array_append_new(context, nic);
}

json_t *facts_nics(void)
{
	json_t *nics = json_array();

	text_folder("/sys/class/net", add_nic, nics);
	return nics;
}
