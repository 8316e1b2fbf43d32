// SPDX-License-Identifier: Apache-2.0
/*
 * multicast.c - the multicast groups of sockets, and how they send to groups
 *
 * /proc/PID/net/igmp and igmp6 tell the groups of a namespace, not whose they are. But a socket
 * that is asked for the filter of a group (MCAST_MSFILTER, RFC 3678) has an answer only if it has
 * joined it, and the answer is all that is needed to join it again. Both kinds of sockets are asked
 * for groups of both kinds: an IPv6 socket may be in groups of IPv4.
 */
#include "multicast.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "cleanup.h"
#include "err.h"
#include "fds.h"
#include "json.h"
#include "net.h"
#include "sockets.h"

#define SOURCES_MAX 64 /* of one group; the kernel's own limit for IPv6 */

/* Values that a new socket has are not worth a word. IP_MULTICAST_IF has another type, below. */
static const struct option {
	const char *name;
	int level, option, fresh, fresh6; /* of a socket of IPv4, and of IPv6 */
} options[] = {
	{ "ttl", IPPROTO_IP, IP_MULTICAST_TTL, 1, 1 },
	{ "loop", IPPROTO_IP, IP_MULTICAST_LOOP, 1, 1 },
	{ "all", IPPROTO_IP, IP_MULTICAST_ALL, 1, 0 },
	{ "hops6", IPPROTO_IPV6, IPV6_MULTICAST_HOPS, 1, 1 },
	{ "loop6", IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 1, 1 },
	{ "all6", IPPROTO_IPV6, IPV6_MULTICAST_ALL, 1, 1 },
};

struct filter {
	struct group_filter head;
	struct sockaddr_storage more[SOURCES_MAX - 1]; /* head has room for one */
};

static int level_of(const struct rb_ip *ip)
{
	return ip->family == AF_INET ? IPPROTO_IP : IPPROTO_IPV6;
}

static void to_storage(const struct rb_ip *ip, struct sockaddr_storage *ret)
{
	memset(ret, 0, sizeof(*ret));
	ret->ss_family = (sa_family_t)ip->family;
	if (ip->family == AF_INET)
		memcpy(&((struct sockaddr_in *)ret)->sin_addr, ip->bytes, 4);
	else
		memcpy(&((struct sockaddr_in6 *)ret)->sin6_addr, ip->bytes, 16);
}

static struct rb_ip from_storage(const struct sockaddr_storage *storage)
{
	struct rb_ip ip = { .family = storage->ss_family };

	if (ip.family == AF_INET)
		memcpy(ip.bytes, &((const struct sockaddr_in *)storage)->sin_addr, 4);
	else
		memcpy(ip.bytes, &((const struct sockaddr_in6 *)storage)->sin6_addr, 16);
	return ip;
}

/* the last number of the line NSpid; 0 when it cannot be told */
static int pid_inside(pid_t pid)
{
	_cleanup_fclose_ FILE *file = NULL;
	char path[64], line[256];

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof(line), file))
		if (strncmp(line, "NSpid:", 6) == 0) {
			char *last = strrchr(line, '\t');

			return last ? atoi(last) : 0;
		}
	return 0;
}

/* --- save --- */

struct saving {
	int pid; /* inside */
	const struct rb_membership *groups;
	int groups_count;
	json_t *list;
};

/* the sources of a filter that a socket answered with */
static json_t *list_sources(const struct filter *filter)
{
	const struct sockaddr_storage *source = filter->head.gf_slist;
	json_t *list = json_array();

	for (uint32_t i = 0; i < filter->head.gf_numsrc && i < SOURCES_MAX; i++) {
		struct rb_ip ip = from_storage(&source[i]);
		char text[INET6_ADDRSTRLEN];

		json_array_append_new(list, json_string(rb_ip_text(&ip, text)));
	}
	return list;
}

