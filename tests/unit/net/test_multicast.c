// SPDX-License-Identifier: Apache-2.0
/*
 * test_multicast.c - groups of sockets are saved, and joined again by new sockets with the same
 * numbers
 */
#include "testnet.h"

#include "json.h"
#include "multicast.h"

#define GROUP	"239.7.1.5"
#define GROUP6	"ff05::beef"
#define PORT	7001
#define WAIT_MS 3000

enum { PLAIN, SIX, MAPPED, CHOOSY, SENDER, NONE, TCP, COUNT };

static struct testnet net;
static struct rb_err err;
static int fds[COUNT];

/* sockets as a program and as CRIU make them: alike, but for their groups */
static bool open_sockets(void)
{
	static const int domains[COUNT] = { [SIX] = AF_INET6, [MAPPED] = AF_INET6 };
	struct sockaddr_in any = addr4("0.0.0.0", PORT);
	int on = 1;

	for (int i = 0; i < COUNT; i++) {
		int fd = socket(domains[i] ? domains[i] : AF_INET,
				(i == TCP ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0);

		if (fd < 0)
			return false;
		if (fds[i] <= 0)
			fds[i] = fd;
		else if (dup2(fd, fds[i]) < 0 || close(fd) < 0)
			return false;
	}
	setsockopt(fds[PLAIN], SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	return bind(fds[PLAIN], (struct sockaddr *)&any, sizeof(any)) == 0;
}

static void close_sockets(void)
{
	for (int i = 0; i < COUNT; i++)
		rb_close_fd(&fds[i]);
}

static bool join_groups(void)
{
	struct ip_mreqn group = { .imr_ifindex = (int)if_nametoindex("c0") };
	struct ipv6_mreq group6 = { .ipv6mr_interface = if_nametoindex("c0") };
	struct ip_mreq_source source = {};
	struct in_addr own;
	int ttl = 8;

	inet_pton(AF_INET, GROUP, &group.imr_multiaddr);
	inet_pton(AF_INET6, GROUP6, &group6.ipv6mr_multiaddr);
	inet_pton(AF_INET, "232.1.1.1", &source.imr_multiaddr);
	inet_pton(AF_INET, PEER, &source.imr_sourceaddr);
	inet_pton(AF_INET, INSIDE, &source.imr_interface);
	inet_pton(AF_INET, INSIDE, &own);
	return setsockopt(fds[PLAIN], IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)) == 0 &&
	       setsockopt(fds[MAPPED], IPPROTO_IP, IP_ADD_MEMBERSHIP, &group, sizeof(group)) == 0 &&
	       setsockopt(fds[SIX], IPPROTO_IPV6, IPV6_ADD_MEMBERSHIP, &group6, sizeof(group6)) ==
		       0 &&
	       setsockopt(fds[CHOOSY], IPPROTO_IP, IP_ADD_SOURCE_MEMBERSHIP, &source,
			  sizeof(source)) == 0 &&
	       setsockopt(fds[SENDER], IPPROTO_IP, IP_MULTICAST_TTL, &ttl, sizeof(ttl)) == 0 &&
	       setsockopt(fds[SENDER], IPPROTO_IP, IP_MULTICAST_IF, &own, sizeof(own)) == 0;
}

static const json_t *entry_of(const json_t *saved, int which)
{
	const json_t *entry;
	size_t i;

	json_array_foreach (saved, i, entry)
		if (rb_json_int(entry, "fd", -1) == fds[which])
			return entry;
	return NULL;
}

static void check_saved(const json_t *saved, int which, const char *joined, const char *values)
{
	const json_t *entry = entry_of(saved, which);
	char *text = json_dumps(json_object_get(entry, "joined"), JSON_COMPACT | JSON_SORT_KEYS);

	CHECK_STR(text ? text : "", joined);
	free(text);
	text = json_dumps(json_object_get(entry, "options"), JSON_COMPACT | JSON_SORT_KEYS);
	CHECK_STR(text ? text : "", values);
	free(text);
}

static void groups_come_back(void)
{
	_cleanup_json_ json_t *saved = NULL, *lost = NULL, *again = NULL;
	pid_t self = getpid();

	go_to(net.inside);
	CHECK_INT(open_sockets(), true);
	CHECK_INT(join_groups(), true);
	CHECK_OK(rb_multicast_save(&self, 1, &saved, &err));
	CHECK_INT(json_array_size(saved), 5);
	check_saved(saved, PLAIN,
		    "[{\"device\":\"c0\",\"exclude\":true,\"group\":\"" GROUP "\",\"sources\":[]}]",
		    "{}");
	check_saved(saved, MAPPED,
		    "[{\"device\":\"c0\",\"exclude\":true,\"group\":\"" GROUP "\",\"sources\":[]}]",
		    "{}");
	check_saved(saved, SIX,
		    "[{\"device\":\"c0\",\"exclude\":true,\"group\":\"" GROUP6
		    "\",\"sources\":[]}]",
		    "{}");
	check_saved(
		saved, CHOOSY,
		"[{\"device\":\"c0\",\"exclude\":false,\"group\":\"232.1.1.1\",\"sources\":[\"" PEER
		"\"]}]",
		"{}");
	check_saved(saved, SENDER, "[]", "{\"if\":\"" INSIDE "\",\"ttl\":8}");
	CHECK_INT(entry_of(saved, NONE) == NULL, true);

	/* new ones, in no group */
	CHECK_INT(open_sockets(), true);
	CHECK_OK(rb_multicast_save(&self, 1, &lost, &err));
	CHECK_INT(json_array_size(lost), 0);
	/* twice: the tasks may be let go again */
	for (int i = 0; i < 2; i++)
		CHECK_OK(rb_multicast_restore(net.inside, &self, 1, saved, &err));
	CHECK_OK(rb_multicast_save(&self, 1, &again, &err));
	CHECK_INT(json_equal(saved, again), 1);

	go_to(net.peer);
	CHECK_INT(sh(net.peer, "ip route replace " GROUP " dev p0"), 0);
	CHECK_INT(send_udp(GROUP, PORT), 5);
	CHECK_INT(receives(fds[PLAIN], "hello", WAIT_MS), true);
	close_sockets();
}

static void what_cannot_be_joined_is_said_and_keeps_nothing_back(void)
{
	_cleanup_json_ json_t *saved = NULL, *now = NULL;
	pid_t self = getpid();
	json_t *joined;

	go_to(net.inside);
	CHECK_INT(open_sockets(), true);
	CHECK_INT(join_groups(), true);
	CHECK_OK(rb_multicast_save(&self, 1, &saved, &err));
	CHECK_INT(open_sockets(), true);
	joined = json_array_get(json_object_get(entry_of(saved, PLAIN), "joined"), 0);
	json_object_set_new(joined, "device", json_string("gone0"));
	CHECK_INT(rb_multicast_restore(net.inside, &self, 1, saved, &err), -ENODATA);
	printf("# %s\n", err.msg);
	CHECK_OK(rb_multicast_save(&self, 1, &now, &err));
	CHECK_INT(json_array_size(now), 4);
	CHECK_INT(entry_of(now, PLAIN) == NULL, true);
	close_sockets();
}

int main(void)
{
	if (testnet_up(&net) < 0) {
		printf("Bail out! no test network\n");
		return 1;
	}
	NET_RUN(net, groups_come_back);
	NET_RUN(net, what_cannot_be_joined_is_said_and_keeps_nothing_back);
	testnet_down(&net);
	return tap_done();
}