static void save_groups(const struct saving *saving, int fd, json_t *joined)
{
	for (int i = 0; i < saving->groups_count; i++) {
		const struct rb_membership *group = &saving->groups[i];
		struct filter filter = { .head = { .gf_interface = group->index,
						   .gf_numsrc = SOURCES_MAX } };
		socklen_t len = sizeof(filter);
		char text[INET6_ADDRSTRLEN];

		to_storage(&group->group, &filter.head.gf_group);
		if (getsockopt(fd, level_of(&group->group), MCAST_MSFILTER, &filter, &len) < 0)
			continue;
		json_array_append_new(joined,
				      json_pack("{s:s, s:s, s:b, s:o}", "device", group->device,
						"group", rb_ip_text(&group->group, text), "exclude",
						filter.head.gf_fmode == MCAST_EXCLUDE, "sources",
						list_sources(&filter)));
	}
}

static void save_options(int fd, int domain, json_t *values)
{
	struct rb_ip ip = { .family = AF_INET };
	socklen_t len = 4;
	char text[INET6_ADDRSTRLEN];

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option *option = &options[i];
		int value = 0;
		socklen_t size = sizeof(value);

		if (getsockopt(fd, option->level, option->option, &value, &size) == 0 &&
		    value != (domain == AF_INET ? option->fresh : option->fresh6))
			json_object_set_new(values, option->name, json_integer(value));
	}
	if (getsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, ip.bytes, &len) == 0 && !rb_ip_is_any(&ip))
		json_object_set_new(values, "if", json_string(rb_ip_text(&ip, text)));
}

static int save_one(int fd, int number, void *arg, struct rb_err *err)
{
	const struct saving *saving = arg;
	_cleanup_json_ json_t *joined = json_array(), *values = json_object();
	int domain = 0;
	socklen_t len = sizeof(domain);

	if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) < 0 ||
	    (domain != AF_INET && domain != AF_INET6) || rb_is_tcp(fd))
		return 0;
	save_groups(saving, fd, joined);
	save_options(fd, domain, values);
	if (!json_array_size(joined) && !json_object_size(values))
		return 0;
	if (json_array_append_new(saving->list,
				  json_pack("{s:i, s:i, s:O, s:O}", "pid", saving->pid, "fd",
					    number, "joined", joined, "options", values)))
		return rb_err_set(err, -ENOMEM, "note multicast groups");
	return 1;
}

/* So that nobody walks through a thousand connections for nothing. */
static bool has_datagrams(pid_t pid)
{
	static const char *const tables[] = { "udp", "udp6", "raw", "raw6" };
	char path[64], line[512];
	bool found = false;

	for (size_t i = 0; i < ARRAY_SIZE(tables) && !found; i++) {
		_cleanup_fclose_ FILE *file = NULL;

		snprintf(path, sizeof(path), "/proc/%d/net/%s", (int)pid, tables[i]);
		file = fopen(path, "re");
		/* something behind the heading */
		found = file && fgets(line, sizeof(line), file) && fgets(line, sizeof(line), file);
	}
	return found;
}

int rb_multicast_save(const pid_t *pids, int count, json_t **ret, struct rb_err *err)
{
	_cleanup_free_ struct rb_membership *groups = NULL;
	_cleanup_json_ json_t *list = json_array();
	struct saving saving = { .list = list };

	if (count > 0)
		saving.groups_count = rb_memberships_read(pids[0], &groups);
	saving.groups = groups;
	if (count > 0 && !has_datagrams(pids[0]))
		count = 0;
	for (int i = 0; i < count; i++) {
		int r;

		saving.pid = pid_inside(pids[i]);
		r = rb_each_socket(pids[i], save_one, &saving, err);
		if (r < 0 && r != -ESRCH && r != -ENOENT)
			return rb_err_wrap(err, r, "note multicast groups");
	}
	*ret = TAKE_PTR(list);
	return 0;
}

/* --- restore --- */

struct restoring {
	const pid_t *pids;
	int count;
	const json_t *saved;
	int pid;	       /* inside */
	unsigned int failures; /* and in err the latest */
};

static int join(int fd, const json_t *joined, struct rb_err *err)
{
	const char *group = rb_json_str(joined, "group", "");
	const char *device = rb_json_str(joined, "device", "");
	const json_t *sources = json_object_get(joined, "sources"), *value;
	struct group_req req = { .gr_interface = if_nametoindex(device) };
	struct filter filter = { .head.gf_interface = req.gr_interface };
	struct sockaddr_storage *list = filter.head.gf_slist;
	bool exclude = rb_json_bool(joined, "exclude", true);
	struct rb_ip ip, source;
	size_t i;
	int level;

	if (!rb_ip_parse(group, &ip) || !req.gr_interface)
		return rb_err_set(err, -ENODEV, "join group %s on '%s'", group, device);
	level = level_of(&ip);
	to_storage(&ip, &req.gr_group);
	filter.head.gf_group = req.gr_group;
	/* of two that share a socket the first has done it */
	if (setsockopt(fd, level, MCAST_JOIN_GROUP, &req, sizeof(req)) < 0 && errno != EADDRINUSE)
		return rb_err_set(err, -errno, "join group %s on '%s'", group, device);
	filter.head.gf_fmode = exclude ? MCAST_EXCLUDE : MCAST_INCLUDE;
	json_array_foreach (sources, i, value)
		if (filter.head.gf_numsrc < SOURCES_MAX &&
		    rb_ip_parse(json_string_value(value), &source))
			to_storage(&source, &list[filter.head.gf_numsrc++]);
	if ((filter.head.gf_numsrc || !exclude) &&
	    setsockopt(fd, level, MCAST_MSFILTER, &filter,
		       (socklen_t)GROUP_FILTER_SIZE(filter.head.gf_numsrc)) < 0)
		return rb_err_set(err, -errno, "choose the sources of group %s", group);
	return 0;
}

static int set_options(int fd, const json_t *values, struct rb_err *err)
{
	const char *device = rb_json_str(values, "if", NULL);
	struct rb_ip ip;
	int r = 0;

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		const struct option *option = &options[i];
		int value = (int)rb_json_int(values, option->name, 0);

		if (json_object_get(values, option->name) &&
		    setsockopt(fd, option->level, option->option, &value, sizeof(value)) < 0)
			r = rb_err_set(err, -errno, "set a socket's multicast option '%s'",
				       option->name);
	}
	if (device && rb_ip_parse(device, &ip) &&
	    setsockopt(fd, IPPROTO_IP, IP_MULTICAST_IF, ip.bytes, 4) < 0)
		r = rb_err_set(err, -errno, "send multicast from %s", device);
	return r;
}

static int restore_one(int fd, int number, void *arg, struct rb_err *err)
{
	struct restoring *restoring = arg;
	const json_t *entry, *joined;
	size_t i, k;

	json_array_foreach (restoring->saved, i, entry) {
		if (rb_json_int(entry, "pid", -1) != restoring->pid ||
		    rb_json_int(entry, "fd", -1) != number)
			continue;
		restoring->failures += set_options(fd, json_object_get(entry, "options"), err) < 0;
		json_array_foreach (json_object_get(entry, "joined"), k, joined)
			restoring->failures += join(fd, joined, err) < 0;
	}
	return 0;
}

/* in the thread that is inside */
static int restore_inside(void *arg, struct rb_err *err)
{
	struct restoring *restoring = arg;

	for (int i = 0; i < restoring->count; i++) {
		restoring->pid = pid_inside(restoring->pids[i]);
		if (rb_each_socket(restoring->pids[i], restore_one, restoring, err) < 0)
			restoring->failures++;
	}
	return restoring->failures ? -ENODATA : 0;
}

int rb_multicast_restore(int netns_fd, const pid_t *pids, int count, const json_t *saved,
			 struct rb_err *err)
{
	struct restoring restoring = { .pids = pids, .count = count, .saved = saved };

	return json_array_size(saved) ? rb_netns_run(netns_fd, restore_inside, &restoring, err) : 0;
}
